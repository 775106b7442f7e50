package breaker_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T3: a probe that is never settled is given up at ProbeTimeout, once, and the
// breaker recovers.
func TestLostProbeIsReclaimed(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{ProbeTimeout: time.Minute, OnEvent: j.add})
		half(t, b)
		allow(t, b) // and forget it
		time.Sleep(time.Minute - 1)
		refused(t, b, "half-open")
		time.Sleep(time.Nanosecond)
		refused(t, b, "open")
		assert.Equal(t, uint64(1), b.Stats().LostProbes)
		time.Sleep(b.RetryAfter())
		assert.NoError(t, call(b, nil))
		assert.Equal(t, breaker.Closed, b.State())
		assert.Equal(t, []string{"trip", "timer", "probe-lost", "timer", "recovered"}, j.reasons())
	})
}

// T3: a probe that was lost long ago costs no further open time.
func TestProbeLostLongAgoIsFollowedByAProbe(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{ProbeTimeout: time.Minute, MaxOpenFor: time.Minute, OnEvent: j.add})
		half(t, b)
		allow(t, b) // and forget it
		time.Sleep(2*time.Minute + 6*time.Second)
		assert.NoError(t, call(b, nil))
		assert.Equal(t, breaker.Closed, b.State())
		assert.Equal(t, []string{"trip", "timer", "probe-lost", "timer", "recovered"}, j.reasons())
	})
}

// T3: a lost probe is given up also while other places are free, or the good
// probes that come then would wait for it.
func TestProbeIsLostWhilePlacesAreFree(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Probes: 2, ProbeTimeout: time.Minute, MaxOpenFor: time.Minute})
		half(t, b)
		allow(t, b) // and forget it
		time.Sleep(3 * time.Minute)
		calls(t, b, 2, nil)
		assert.Equal(t, breaker.Closed, b.State())
		assert.Equal(t, uint64(1), b.Stats().LostProbes)
	})
}

// T4: Done twice, Done after Cancel, Cancel after Done count once.
func TestPermitCountsOnce(t *testing.T) {
	again := map[string]func(p *breaker.Permit){
		"done":   func(p *breaker.Permit) { p.Done(nil) },
		"failed": func(p *breaker.Permit) { p.Done(errDown) },
		"cancel": func(p *breaker.Permit) { p.Cancel() },
	}
	for first, f := range again {
		for second, g := range again {
			t.Run(first+" then "+second, func(t *testing.T) {
				in(t, func(t *testing.T) {
					b := breaker.New(breaker.Config{Probes: 2})
					p := allow(t, b)
					f(p)
					want := b.Stats()
					g(p)
					assert.Equal(t, want, b.Stats(), "closed")

					half(t, b)
					other, p := allow(t, b), allow(t, b)
					f(p)
					want = b.Stats()
					g(p)
					assert.Equal(t, want, b.Stats(), "half-open")
					other.Cancel()
				})
			})
		}
	}
}

// T5: what is left of an earlier period moves nothing and frees no probe.
func TestResultOfAnEarlierPeriodCountsAsStaleAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Probes: 2, Consecutive: 1})
		fromClosed := []*breaker.Permit{allow(t, b), allow(t, b), allow(t, b), allow(t, b)}
		half(t, b)
		probe := allow(t, b)
		fromClosed[0].Done(nil)
		fromClosed[1].Done(errDown)
		fromClosed[2].Done(breaker.ErrRejected)
		fromClosed[3].Cancel()
		s := b.Stats()
		assert.Equal(t, breaker.HalfOpen, s.State)
		assert.Equal(t, 1, s.Probes)
		assert.Equal(t, uint64(3), s.Stale)
		assert.Equal(t, uint64(0), s.Ignored)

		last := allow(t, b)
		refused(t, b, "half-open")
		probe.Done(nil)
		last.Done(nil)
		require.Equal(t, breaker.Closed, b.State())

		// A probe of a lost recovery reports into the next one.
		half(t, b)
		old := []*breaker.Permit{allow(t, b), allow(t, b)}
		b.Trip(time.Second, nil)
		time.Sleep(time.Second)
		now := allow(t, b)
		old[0].Done(nil)
		old[1].Done(errDown)
		assert.Equal(t, breaker.HalfOpen, b.State())
		assert.Equal(t, 1, b.Stats().Probes)
		assert.Equal(t, uint64(5), b.Stats().Stale)
		now.Cancel()
	})
}

