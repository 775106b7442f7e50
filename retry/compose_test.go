package retry_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

// The orders of the composition table in the README, outermost first.

var quick = &retry.Policy{Backoff: retry.Constant(0)}

// T24: retry(breaker(op)). The breaker sees each attempt; open, it ends the call
// with its own rejection, without a wait, a token or a call.
func TestRetryAroundBreaker(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 3, OpenFor: 5 * time.Second})
	budget := &ledger{left: 9}
	p := &retry.Policy{Backoff: retry.Constant(0), Budget: budget}
	calls := 0
	op := func(ctx context.Context) error { return breaker.Run(ctx, b, always(&calls, errDown)) }

	assert.ErrorIs(t, retry.Run(t.Context(), p, op), retry.ErrExhausted)
	assert.Equal(t, 3, calls)
	assert.Equal(t, breaker.Open, b.State())

	budget.lines = nil
	err := retry.Run(t.Context(), p, op)
	rejection, ok := errors.AsType[*breaker.RejectedError](err)
	require.True(t, ok)
	assert.Same(t, error(rejection), err)
	assert.True(t, rejection.RetryAfter() > 0)
	assert.Equal(t, 3, calls)
	assert.Equal(t, 0, len(budget.lines))
}

// T24: with the opt-in predicate the call waits for the breaker and is then its
// probe.
func TestRetryThatWaitsForTheBreaker(t *testing.T) {
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{OpenFor: 5 * time.Second})
		b.Trip(5*time.Second, errDown)
		p := &retry.Policy{Retryable: func(err error) bool {
			return errors.Is(err, breaker.ErrRejected) || retry.DefaultRetryable(err)
		}}
		err := retry.Run(t.Context(), p, func(ctx context.Context) error {
			return breaker.Run(ctx, b, always(&calls, nil))
		})
		assert.NoError(t, err)
		assert.Equal(t, breaker.Closed, b.State())
	})
	assert.Equal(t, 1, calls)
	assert.True(t, took >= 5*time.Second && took <= 5500*time.Millisecond, "%v", took)
}

// breaker(retry(op)). One verdict per call, so it opens late; open, there is no
// attempt.
func TestBreakerAroundRetry(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 3})
	calls := 0
	op := func(ctx context.Context) error { return retry.Run(ctx, quick, always(&calls, errDown)) }
	for range 3 {
		assert.ErrorIs(t, breaker.Run(t.Context(), b, op), retry.ErrExhausted)
	}
	assert.Equal(t, 9, calls)
	assert.ErrorIs(t, breaker.Run(t.Context(), b, op), breaker.ErrRejected)
	assert.Equal(t, 9, calls)
}

// retry(timeout(op)) and timeout(retry(op)), both at once: AttemptTimeout bounds
// each attempt, ctx the whole, waits included.
func TestTimeoutsInsideAndOutside(t *testing.T) {
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		p := &retry.Policy{MaxAttempts: -1, AttemptTimeout: time.Second, Backoff: retry.Constant(500 * time.Millisecond)}
		err := retry.Run(ctx, p, func(ctx context.Context) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	assert.Equal(t, 2, calls)
	assert.Equal(t, 2500*time.Millisecond, took, "the third wait would end with the deadline")
}

// retry(limit(op)) holds no place during the wait; limit(retry(op)) holds one
// asleep.
func TestLimitInsideAndOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(time.Second)}
		for _, inside := range []bool{true, false} {
			gate := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
			calls := 0
			op := always(&calls, errDown)
			done := make(chan error)
			go func() {
				if inside {
					done <- retry.Run(t.Context(), p, func(ctx context.Context) error { return breaker.Run(ctx, gate, op) })
				} else {
					done <- breaker.Run(t.Context(), gate, func(ctx context.Context) error { return retry.Run(ctx, p, op) })
				}
			}()
			synctest.Wait() // it sleeps between its attempts
			inFlight := map[bool]int{true: 0, false: 1}[inside]
			assert.Equal(t, inFlight, gate.Stats().InFlight)
			assert.ErrorIs(t, <-done, retry.ErrExhausted)
		}
	})
}

// fallback(retry(op)) gives the fallback after the last attempt; the other way
// round there is nothing left to retry.
func TestFallbackInsideAndOutside(t *testing.T) {
	calls := 0
	op := always(&calls, errDown)
	fallback := func(error) error { return nil }

	err := retry.Run(t.Context(), quick, op)
	if err != nil {
		err = fallback(err)
	}
	assert.NoError(t, err)
	assert.Equal(t, 3, calls)

	calls = 0
	assert.NoError(t, retry.Run(t.Context(), quick, func(ctx context.Context) error { return fallback(op(ctx)) }))
	assert.Equal(t, 1, calls)
}

// retry(hedge(op)) makes up to MaxAttempts·(1+Max) calls, and a shared budget
// counts each extra one once; hedge(retry(op)) makes whole loops twice.
func TestHedgeInsideAndOutside(t *testing.T) {
	budget := &ledger{left: 99}
	calls := make(chan struct{}, 99)
	op := func(context.Context) error {
		calls <- struct{}{}
		return errDown
	}
	p := &retry.Policy{Backoff: retry.Constant(0), Budget: budget}
	hedged := &hedge.Policy{Budget: budget, Nested: true}
	err := retry.Run(t.Context(), p, func(ctx context.Context) error { return hedge.Run(ctx, hedged, op) })
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 6, len(calls))
	assert.Equal(t, 99-5, budget.left)

	both := 0
	inBubble(t, func(t *testing.T) {
		var mu sync.Mutex
		err = hedge.Run(t.Context(), &hedge.Policy{Delay: -1}, func(ctx context.Context) error {
			return retry.Run(ctx, quick, func(context.Context) error {
				mu.Lock()
				both++
				mu.Unlock()
				time.Sleep(time.Second)
				return errDown
			})
		})
	})
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 6, both)
}

// hedge(breaker(op)): the cancellation of the beaten one is no failure.
func TestHedgeAroundBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1})
		for range 10 {
			err := hedge.Run(t.Context(), nil, func(ctx context.Context) error {
				return breaker.Run(ctx, b, func(ctx context.Context) error {
					if hedge.Index(ctx) == 1 {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})
			})
			assert.NoError(t, err)
		}
		assert.Equal(t, breaker.Closed, b.State())
		assert.Equal(t, uint64(10), b.Stats().Ignored)
	})
}

// hedge(limit(op)): a replica without a free place is passed over, if
// Retryable accepts its rejection.
func TestHedgeAroundLimit(t *testing.T) {
	full := limit.NewConcurrency(limit.ConcurrencyConfig{})
	free := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1})
	p := &hedge.Policy{Retryable: func(err error) bool {
		return errors.Is(err, breaker.ErrRejected) || retry.DefaultRetryable(err)
	}}
	winner, err := hedge.Do(t.Context(), p, func(ctx context.Context) (int, error) {
		gate := []breaker.Gate{full, free}[hedge.Index(ctx)]
		return breaker.Do(ctx, gate, func(ctx context.Context) (int, error) { return hedge.Index(ctx), nil })
	}, nil)
	assert.NoError(t, err)
	assert.Equal(t, 1, winner)
}
