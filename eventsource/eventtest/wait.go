package eventtest

import (
	"context"
	"errors"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

var waitTests = []storeTest{
	{"Wait returns at once below Head", waitBelow},
	{"Wait returns after an append", waitAppend},
	{"Wait ends with its context", waitCancel},
}

func withCause(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	return context.WithCancelCause(ctx)
}

func waitBelow(s store) {
	s.fresh(in("a", "t", "t"))
	for after := range s.head() {
		if err := s.Wait(s.ctx, after); err != nil {
			s.Fatalf("Wait(%d) is %v with Head at %d", after, err, s.head())
		}
	}
}

// waitAppend: each append wakes all, and nobody before.
func waitAppend(s store) {
	for range 20 {
		h := s.head()
		errs, heads := make([]error, racers), make([]eventsource.Position, racers)
		begun := make(chan struct{})
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				begun <- struct{}{}
				if errs[i] = s.Wait(s.ctx, h); errs[i] == nil {
					heads[i], errs[i] = s.Head(s.ctx)
				}
			})
		}
		for range racers {
			<-begun
		}
		s.fresh(one("a", "t"))
		wg.Wait()
		for i := range racers {
			if errs[i] != nil || heads[i] <= h {
				s.Fatalf("Wait(%d) is %v with Head at %d", h, errs[i], heads[i])
			}
		}
	}
}

func waitCancel(s store) {
	cause := errors.New("eventtest: enough")
	ctx, cancel := withCause(s.ctx)
	done := make(chan error, racers)
	for i := range racers {
		go func() { done <- s.Wait(ctx, s.lastPossible(i)) }()
	}
	select {
	case err := <-done:
		s.Fatalf("Wait beyond Head is %v before anything was appended", err)
	default:
	}
	cancel(cause)
	for range racers {
		if err := <-done; !is(err, cause) {
			s.Fatalf("Wait is %v, want the cause", err)
		}
	}
}

// lastPossible are positions that an empty store is not beyond.
func (s store) lastPossible(i int) eventsource.Position {
	return []eventsource.Position{0, 1, 1 << 40, 1<<64 - 1}[i%4]
}
