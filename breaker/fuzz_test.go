package breaker_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// What Validate accepts New accepts, and such a breaker runs: it refuses and
// admits without a panic, and whatever happened, a Reset closes it. What
// Validate refuses New panics on, with the same error.
func FuzzConfig(f *testing.F) {
	f.Add(0.0, 0.0, int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), 0, 0, 0, 0)
	f.Add(0.5, 1.0, int64(time.Second), int64(time.Minute), int64(time.Second), int64(time.Hour), int64(time.Hour), int64(time.Second), int64(time.Second), 3, 10, 0, 5)
	f.Add(-1.0, 1e-6, int64(-1), int64(0), int64(1), int64(1), int64(1), int64(1), int64(0), 0, 1, 65536, 1000)
	f.Add(math.NaN(), math.Inf(1), int64(math.MinInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt, math.MaxInt, 1, 1)
	f.Add(1.0, 1.0, int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), 1, 1, 0, 1)
	f.Fuzz(func(t *testing.T, failureRate, slowRate float64, slowAfter, window, openFor, maxOpenFor, probeTimeout, ramp, timeout int64, consecutive, minCalls, lastCalls, probes int) {
		c := breaker.Config{
			FailureRate: failureRate, SlowRate: slowRate, SlowAfter: time.Duration(slowAfter), Window: time.Duration(window),
			OpenFor: time.Duration(openFor), MaxOpenFor: time.Duration(maxOpenFor), ProbeTimeout: time.Duration(probeTimeout),
			Ramp: time.Duration(ramp), Timeout: time.Duration(timeout),
			Consecutive: consecutive, MinCalls: minCalls, LastCalls: lastCalls, Probes: probes,
		}
		synctest.Test(t, func(t *testing.T) { runConfig(t, c) })
	})
}

func runConfig(t *testing.T, c breaker.Config) {
	want := c.Validate()
	defer func() {
		if got, _ := recover().(error); (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Errorf("New panics with %v, Validate returns %v", got, want)
		}
	}()
	b := breaker.New(c)
	for i := range 100 {
		if p, err := b.Allow(t.Context()); err == nil {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			p.Done([]error{nil, errDown, errDown, breaker.ErrRejected}[i%4])
		}
		_, _, _ = b.Stats(), b.Idle(), b.RetryAfter()
		time.Sleep(min(b.RetryAfter(), time.Minute))
	}
	b.Trip(math.MaxInt64, errDown)
	b.Reset()
	if b.State() != breaker.Closed {
		t.Errorf("%v after Reset", b.State())
	}
}
