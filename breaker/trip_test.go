package breaker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestConsecutiveFailuresOpen(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 3, FailureRate: -1})
	calls(t, b, 2, errDown)
	calls(t, b, 1, nil)
	calls(t, b, 2, errDown)
	assert.ErrorIs(t, call(b, breaker.ErrRejected), breaker.ErrRejected) // ignored: leaves the streak
	require.Equal(t, breaker.Closed, b.State())
	calls(t, b, 1, errDown)
	assert.Equal(t, breaker.Open, b.State())
	assert.Equal(t, uint64(0), b.Stats().Calls)
}

func TestSuccessNeverOpens(t *testing.T) {
	for _, c := range []breaker.Config{{MinCalls: 10}, {MinCalls: 10, LastCalls: 100}} {
		b := breaker.New(c)
		calls(t, b, 9, errDown)
		calls(t, b, 1, nil)
		assert.Equal(t, breaker.Closed, b.State(), "9 of 10 failed, but the last one did not")
		calls(t, b, 1, errDown)
		assert.Equal(t, breaker.Open, b.State())
	}
}

func TestMinCallsIsWaitedFor(t *testing.T) {
	for name, c := range map[string]breaker.Config{"time": {}, "count": {LastCalls: 50}} {
		b := breaker.New(c)
		calls(t, b, 19, errDown)
		assert.Equal(t, breaker.Closed, b.State(), name)
		calls(t, b, 1, errDown)
		assert.Equal(t, breaker.Open, b.State(), name)
	}
}

func TestLastCallsForgetsWhatIsOlder(t *testing.T) {
	b := breaker.New(breaker.Config{LastCalls: 10, FailureRate: 0.4})
	calls(t, b, 3, errDown)
	calls(t, b, 10, nil)
	assert.Equal(t, uint64(0), b.Stats().Failures)
	calls(t, b, 3, errDown)
	assert.Equal(t, uint64(3), b.Stats().Failures)
	assert.Equal(t, uint64(10), b.Stats().Calls)
	require.Equal(t, breaker.Closed, b.State())
	calls(t, b, 1, errDown)
	assert.Equal(t, breaker.Open, b.State())
}

// T9: whoever sees Open sees its end, so no probe runs right after opening.
func TestNoProbeRightAfterOpening(t *testing.T) {
	for range 200 {
		b := breaker.New(breaker.Config{Consecutive: 1})
		opened := make(chan struct{})
		probed := make(chan error)
		go func() {
			for b.State() != breaker.Open {
				if b.State() == breaker.HalfOpen {
					break // the end of the open time was not there yet
				}
			}
			_, err := b.Allow(context.Background())
			probed <- err
			close(opened)
		}()
		calls(t, b, 1, errDown)
		require.ErrorIs(t, <-probed, breaker.ErrRejected)
		<-opened
	}
}

// spy is a failure that looks at the breaker while it is asked how long to stay
// open.
type spy struct {
	error
	b    *breaker.Breaker
	seen *breaker.State
}

func (s spy) RetryAfter() time.Duration {
	*s.seen = s.b.State()
	return time.Minute
}

// T9: the end of the open time is known before anybody can see Open, and no
// lock is held while the error is asked for it.
func TestEndIsKnownBeforeTheStateChanges(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 1})
	seen := breaker.HalfOpen
	calls(t, b, 1, spy{errDown, b, &seen})
	assert.Equal(t, breaker.Closed, seen)
	assert.True(t, b.RetryAfter() > 59*time.Second)
}

// T10: a rate trips at the first count that reaches it, for every percentage.
func TestRateTripsExactlyAtThePercentage(t *testing.T) {
	for percent := 1; percent <= 100; percent++ {
		for _, c := range []breaker.Config{{}, {LastCalls: 100}} {
			c.FailureRate, c.MinCalls = float64(percent)/100, 100
			b := breaker.New(c)
			calls(t, b, 100-percent, nil)
			calls(t, b, percent-1, errDown)
			require.Equal(t, breaker.Closed, b.State(), "%d %%", percent)
			calls(t, b, 1, errDown)
			require.Equal(t, breaker.Open, b.State(), "%d %%", percent)
		}
	}
}

