package saga

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Wait returns when the saga has ended or is Stuck: S as it stands, and nil if it
// is Completed, else an [*Error]. It works in any process; where the saga ends in
// this one it is told at once, else it looks once a Config.Poll, for all waiters
// together. The end of ctx ends the wait alone.
func (s *Saga[S]) Wait(ctx context.Context, id string) (S, error) {
	told := s.c.watch(id)
	defer s.c.unwatch(id, told)
	tick := time.NewTicker(s.c.cfg.Poll)
	defer tick.Stop()
	for {
		v, m, sum, err := s.get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return v, context.Cause(ctx)
		case err != nil && (m == nil || final(err)):
			return v, err
		case err == nil && sum.State == Completed:
			return v, nil
		case err == nil && (sum.State.Ended() || sum.State == Stuck):
			return v, m.verdict(sum)
		}
		for waiting := true; waiting; {
			select {
			case <-told:
				waiting = false
			case <-ctx.Done():
				return v, context.Cause(ctx)
			case <-tick.C:
				s.c.lookForWaiters(ctx)
			}
		}
	}
}

// verdict is the error of a saga that did not complete.
func (m *machine) verdict(s Summary) *Error {
	e := &Error{
		ID: s.ID, Name: s.Name, Step: m.failed.step, State: s.State,
		Code: m.failed.code, Cause: m.failed.cause, Undo: slices.Clone(m.undoErrs),
	}
	if s.State == Stuck {
		e.Step = m.first()
		if s.Code != "" && e.Code == "" {
			e.Code, e.Cause = s.Code, s.Cause
		}
	}
	if s.State != Compensated {
		e.Left = m.leftovers()
	}
	return e
}

func (c *Coordinator) watch(id string) chan struct{} {
	told := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters[id] = append(c.waiters[id], told)
	return told
}

func (c *Coordinator) unwatch(id string, told chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(c.waiters[id], func(w chan struct{}) bool { return w == told })
	if c.waiters[id] = left; len(left) == 0 {
		delete(c.waiters, id)
	}
}

// announce tells who waits for the saga to look.
func (c *Coordinator) announce(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, told := range c.waiters[id] {
		select {
		case told <- struct{}{}:
		default:
		}
	}
}

// lookForWaiters asks the store, once a Poll, about all sagas that somebody waits
// for.
func (c *Coordinator) lookForWaiters(ctx context.Context) {
	c.mu.Lock()
	if len(c.waiters) == 0 || time.Since(c.looked) < c.cfg.Poll {
		c.mu.Unlock()
		return
	}
	c.looked = time.Now()
	ids := make([]string, 0, len(c.waiters))
	for id := range c.waiters {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for s, err := range c.store.List(ctx, Filter{IDs: ids, States: []State{Stuck, Completed, Compensated, Abandoned}}) {
		if err != nil {
			return // the next look asks again
		}
		c.announce(s.ID)
	}
}

// ended tells those who wait, and the parent of a child. A message that is lost
// costs the parent a look, see [Sub].
func (r *run) ended(isChild bool) {
	r.announce(r.id)
	parent, ok := parentOf(r.id)
	if !ok || !isChild {
		return
	}
	r.mu.Lock()
	key := fmt.Sprintf("%s@%d", r.id, r.m.seq)
	r.mu.Unlock()
	r.wg.Go(func() {
		signal := Record{Kind: kindSignal, Code: subSignal(r.id[len(parent)+1:]), Key: key}
		if err := r.store.Post(r.ctx, parent, signal); err == nil {
			r.wake()
		}
	})
}
