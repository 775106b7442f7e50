package saga

import (
	"context"
	"encoding/json"
	"errors"
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
	return s.await(ctx, id, told, true)
}

// ending is how a saga stood when this process gave it up: what a waiter would
// have to load.
type ending struct {
	m     *machine
	sum   Summary
	value any // S, if it is known to be what its encoding says
}

func (s *Saga[S]) await(ctx context.Context, id string, told chan *ending, look bool) (v S, err error) {
	var tick <-chan time.Time
	for {
		if look {
			v, m, sum, err := s.get(ctx, id)
			switch {
			case ctx.Err() != nil:
				return v, context.Cause(ctx)
			case err == nil && over(sum.State):
				return v, m.verdict(sum)
			case err != nil && over(sum.State) && sum.Name == s.p.g.name:
				return v, s.c.verdictOn(ctx, sum, err)
			case err != nil && (m == nil || final(err)):
				return v, err
			} // a log that does not fold here may go on elsewhere, or get stuck
		}
		if tick == nil && s.c.serving() == nil { // a server looks for all who wait
			ticker := time.NewTicker(s.c.cfg.Poll)
			defer ticker.Stop()
			tick = ticker.C
		}
		select {
		case e := <-told:
			if look = e == nil || e.m.g != s.p.g || e.sum.State == Stuck; !look {
				if last, ok := e.value.(*S); ok {
					return *last, e.m.verdict(e.sum)
				}
				if err := json.Unmarshal(e.m.data, &v); err != nil {
					return v, errors.Join(e.m.verdict(e.sum), err)
				}
				return v, e.m.verdict(e.sum)
			}
		case <-ctx.Done():
			return v, context.Cause(ctx)
		case <-tick:
			look = false
			s.c.lookForWaiters(ctx)
		}
	}
}

// over: there is nothing to wait for.
func over(state State) bool { return state.Ended() || state == Stuck }

// verdict is the error of a saga that did not complete.
func (m *machine) verdict(s Summary) error {
	if s.State == Completed {
		return nil
	}
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

func (c *Coordinator) watch(id string) chan *ending {
	told := make(chan *ending, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters[id] = append(c.waiters[id], told)
	return told
}

func (c *Coordinator) unwatch(id string, told chan *ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(c.waiters[id], func(w chan *ending) bool { return w == told })
	if c.waiters[id] = left; len(left) == 0 {
		delete(c.waiters, id)
	}
}

// announce tells who waits for the saga how it ended, or with nil, to look.
func (c *Coordinator) announce(id string, e *ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, told := range c.waiters[id] {
		select {
		case told <- e:
		default: // it has not looked since it was told last
		}
	}
}

func (c *Coordinator) announceAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range c.waiters {
		for _, told := range all {
			select {
			case told <- nil:
			default:
			}
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
		c.announce(s.ID, nil)
	}
}

// ended tells those who wait, and the parent of a child. A message that is lost
// costs the parent a look, see [Sub].
func (r *run) ended(isChild bool, e *ending) {
	r.announce(r.id, e)
	parent, ok := parentOf(r.id)
	if !ok || !isChild {
		return
	}
	r.mu.Lock()
	key := fmt.Sprintf("%s@%d", r.id, r.m.seq)
	r.mu.Unlock()
	r.wg.Go(func() {
		signal := Record{Kind: kindSignal, Code: subSignal(r.id[len(parent)+1:]), Key: key}
		_, err := ask(r.guard, "Post", func() (_ struct{}, err error) { return struct{}{}, r.store.Post(r.ctx, parent, signal) })
		if err == nil {
			r.wake()
		}
	})
}
