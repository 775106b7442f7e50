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
// Both belong to one Coordinator.
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
		Undo: func(ctx context.Context, _ *S) error { return child.takeBack(ctx, name) },
	}
}

func subSignal(name string) string { return "saga.sub." + name }

func (s *Saga[T]) asStep(ctx context.Context, name string, in T, out func(T)) error {
	id := CallFrom(ctx).Saga + "/" + name
	if _, err := s.Prepare(id, in); err != nil {
		return Refuse(err)
	}
	if err := s.Start(ctx, id, in); errors.Is(err, ErrConflict) {
		return Refuse(err) // the id is somebody else's
	} else if err != nil {
		return err
	}
	v, m, sum, err := s.get(ctx, id)
	if err != nil && !s.standsStill(sum) {
		return err
	}
	switch sum.State {
	case Completed:
		out(v)
		return nil
	case Compensated:
		return Refuse(s.verdict(ctx, m, sum, err))
	case Abandoned:
		return s.verdict(ctx, m, sum, err) // says that no retry helps
	default:
		return await(subSignal(name), subLook)
	}
}

// standsStill: the header of s's saga says all that its parent has to know, also
// where no definition here can continue it.
func (s *Saga[T]) standsStill(sum Summary) bool {
	return sum.Name == s.p.g.name && over(sum.State) && sum.State != Completed
}

func (s *Saga[T]) verdict(ctx context.Context, m *machine, sum Summary, err error) error {
	if err != nil {
		return s.c.verdictOn(ctx, sum, err)
	}
	return m.verdict(sum)
}

func (s *Saga[T]) takeBack(ctx context.Context, name string) error {
	call := CallFrom(ctx)
	id := call.Saga + "/" + name
	_, m, sum, err := s.get(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil // it was never started
	case err != nil && !s.standsStill(sum):
		return err
	}
	why := err // there is no machine; only its state counts
	err = nil
	reason := fmt.Sprintf("%s compensates", call.Saga)
	switch sum.State {
	case Compensated:
		return nil
	case Abandoned:
		return Refuse(s.verdict(ctx, m, sum, why))
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
