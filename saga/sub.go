package saga

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// subLook is how long a parent trusts that its child will tell.
const subLook = 30 * time.Second

type subStep struct {
	child *program
	c     *Coordinator
}

// Sub is a step that runs child as the saga parent/name and takes it back by
// [Coordinator.Cancel] or [Saga.Reverse]. In makes the child's input, the same
// each time it is called; out, if not nil, takes what the child's state is worth
// to the parent. A child that is Completed makes the step done, Compensated
// refused, Abandoned unknown, without a retry; while it is Stuck the parent waits.
// An id that is taken, by a saga that no Sub has started, refuses the step, and that
// saga is left alone. Both belong to one Coordinator, whose Keep has to outlast the
// parent. A child that was purged before cannot be taken back: the parent is [Stuck]
// if the step is known to be done, and else the child counts as never begun.
func Sub[S, T any](name string, child *Saga[T], in func(*S) T, out func(*S, T)) Step[S] {
	return Step[S]{
		Name: name,
		sub:  &subStep{child: child.p, c: child.c},
		Do: func(ctx context.Context, s *S) error {
			return child.asStep(ctx, name, in(s), func(v T) {
				if out != nil {
					out(s, v)
				}
			})
		},
		Undo: func(ctx context.Context, s *S) error { return child.takeBack(ctx, name, func() T { return in(s) }) },
	}
}

func subSignal(name string) string { return "saga.sub." + name }

// codeSub marks the start record of a child. The id alone does not tell whose it is:
// anybody may start a saga as parent/name, also with the same input.
const codeSub = "sub"

func (s *Saga[T]) asStep(ctx context.Context, name string, in T, out func(T)) error {
	id := CallFrom(ctx).Saga + "/" + name
	r, err := s.draft(id, &in)
	if err != nil {
		return Refuse(err)
	}
	r.pending.write.Records[0].Code = codeSub
	if _, err := s.start(ctx, r); errors.Is(err, ErrConflict) {
		return Refuse(err)
	} else if err != nil {
		return err
	}
	c, err := s.child(ctx, id)
	switch {
	case err != nil:
		return err
	case !c.ours:
		return Refuse(fmt.Errorf("%w: %s was started by somebody else", ErrConflict, id))
	case c.err != nil && !c.standsStill():
		return c.err
	}
	switch c.sum.State {
	case Completed:
		out(c.v)
		return nil
	case Compensated:
		return Refuse(s.verdict(ctx, c))
	case Abandoned:
		return s.verdict(ctx, c) // says that no retry helps
	default:
		return await(subSignal(name), subLook)
	}
}

// child is a saga as its parent finds it.
type child[T any] struct {
	sum  Summary
	ours bool // a Sub has started it
	v    T
	m    *machine
	err  error // why v and m are not to be had here
}

func (s *Saga[T]) child(ctx context.Context, id string) (c child[T], err error) {
	sum, log, _, err := s.c.store.Load(ctx, id)
	if err != nil {
		return c, fmt.Errorf("saga: %s: %w", id, err)
	}
	c.sum, c.ours = sum, sum.Name == s.p.g.name && len(log) > 0 && log[0].Code == codeSub
	c.v, c.m, c.err = s.open(sum, log)
	return c, nil
}

// standsStill: the header says all that the parent has to know, also where no
// definition here can continue the child.
func (c *child[T]) standsStill() bool { return c.ours && over(c.sum.State) && c.sum.State != Completed }

func (s *Saga[T]) verdict(ctx context.Context, c child[T]) error {
	if c.err != nil {
		return s.c.verdictOn(ctx, c.sum, c.err)
	}
	return c.m.verdict(c.sum)
}

// takeBack undoes the child, if there is one: the step may be undone because nobody
// knows what became of its Start. That may have failed, may have found the id taken,
// or may still be on its way.
func (s *Saga[T]) takeBack(ctx context.Context, name string, in func() T) error {
	parent := CallFrom(ctx).Saga
	id, reason := parent+"/"+name, parent+" compensates"
	c, err := s.child(ctx, id)
	missing := errors.Is(err, ErrNotFound)
	switch {
	case err != nil && !missing:
		return err
	case !c.ours && isDone(ctx):
		return Refuse(fmt.Errorf("%w: %s is gone, by Keep or Purge: whether it was taken back is not known", ErrNotFound, id))
	case missing:
		return s.keepOut(ctx, name, in, reason)
	case !c.ours:
		return nil
	case c.err != nil && !c.standsStill():
		return c.err
	}
	switch c.sum.State {
	case Compensated:
		return nil
	case Abandoned:
		return Refuse(s.verdict(ctx, c))
	case Completed:
		err = s.Reverse(ctx, id, reason)
	case Running, Waiting:
		// Past its pivot it completes, and is then reversed.
		if err = s.c.Cancel(ctx, id, reason); errors.Is(err, ErrPastPivot) {
			err = nil
		}
	}
	if errors.Is(err, ErrPastPivot) {
		return Refuse(err)
	}
	if err != nil && !errors.Is(err, ErrTerminal) && !errors.Is(err, ErrConflict) {
		return err
	}
	return await(subSignal(name), subLook)
}

// keepOut takes back a child that is not there: it creates the saga as one that was
// cancelled before its first step, so that a Start which is late finds the id taken.
func (s *Saga[T]) keepOut(ctx context.Context, name string, in func() T, reason string) error {
	id := CallFrom(ctx).Saga + "/" + name
	w, err := s.Prepare(id, in())
	if err != nil {
		return nil // nor could it be started
	}
	start := w.Records[0]
	start.Code, start.Epoch = codeSub, 1
	cancel := Record{Kind: kindCancel, Error: reason, Seq: 2, Epoch: 1, Data: encodeNote(note{Turn: true})}
	m := newMachine(s.p.g, id)
	if err := errors.Join(m.apply(&start), m.apply(&cancel)); err != nil {
		panic(err) // they always fold
	}
	cancel.State = m.state
	m.summarize(&w.Summary)
	w.Records = []Record{start, cancel}
	w.Summary.Epoch = 0 // creates
	v, err := s.c.create(ctx, &pending{write: w})
	if errors.Is(err, ErrConflict) || err == nil && v.Found != nil {
		return s.takeBack(ctx, name, in) // somebody was first
	}
	return err
}

// checkSubs: a child must live where its parent lives, and be able to be taken
// back where the parent may have to.
func checkSubs[S any](c *Coordinator, g *graph, steps []Step[S]) error {
	var bad []error
	for i, s := range steps {
		if s.sub == nil {
			continue
		}
		child := s.sub.child.g
		if s.sub.c != c {
			bad = append(bad, fmt.Errorf("saga: Steps[%d] (%s): the saga %s belongs to another Coordinator", i, s.Name, child.name))
		}
		if g.nodes[i].before && child.pivot >= 0 && !child.nodes[child.pivot].hasUndo {
			bad = append(bad, fmt.Errorf("saga: Steps[%d] (%s): the saga %s cannot be reversed, since its pivot %s has no Undo: put it behind the pivot",
				i, s.Name, child.name, child.nodes[child.pivot].name))
		}
	}
	return errors.Join(bad...)
}