// T10: 49.6 % is not 50 %.
func TestRateIsNotRounded(t *testing.T) {
	b := breaker.New(breaker.Config{MinCalls: 250, FailureRate: 0.5})
	calls(t, b, 126, nil)
	calls(t, b, 124, errDown)
	assert.Equal(t, breaker.Closed, b.State())
}

// T11: after an idle window everything reads zero.
func TestIdleWindowReadsZero(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{MinCalls: 10, MaxOpenFor: time.Minute})
		calls(t, b, 9, errDown)
		assert.False(t, b.Idle())
		time.Sleep(10 * time.Second)
		s := b.Stats()
		assert.Equal(t, uint64(0), s.Calls)
		assert.Equal(t, uint64(0), s.Failures)
		assert.Equal(t, uint64(9), s.Failed, "totals stay")
		calls(t, b, 9, errDown)
		assert.Equal(t, breaker.Closed, b.State())
		time.Sleep(time.Minute)
		assert.True(t, b.Idle())
	})
}

// T16: an outcome is out of the window when it is as old as the window.
func TestOutcomeLeavesAtTheAgeOfTheWindow(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Window: 10 * time.Second, MinCalls: 100})
		calls(t, b, 1, errDown)
		time.Sleep(10*time.Second - 1)
		assert.Equal(t, uint64(1), b.Stats().Failures)
		time.Sleep(time.Nanosecond)
		assert.Equal(t, uint64(0), b.Stats().Failures)
	})
}

// T14: time is the monotonic clock's, which no step of the wall clock moves.
func TestTimeIsMonotonic(t *testing.T) {
	b := breaker.New(breaker.Config{})
	assert.Contains(t, b.Base().String(), " m=", "the base has a monotonic reading")
}

// T17: refusals, canceled permits and ignored calls are in no denominator.
func TestOnlyCallsThatRanAreInTheDenominator(t *testing.T) {
	for _, c := range []breaker.Config{{MinCalls: 4}, {LastCalls: 10, MinCalls: 4}} {
		b := breaker.New(c)
		calls(t, b, 2, errDown)
		for range 10 {
			allow(t, b).Cancel()
			_ = call(b, fmt.Errorf("inner: %w", breaker.ErrRejected))
		}
		assert.Equal(t, uint64(2), b.Stats().Calls)
		calls(t, b, 1, nil)
		calls(t, b, 1, errDown)
		assert.Equal(t, breaker.Open, b.State())
		refused(t, b, "open")
		assert.Equal(t, uint64(4), b.Stats().Succeeded+b.Stats().Failed)
		assert.Equal(t, uint64(10), b.Stats().Ignored)
		assert.Equal(t, uint64(1), b.Stats().Rejected)
	}
}

// after is an error of a server that says when to come back.
type after struct {
	error
	d time.Duration
}

func (a after) RetryAfter() time.Duration { return a.d }

// T24: the open time doubles with each failed recovery up to MaxOpenFor.
func TestOpenTimeDoublesUpToTheCap(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1, OpenFor: time.Second, MaxOpenFor: 5 * time.Second})
		b.SetRandom(func() float64 { return 0 })
		calls(t, b, 1, errDown)
		for _, want := range []time.Duration{1, 2, 4, 5, 5} {
			require.Equal(t, want*time.Second, b.RetryAfter())
			time.Sleep(b.RetryAfter())
			calls(t, b, 1, errDown)
		}
	})
}

