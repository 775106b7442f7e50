package breaker_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/require"
)

var errDown = errors.New("down")

// in runs f in a bubble of virtual time.
func in(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// call runs one call that ends with err and returns what Run returns.
func call(g breaker.Gate, err error) error {
	return breaker.Run(context.Background(), g, func(context.Context) error { return err })
}

// calls runs n calls that end with err, each of which must be admitted.
func calls(t *testing.T, g breaker.Gate, n int, err error) {
	t.Helper()
	for range n {
		require.True(t, call(g, err) == err) //nolint:errorlint // the very same
	}
}

// allow takes a permit that must be granted.
func allow(t *testing.T, g breaker.Gate) *breaker.Permit {
	t.Helper()
	p, err := g.Allow(context.Background())
	require.NoError(t, err)
	return &p
}

// refused requires that g refuses, for the given reason.
func refused(t *testing.T, g breaker.Gate, reason string) *breaker.RejectedError {
	t.Helper()
	_, err := g.Allow(context.Background())
	rejected, ok := errors.AsType[*breaker.RejectedError](err)
	require.True(t, ok, "refused by %v", err)
	require.Equal(t, reason, rejected.Reason)
	return rejected
}

// open trips a breaker and lets its open time pass, so that the next call is
// the first probe.
func half(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	b.Trip(time.Second, errDown)
	time.Sleep(time.Second)
	require.Equal(t, breaker.HalfOpen, b.State())
}

// journal collects events.
type journal struct {
	mu     sync.Mutex
	events []breaker.Event
}

func (j *journal) add(ev breaker.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, ev)
}

func (j *journal) all() []breaker.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]breaker.Event(nil), j.events...)
}

// reasons returns why the state changed, in order.
func (j *journal) reasons() []string {
	var rs []string
	for _, ev := range j.all() {
		rs = append(rs, ev.Reason)
	}
	return rs
}

// inGoroutine runs f in a goroutine of its own and waits for its end, however
// it ends, and returns the value it panicked with.
func inGoroutine(f func()) (panicked any) {
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	return <-done
}

// exit ends the goroutine as t.FailNow does.
func exit(context.Context) error {
	runtime.Goexit()
	return nil
}