// T6: an Ignored probe returns its place and decides nothing.
func TestIgnoredProbeNeitherClosesNorOpens(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		half(t, b)
		for range 3 {
			p := allow(t, b)
			refused(t, b, "half-open")
			p.Done(breaker.ErrRejected)
			assert.Equal(t, breaker.HalfOpen, b.State())
			assert.Equal(t, 0, b.Stats().Probes)
		}
		assert.Equal(t, uint64(3), b.Stats().Ignored)
		assert.NoError(t, call(b, nil))
		assert.Equal(t, breaker.Closed, b.State())
	})
}

// T7: a dead ctx spends no probe and does not begin half-open.
func TestDeadContextSpendsNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		dead, cancel := context.WithCancelCause(t.Context())
		cancel(errDown)
		var j journal
		b := breaker.New(breaker.Config{OnEvent: j.add})
		_, err := b.Allow(dead)
		assert.Same(t, errDown, err)
		half(t, b)
		_, err = b.Allow(dead)
		assert.Same(t, errDown, err)
		assert.Equal(t, []string{"trip"}, j.reasons())

		p := allow(t, b)
		p.Cancel()
		_, err = b.Allow(dead)
		assert.Same(t, errDown, err)
		assert.Equal(t, 0, b.Stats().Probes)

		b.Trip(time.Second, nil)
		_, err = b.Allow(dead)
		assert.ErrorIs(t, err, breaker.ErrRejected, "open does not look at ctx")
	})
}

// T8: of 1000 goroutines at the end of the open time exactly Probes run.
func TestStampedeAdmitsExactlyProbes(t *testing.T) {
	for _, probes := range []int{1, 2, 10, 1000} {
		b := breaker.New(breaker.Config{Probes: probes})
		b.Trip(time.Nanosecond, nil)
		for b.State() != breaker.HalfOpen {
		}
		var admitted atomic.Int64
		barrier := make(chan struct{})
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				<-barrier
				if _, err := b.Allow(t.Context()); err == nil {
					admitted.Add(1)
				}
			})
		}
		close(barrier)
		wg.Wait()
		assert.Equal(t, int64(probes), admitted.Load())
		assert.Equal(t, probes, b.Stats().Probes)
	}
}

// T8: of callers that all saw a free place, and then wait for the lock, one
// gets it.
func TestFreePlaceIsTakenOnce(t *testing.T) {
	b := breaker.New(breaker.Config{})
	b.Trip(time.Nanosecond, nil)
	for b.State() != breaker.HalfOpen {
	}
	allow(t, b).Cancel()
	var started, admitted atomic.Int64
	var wg sync.WaitGroup
	b.Locked(func() {
		for range 100 {
			wg.Go(func() {
				started.Add(1)
				if _, err := b.Allow(t.Context()); err == nil {
					admitted.Add(1)
				}
			})
		}
		for started.Load() < 100 {
			runtime.Gosched()
		}
	})
	wg.Wait()
	assert.Equal(t, int64(1), admitted.Load())
}

// T16: limits belong to the later side: the open time is over at its end.
func TestProbeRunsAtTheEndOfTheOpenTime(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		b.Trip(time.Second, nil)
		time.Sleep(time.Second - 1)
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, time.Duration(1), b.RetryAfter())
		refused(t, b, "open")
		time.Sleep(time.Nanosecond)
		assert.Equal(t, breaker.HalfOpen, b.State())
		assert.Equal(t, time.Duration(0), b.RetryAfter())
		assert.NoError(t, call(b, nil))
	})
}

func TestSuccessesOfAllProbesClose(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Probes: 3})
		half(t, b)
		first := allow(t, b)
		calls(t, b, 2, nil)
		refused(t, b, "half-open") // the third place is taken
		assert.Equal(t, breaker.HalfOpen, b.State())
		first.Done(nil)
		assert.Equal(t, breaker.Closed, b.State())
	})
}

func TestOneFailedProbeOpens(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Probes: 3})
		half(t, b)
		calls(t, b, 2, nil)
		calls(t, b, 1, errDown)
		assert.Equal(t, breaker.Open, b.State())
	})
}

func TestBreakerNestedInItsOwnProbeDoesNotWedge(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		half(t, b)
		err := breaker.Run(t.Context(), b, func(context.Context) error { return call(b, nil) })
		assert.ErrorIs(t, err, breaker.ErrRejected)
		assert.Equal(t, breaker.HalfOpen, b.State())
		assert.NoError(t, call(b, nil))
		assert.Equal(t, breaker.Closed, b.State())
	})
}

func TestStateWithoutCallsStaysHalfOpen(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{OnEvent: j.add})
		half(t, b)
		time.Sleep(24 * time.Hour)
		assert.Equal(t, breaker.HalfOpen, b.State())
		assert.Equal(t, breaker.HalfOpen, b.Stats().State)
		assert.Equal(t, 1, len(j.all()), "the event comes with a call")
		synctest.Wait()
	})
}
