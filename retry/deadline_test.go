package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

// T1: a wait that cannot fit the deadline is not slept.
func TestStopsAtOnceWhenTheWaitDoesNotFitTheDeadline(t *testing.T) {
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := retry.Run(ctx, &retry.Policy{Backoff: retry.Constant(10 * time.Second)}, always(&calls, errDown))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errDown)
		assert.NoError(t, ctx.Err(), "the deadline itself has not come")
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: errDown, Reason: context.DeadlineExceeded, Attempts: 1, Delay: 10 * time.Second}, *e)
	})
	assert.Equal(t, 1, calls)
	assert.Equal(t, time.Duration(0), took)
}

// T2: a wait that ends with the deadline leaves no time for the attempt, so it
// is not slept; one nanosecond less is slept, and none is cut to fit.
func TestWaitMustEndBeforeTheDeadline(t *testing.T) {
	for _, c := range []struct {
		wait  time.Duration
		calls int
		took  time.Duration
	}{
		{time.Second, 1, 0},
		{time.Second - 1, 2, time.Second - 1},
		{2 * time.Second, 1, 0},
	} {
		calls := 0
		took := inBubble(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := retry.Run(ctx, &retry.Policy{Backoff: retry.Constant(c.wait)}, always(&calls, errDown))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		assert.Equal(t, c.calls, calls, "wait %v", c.wait)
		assert.Equal(t, c.took, took, "wait %v", c.wait)
	}
}

// T3: the longest possible wait does not overflow MaxElapsed, not even when time
// has passed already.
func TestMaxElapsedDoesNotOverflow(t *testing.T) {
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		p := &retry.Policy{MaxElapsed: time.Second, Backoff: retry.Constant(math.MaxInt64)}
		err := retry.Run(t.Context(), p, func(context.Context) error {
			calls++
			time.Sleep(time.Millisecond)
			return errDown
		})
		assert.ErrorIs(t, err, retry.ErrElapsed)
		assert.ErrorIs(t, err, errDown)
	})
	assert.Equal(t, 1, calls)
	assert.Equal(t, time.Millisecond, took)
}

// T3: an attempt that starts just at MaxElapsed is made; MaxElapsed also counts
// the time that attempts take, and stops retries without a wait.
func TestMaxElapsedBoundsTheStartOfAttempts(t *testing.T) {
	for _, c := range []struct{ wait, attempt, want time.Duration }{
		{wait: 500 * time.Millisecond, want: time.Second},
		{wait: 501 * time.Millisecond, want: 501 * time.Millisecond},
		{attempt: 500 * time.Millisecond, want: 1500 * time.Millisecond}, // the third starts at 1 s
		{attempt: 501 * time.Millisecond, want: 1002 * time.Millisecond},
	} {
		took := inBubble(t, func(t *testing.T) {
			p := &retry.Policy{MaxAttempts: -1, MaxElapsed: time.Second, Backoff: retry.Constant(c.wait)}
			err := retry.Run(t.Context(), p, func(context.Context) error {
				time.Sleep(c.attempt)
				return errDown
			})
			assert.ErrorIs(t, err, retry.ErrElapsed)
		})
		assert.Equal(t, c.want, took, "%+v", c)
	}
}

// T7: an attempt that hit its own limit is retried while the caller's ctx
// lives, whatever the predicate says, also when an inner loop reports it.
func TestAttemptTimeoutIsRetried(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("read: %w", ctx.Err())
	}
	nested := func(ctx context.Context) error {
		return retry.Run(ctx, &retry.Policy{Backoff: retry.Constant(2 * time.Second)}, func(context.Context) error {
			return errDown
		})
	}
	for name, fn := range map[string]func(context.Context) error{"hang": hang, "inner loop": nested} {
		calls := 0
		p := &retry.Policy{
			AttemptTimeout: time.Second,
			Backoff:        retry.Constant(time.Minute),
			Retryable:      func(error) bool { return false },
		}
		inBubble(t, func(t *testing.T) {
			err := retry.Run(t.Context(), p, func(ctx context.Context) error {
				calls++
				return fn(ctx)
			})
			assert.ErrorIs(t, err, retry.ErrExhausted, name)
		})
		assert.Equal(t, 3, calls, name)
	}
}

// T7: the caller's own deadline ends the call.
func TestCallersDeadlineIsNotRetried(t *testing.T) {
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := &retry.Policy{AttemptTimeout: time.Minute, Backoff: retry.Constant(0)}
		err := retry.Run(ctx, p, func(ctx context.Context) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		})
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, context.DeadlineExceeded, e.Reason)
	})
	assert.Equal(t, 1, calls)
	assert.Equal(t, time.Second, took)
}

// T7: an inner loop that spent its attempts on timeouts has had its retries.
func TestInnerExhaustionOverATimeoutIsFinal(t *testing.T) {
	outer, inner := 0, 0
	p := &retry.Policy{AttemptTimeout: time.Minute, Backoff: retry.Constant(0)}
	err := retry.Run(t.Context(), p, func(ctx context.Context) error {
		outer++
		return retry.Run(ctx, p, always(&inner, context.DeadlineExceeded))
	})
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 1, outer)
	assert.Equal(t, 3, inner)
}

// T7: without AttemptTimeout a timeout is an error like others: the predicate
// decides.
func TestTimeoutWithoutAttemptTimeoutIsThePredicatesMatter(t *testing.T) {
	calls := 0
	p := &retry.Policy{Backoff: retry.Constant(0), Retryable: func(error) bool { return false }}
	err := retry.Run(t.Context(), p, always(&calls, context.DeadlineExceeded))
	assert.Same(t, context.DeadlineExceeded, err)
	assert.Equal(t, 1, calls)
}

// T7: once the caller has left, a timeout is no reason to overrule the
// predicate.
func TestAttemptTimeoutAfterTheCallerLeftIsThePredicatesMatter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &retry.Policy{AttemptTimeout: time.Minute, Retryable: func(error) bool { return false }}
	err := retry.Run(ctx, p, func(context.Context) error {
		cancel()
		return context.DeadlineExceeded
	})
	assert.Same(t, context.DeadlineExceeded, err)
}

func TestAttemptContextEndsWithItsAttempt(t *testing.T) {
	var seen []context.Context
	p := &retry.Policy{AttemptTimeout: time.Minute, Backoff: retry.Constant(0)}
	_, err := retry.Do(t.Context(), p, func(ctx context.Context) (int, error) {
		for _, earlier := range seen {
			assert.ErrorIs(t, earlier.Err(), context.Canceled)
		}
		assert.NoError(t, ctx.Err())
		seen = append(seen, ctx)
		if len(seen) < 3 {
			return 0, errDown
		}
		return 1, nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, len(seen))
	assert.ErrorIs(t, seen[2].Err(), context.Canceled)
}
