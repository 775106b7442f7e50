// Package gatetest checks what every breaker.Gate owes its callers: permits
// that count once, and come back whatever the call does.
package gatetest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/breaker"
)

// Subject is a gate under test.
type Subject struct {
	Gate breaker.Gate
	// InUse returns how many permits the gate counts as not given back. Nil
	// for gates that do not count them.
	InUse func() int
	// Close makes the gate refuse the next call.
	Close func()
	// Allocs is how many allocations an admitted call may cost.
	Allocs float64
}

// Run runs all checks, each on a gate of its own. The gates must admit a call
// when new and must not wait.
func Run(t *testing.T, create func() Subject) {
	checks := map[string]func(*testing.T, Subject){
		"a permit counts once":          countsOnce,
		"Cancel leaves no trace":        cancelLeavesNoTrace,
		"a dead context spends nothing": deadContext,
		"a panic gives the permit back": panics,
		"Goexit gives the permit back":  exits,
		"a refusal says who and why":    refusal,
		"calls do not allocate":         allocations,
		"permits are safe in a crowd":   crowd,
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) { check(t, create()) })
	}
}

// inUse fails the test unless the gate counts n permits.
func (s Subject) inUse(t *testing.T, n int, when string) {
	t.Helper()
	if s.InUse != nil && s.InUse() != n {
		t.Fatalf("%d permits in use %s, want %d", s.InUse(), when, n)
	}
}

// allow takes a permit that must be granted.
func (s Subject) allow(t *testing.T) *breaker.Permit {
	t.Helper()
	p, err := s.Gate.Allow(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

func countsOnce(t *testing.T, s Subject) {
	give := []func(*breaker.Permit){
		func(p *breaker.Permit) { p.Done(nil) },
		func(p *breaker.Permit) { p.Cancel() },
	}
	for _, first := range give {
		for _, second := range give {
			p := s.allow(t)
			s.inUse(t, 1, "while the call runs")
			first(p)
			s.inUse(t, 0, "after the call")
			second(p)
			s.inUse(t, 0, "after the permit was given back twice")
		}
	}
}

func cancelLeavesNoTrace(t *testing.T, s Subject) {
	for range 1000 { // more than any limit under test
		s.allow(t).Cancel()
	}
	s.inUse(t, 0, "after Cancel")
}

func deadContext(t *testing.T, s Subject) {
	cause := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	for range 1000 {
		if _, err := s.Gate.Allow(ctx); err != cause { //nolint:errorlint // the very same
			t.Fatalf("a dead context got %v, want its cause", err)
		}
	}
	s.inUse(t, 0, "after calls with a dead context")
	s.allow(t).Cancel()
}

func panics(t *testing.T, s Subject) {
	value := errors.New("value")
	func() {
		defer func() {
			if got := recover(); got != value { //nolint:errorlint // the very same
				t.Errorf("the panic went on with %v", got)
			}
		}()
		_ = breaker.Run(context.Background(), s.Gate, func(context.Context) error { panic(value) })
	}()
	s.inUse(t, 0, "after a panic")
}

func exits(t *testing.T, s Subject) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = breaker.Run(context.Background(), s.Gate, func(context.Context) error {
			runtime.Goexit()
			return nil
		})
	})
	wg.Wait()
	s.inUse(t, 0, "after Goexit")
}

func refusal(t *testing.T, s Subject) {
	s.Close()
	_, err := s.Gate.Allow(context.Background())
	r, ok := errors.AsType[*breaker.RejectedError](err)
	switch {
	case !ok:
		t.Fatalf("a refusal is %v, want a *breaker.RejectedError", err)
	case !errors.Is(err, breaker.ErrRejected):
		t.Error("a refusal does not match ErrRejected")
	case r.Gate == nil || r.Reason == "":
		t.Errorf("a refusal does not say who and why: %+v", r)
	case r.Retryable():
		t.Error("a refusal claims that a retry helps")
	case r.RetryAfter() < 0:
		t.Errorf("come back in %v", r.RetryAfter())
	}
	n := testing.AllocsPerRun(100, func() { _, _ = s.Gate.Allow(context.Background()) })
	if n > 0 {
		t.Errorf("a refusal costs %v allocations", n)
	}
}

func allocations(t *testing.T, s Subject) {
	ctx := context.Background()
	n := testing.AllocsPerRun(100, func() {
		if p, err := s.Gate.Allow(ctx); err == nil {
			p.Cancel()
		}
	})
	if n > s.Allocs {
		t.Errorf("a call costs %v allocations, at most %v are allowed", n, s.Allocs)
	}
}

func crowd(t *testing.T, s Subject) {
	failed := errors.New("failed")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				p, err := s.Gate.Allow(context.Background())
				if err != nil {
					continue
				}
				switch (i + g) % 4 {
				case 0:
					p.Cancel()
				case 1:
					p.Done(failed)
				default:
					p.Done(nil)
				}
			}
		})
	}
	wg.Wait()
	s.inUse(t, 0, "after a crowd")
}
