package sagatest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagatest"
)

type order struct {
	Done  map[string]bool `json:"done,omitempty"`
	Child int             `json:"child,omitempty"`
}

// ledger is the world: which effects are there, by the key of the call.
type ledger struct {
	mu   sync.Mutex
	open map[string]bool
}

func (l *ledger) step(name string, after ...string) saga.Step[order] {
	return saga.Step[order]{
		Name: name, After: after,
		Do:   func(ctx context.Context, _ *order) error { return l.put(ctx, true) },
		Undo: func(ctx context.Context, _ *order) error { return l.put(ctx, false) },
		// Else an undo that hangs every time is retried for an hour.
		UndoRetry: saga.Retry{For: -1},
	}
}

func (l *ledger) put(ctx context.Context, there bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := saga.CallFrom(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[string]bool{}
	}
	l.open[c.Saga+"/"+c.Step] = there
	return nil
}

// balances: everything is there, or nothing.
func (l *ledger) balances(want int) func(sagatest.End[order]) error {
	return func(e sagatest.End[order]) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		there := 0
		for _, open := range l.open {
			if open {
				there++
			}
		}
		switch {
		case e.State == saga.Completed && there != want, e.State == saga.Compensated && there != 0:
			return fmt.Errorf("%v with %d effects: %v", e.State, there, l.open)
		case e.State == saga.Stuck && e.Err == nil:
			return errors.New("stuck without an error")
		}
		return nil
	}
}

func explore(t *testing.T, faults int, steps func(l *ledger) []saga.Step[order]) {
	t.Helper()
	sagatest.Explore(t, func(*testing.T) sagatest.Subject[order] {
		l := &ledger{}
		all := steps(l)
		return sagatest.Subject[order]{
			Faults: faults,
			Define: func(*saga.Coordinator) (saga.Definition[order], error) {
				return saga.Definition[order]{Name: "order", Steps: all}, nil
			},
			Check: l.balances(len(all)),
		}
	})
}

func TestExploreChain(t *testing.T) {
	explore(t, 1, func(l *ledger) []saga.Step[order] {
		return []saga.Step[order]{l.step("reserve"), l.step("pay", "reserve"), l.step("ship", "pay")}
	})
}

func TestExploreShortChainWithTwoFaults(t *testing.T) {
	explore(t, 2, func(l *ledger) []saga.Step[order] {
		return []saga.Step[order]{l.step("pay"), l.step("ship", "pay")}
	})
}

func TestExploreDiamond(t *testing.T) {
	explore(t, 1, func(l *ledger) []saga.Step[order] {
		return []saga.Step[order]{l.step("top"), l.step("left", "top"), l.step("right", "top"), l.step("join", "left", "right")}
	})
}

func TestExplorePivotAtEachPlace(t *testing.T) {
	for pivot := range 3 {
		t.Run(fmt.Sprint(pivot), func(t *testing.T) {
			explore(t, 1, func(l *ledger) []saga.Step[order] {
				steps := []saga.Step[order]{l.step("reserve"), l.step("pay", "reserve"), l.step("ship", "pay")}
				steps[pivot].Pivot = true
				for i := pivot; i < 3; i++ {
					steps[i].Undo = nil
				}
				return steps
			})
		})
	}
}

// Graphs that nobody thought of, every second one with a pivot.
func TestExploreRandomGraphs(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			explore(t, 1, func(l *ledger) []saga.Step[order] { return randomGraph(l, seed) })
		})
	}
}

func randomGraph(l *ledger, seed uint64) (steps []saga.Step[order]) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	n, pivot := 3+rnd.IntN(3), -1
	if seed%2 == 1 {
		pivot = rnd.IntN(n)
	}
	names := []string{}
	for i := range n {
		after := []string{}
		for j, name := range names {
			if i == pivot || j == pivot || rnd.IntN(2) == 0 {
				after = append(after, name)
			}
		}
		names = append(names, fmt.Sprint("s", i))
		step := l.step(names[i], after...)
		step.After = after // none is not the step before
		if step.Pivot = i == pivot; pivot >= 0 && i >= pivot {
			step.Undo = nil
		}
		steps = append(steps, step)
	}
	return steps
}

func TestExploreWaits(t *testing.T) {
	sagatest.Explore(t, func(*testing.T) sagatest.Subject[order] {
		l := &ledger{}
		wait := l.step("wait", "pay")
		wait.Do = func(ctx context.Context, _ *order) error {
			switch c := saga.CallFrom(ctx); {
			case c.Signal != "":
				return l.put(ctx, true)
			case c.TimedOut:
				return saga.Refuse(errors.New("nobody came"))
			}
			return saga.Await("go", time.Hour)
		}
		nap := l.step("nap", "wait")
		nap.Do = func(ctx context.Context, _ *order) error {
			if !saga.CallFrom(ctx).TimedOut {
				return saga.Sleep(time.Minute)
			}
			return l.put(ctx, true)
		}
		return sagatest.Subject[order]{
			Define: func(*saga.Coordinator) (saga.Definition[order], error) {
				return saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{l.step("pay"), wait, nap}}, nil
			},
			OnWait: func(ctx context.Context, c *saga.Coordinator, s saga.Summary) {
				_ = c.Signal(ctx, s.ID, "go", "once", nil)
			},
			Check: l.balances(3),
		}
	})
}

func TestExploreCancelWhileItWaits(t *testing.T) {
	sagatest.Explore(t, func(*testing.T) sagatest.Subject[order] {
		l := &ledger{}
		wait := l.step("wait", "pay")
		wait.Do = func(context.Context, *order) error { return saga.Await("go", 0) }
		return sagatest.Subject[order]{
			Define: func(*saga.Coordinator) (saga.Definition[order], error) {
				return saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{l.step("pay"), wait}}, nil
			},
			OnWait: func(ctx context.Context, c *saga.Coordinator, s saga.Summary) {
				_ = c.Cancel(ctx, s.ID, "changed my mind")
			},
			Check: func(e sagatest.End[order]) error {
				if e.State == saga.Completed {
					return errors.New("nobody ever said go")
				}
				return l.balances(0)(e)
			},
		}
	})
}

// T41: the parent goes on whatever happens between it and its child.
func TestExploreSub(t *testing.T) {
	sagatest.Explore(t, func(*testing.T) sagatest.Subject[order] {
		l := &ledger{}
		return sagatest.Subject[order]{
			Define: func(c *saga.Coordinator) (saga.Definition[order], error) {
				child, err := saga.Register(c, saga.Definition[order]{Name: "parcel", Steps: []saga.Step[order]{l.step("pack")}})
				if err != nil {
					return saga.Definition[order]{}, err
				}
				sub := saga.Sub("parcel", child, func(o *order) order { return order{} }, func(o *order, _ order) { o.Child++ })
				sub.UndoRetry = saga.Retry{For: -1}
				return saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{l.step("pay"), sub, l.step("mail", "parcel")}}, nil
			},
			Check: l.balances(3),
		}
	})
}