// T24: the jitter is in [0, 10 %).
func TestOpenTimeIsNeverShorterAndAtMostATenthLonger(t *testing.T) {
	in(t, func(t *testing.T) {
		shortest, longest := time.Hour, time.Duration(0)
		for range 1000 {
			b := breaker.New(breaker.Config{Consecutive: 1, OpenFor: time.Second})
			calls(t, b, 1, errDown)
			shortest, longest = min(shortest, b.RetryAfter()), max(longest, b.RetryAfter())
		}
		assert.True(t, shortest >= time.Second && shortest < 1010*time.Millisecond, "%v", shortest)
		assert.True(t, longest < 1100*time.Millisecond && longest > 1090*time.Millisecond, "%v", longest)
	})
}

// T24: a server that says when to come back is not called early, nor much too
// late if it asks for more than MaxOpenFor.
func TestOpenTimeFollowsRetryAfter(t *testing.T) {
	in(t, func(t *testing.T) {
		cases := map[time.Duration]time.Duration{
			time.Second:      5 * time.Second,
			20 * time.Second: 20 * time.Second,
			time.Hour:        time.Minute,
			-time.Hour:       5 * time.Second,
		}
		for asked, want := range cases {
			b := breaker.New(breaker.Config{Consecutive: 1})
			b.SetRandom(func() float64 { return 0 })
			err := fmt.Errorf("users: %w", after{errDown, asked})
			calls(t, b, 1, err)
			assert.Equal(t, want, b.RetryAfter(), "asked for %v", asked)
		}
	})
}

// T24: the level survives a closed period that was shorter than the open time
// before it, and no longer one.
func TestLevelSurvivesAShortRecoveryOnly(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1, OpenFor: time.Second})
		b.SetRandom(func() float64 { return 0 })
		reopen := func(closedFor time.Duration) time.Duration {
			time.Sleep(b.RetryAfter())
			require.NoError(t, call(b, nil))
			time.Sleep(closedFor)
			calls(t, b, 1, errDown)
			return b.RetryAfter()
		}
		calls(t, b, 1, errDown)
		assert.Equal(t, 2*time.Second, reopen(time.Second-1))
		assert.Equal(t, 4*time.Second, reopen(2*time.Second-1))
		assert.Equal(t, time.Second, reopen(4*time.Second))
		b.Reset()
		calls(t, b, 1, errDown)
		assert.Equal(t, time.Second, b.RetryAfter())
	})
}

func TestTripOpensForExactlyTheGivenTime(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{OnEvent: j.add})
		b.Trip(time.Hour, errDown)
		assert.Equal(t, time.Hour, b.RetryAfter(), "more than MaxOpenFor, no jitter")
		assert.Same(t, errDown, refused(t, b, "open").Cause)
		b.Trip(time.Minute, nil)
		assert.Equal(t, time.Hour, b.RetryAfter(), "the later end counts")
		b.Trip(2*time.Hour, nil)
		assert.Equal(t, 2*time.Hour, b.RetryAfter())
		assert.Equal(t, []string{"trip"}, j.reasons())
		assert.Equal(t, uint64(1), b.Stats().Opened)
		assert.Equal(t, uint64(1), b.Stats().Rejected)

		b.Reset()
		assert.Equal(t, breaker.Closed, b.State())
		b.Trip(0, nil)
		assert.True(t, b.RetryAfter() >= 5*time.Second && b.RetryAfter() < 5500*time.Millisecond)
	})
}

func TestResetOfAClosedBreakerEmptiesTheWindow(t *testing.T) {
	var j journal
	b := breaker.New(breaker.Config{OnEvent: j.add, MinCalls: 3})
	calls(t, b, 2, errDown)
	b.Reset()
	calls(t, b, 2, errDown)
	assert.Equal(t, breaker.Closed, b.State())
	assert.Equal(t, uint64(4), b.Stats().Failed)
	assert.Equal(t, 0, len(j.all()))
}

func TestFailureOnAnOpenBreakerChangesNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{Consecutive: 1, OnEvent: j.add})
		late := allow(t, b)
		calls(t, b, 1, errDown)
		end := b.RetryAfter()
		time.Sleep(time.Second)
		late.Done(errDown)
		assert.Equal(t, end-time.Second, b.RetryAfter())
		assert.Equal(t, 1, len(j.all()))
	})
}
