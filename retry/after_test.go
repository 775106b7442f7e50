package retry_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

// waits runs p over errs, one per attempt, and returns the waits.
func waits(t *testing.T, p retry.Policy, errs ...error) (delays []time.Duration) {
	t.Helper()
	p.MaxAttempts = len(errs) + 1
	p.OnEvent = func(_ context.Context, e retry.Event) {
		if !e.Last {
			delays = append(delays, e.Delay)
		}
	}
	inBubble(t, func(t *testing.T) {
		n := 0
		require.NoError(t, retry.Run(t.Context(), &p, func(context.Context) error {
			if n++; n <= len(errs) {
				return errs[n-1]
			}
			return nil
		}))
	})
	return delays
}

// T23: a server's delay is never cut, stretched by at most a tenth, not fed to
// the Backoff as prev, and growth starts afresh after it; a delay of 0 leaves
// the growth alone.
func TestServerDelay(t *testing.T) {
	second, told := time.Second, retry.After(time.Minute, errDown)
	exponential := retry.Policy{Backoff: retry.Exponential(second, time.Hour), MaxRetryAfter: -1}
	retry.FixDraw(t, 0.5)

	assert.Equal(t, []time.Duration{second, 63 * second, second, 2 * second}, waits(t, exponential, errDown, told, errDown, errDown))
	zero := retry.After(0, errDown)
	assert.Equal(t, []time.Duration{second, 2 * second, 4 * second}, waits(t, exponential, zero, zero, zero))
	short := retry.After(1500*time.Millisecond, errDown)
	assert.Equal(t, []time.Duration{1575 * time.Millisecond, 1575 * time.Millisecond}, waits(t, exponential, short, short))
	assert.Equal(t, []time.Duration{second, 2 * second, 4 * second}, waits(t, exponential, errDown, short, short),
		"a longer Backoff goes on growing")

	var prevs []time.Duration
	fed := retry.Policy{Backoff: func(_ int, prev time.Duration, _ float64) time.Duration {
		prevs = append(prevs, prev)
		return time.Second
	}}
	waits(t, fed, errDown, errDown, retry.After(30*second, errDown), errDown, errDown)
	assert.Equal(t, []time.Duration{0, second, second, 0, second}, prevs)

	for _, u := range []float64{0, .1, .999} {
		retry.FixDraw(t, u)
		d := waits(t, exponential, told)[0]
		assert.True(t, d >= time.Minute && d <= 66*second, "%v", d)
	}
}

func TestServerDelaySaturates(t *testing.T) {
	retry.FixDraw(t, 0.999)
	p := &retry.Policy{MaxRetryAfter: -1}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, d := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 / 11 * 10} {
		calls := 0
		err := retry.Run(ctx, p, always(&calls, retry.After(d, errDown)))
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, context.DeadlineExceeded, e.Reason)
		assert.True(t, e.Delay >= d, "%d", e.Delay)
	}
}

func TestMaxRetryAfter(t *testing.T) {
	for _, c := range []struct {
		limit, asked time.Duration
		obeyed       bool
	}{
		{0, time.Minute, true},
		{0, time.Minute + 1, false},
		{time.Second, time.Second, true},
		{time.Second, time.Second + 1, false},
		{-1, 1000 * time.Hour, true},
	} {
		p := &retry.Policy{MaxAttempts: 2, MaxRetryAfter: c.limit}
		calls := 0
		var err error
		inBubble(t, func(t *testing.T) { err = retry.Run(t.Context(), p, always(&calls, retry.After(c.asked, errDown))) })
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		if c.obeyed {
			assert.Equal(t, retry.ErrExhausted, e.Reason, "%+v", c)
		} else {
			assert.Equal(t, retry.Error{Err: e.Err, Reason: retry.ErrRetryAfter, Attempts: 1, Delay: c.asked}, *e)
			assert.Equal(t, c.asked, e.RetryAfter())
		}
	}
}

// The longest delay in the tree counts, and no advice is none.
func TestLongestServerDelayCounts(t *testing.T) {
	retry.FixDraw(t, 0)
	p := retry.Policy{Backoff: retry.Constant(time.Second)}
	both := errors.Join(opinion{retry: true, after: 3 * time.Second}, retry.After(5*time.Second, errDown), opinion{after: -1})
	assert.Equal(t, []time.Duration{5 * time.Second}, waits(t, p, both))
	assert.Equal(t, []time.Duration{time.Second}, waits(t, p, opinion{retry: true, after: -1}))
}

// T24: what an open breaker says ends the call at once, with that very error.
func TestRejectionEndsTheCallAtOnce(t *testing.T) {
	budget := &ledger{left: 9}
	var rejection error = opinion{retry: false, after: 5 * time.Second}
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		assert.Same(t, rejection, retry.Run(t.Context(), &retry.Policy{Budget: budget}, always(&calls, rejection)))
	})
	assert.Equal(t, 1, calls)
	assert.Equal(t, time.Duration(0), took)
	assert.Equal(t, 0, len(budget.lines))
}

// T24: a predicate that accepts the rejection waits for as long as it says, and
// a hundred that wait do not come back in one instant.
func TestPredicateMayWaitForTheBreaker(t *testing.T) {
	var rejection error = opinion{retry: false, after: 5 * time.Second}
	p := &retry.Policy{Retryable: func(err error) bool { return err == rejection || retry.DefaultRetryable(err) }}
	var mu sync.Mutex
	returned := map[time.Duration]int{}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for range 100 {
			go func() {
				calls := 0
				err := retry.Run(t.Context(), p, func(context.Context) error {
					if calls++; calls == 1 {
						return rejection
					}
					return nil
				})
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				returned[time.Since(began)]++
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
	for after := range returned {
		assert.True(t, after >= 5*time.Second && after <= 5500*time.Millisecond, "%v", after)
	}
	assert.True(t, len(returned) >= 90, "%d different instants", len(returned))
}

// A draw costs more than all else in a retry without a wait, so Constant(0) does
// without. What a server asks for is spread all the same.
func TestConstantZeroDrawsOnlyForServerDelays(t *testing.T) {
	draws := retry.CountDraws(t)
	p := retry.Policy{Backoff: retry.Constant(0)}
	assert.Equal(t, []time.Duration{0, 0, 0}, waits(t, p, errDown, retry.After(0, errDown), errDown))
	assert.Equal(t, 0, *draws)

	d := waits(t, p, errDown, retry.After(time.Minute, errDown), errDown)
	assert.Equal(t, 1, *draws)
	assert.Equal(t, []time.Duration{0, 0}, []time.Duration{d[0], d[2]})
	assert.True(t, d[1] > time.Minute && d[1] < 66*time.Second, "%v", d[1])

	for _, other := range []retry.Backoff{
		retry.Constant(1), retry.Steps(0), retry.Constant(0).Jitter(0), nil,
		func(int, time.Duration, float64) time.Duration { return 0 },
	} {
		before := *draws
		waits(t, retry.Policy{Backoff: other}, errDown)
		assert.Equal(t, before+1, *draws, "only Constant(0) is known to need none")
	}
}
