package retry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

// T4: cancelled in OnEvent, before the wait begins.
func TestCancelInOnEventPreventsTheAttempt(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Second} {
		calls := 0
		took := inBubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			p := &retry.Policy{
				Backoff: retry.Constant(wait),
				OnEvent: func(context.Context, retry.Event) { cancel() },
			}
			err := retry.Run(ctx, p, always(&calls, errDown))
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, errDown)
		})
		assert.Equal(t, 1, calls)
		assert.Equal(t, time.Duration(0), took)
	}
}

// T4: when the timer and the cancellation come at the same instant, both are
// ready and select picks either; a hundred tries leave it no luck.
func TestCancelWhenTheTimerFiresPreventsTheAttempt(t *testing.T) {
	for range 100 {
		calls := 0
		inBubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			p := &retry.Policy{
				Backoff: retry.Constant(time.Second),
				OnEvent: func(_ context.Context, e retry.Event) {
					if !e.Last {
						time.AfterFunc(time.Second, cancel)
					}
				},
			}
			err := retry.Run(&lateContext{Context: ctx, wake: time.Second}, p, always(&calls, errDown))
			assert.ErrorIs(t, err, context.Canceled)
		})
		require.Equal(t, 1, calls)
	}
}

// lateContext delays the caller of Done by a wait, so that its select finds
// both the timer and the cancellation ready.
type lateContext struct {
	context.Context
	wake time.Duration
}

func (c *lateContext) Done() <-chan struct{} {
	time.Sleep(c.wake + 1)
	return c.Context.Done()
}

// T5: nothing is called and no Budget is asked when ctx has ended before.
func TestEndedContextMeansNoCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	budget := &ledger{left: 9}
	var log events
	for _, p := range []*retry.Policy{
		{Budget: budget, OnEvent: log.add},
		{Budget: budget, OnEvent: log.add, AttemptTimeout: time.Second, MaxElapsed: time.Second},
	} {
		calls := 0
		err := retry.Run(ctx, p, always(&calls, errDown))
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Reason: context.Canceled}, *e)
		assert.Equal(t, "retry: context canceled after 0 attempts", e.Error())
		assert.Equal(t, 0, calls)
		assert.Equal(t, retry.Event{Err: err, Last: true}, log[len(log)-1])
	}
	assert.Equal(t, 2, len(log))
	assert.Equal(t, 0, len(budget.lines))
}

// T6: the error matches the cause of the cancellation and the failure.
func TestCancelCauseIsTheReason(t *testing.T) {
	shutdown := errors.New("shutting down")
	for _, fail := range []error{errDown, context.Canceled, retry.After(time.Second, errDown)} {
		ctx, cancel := context.WithCancelCause(t.Context())
		budget := &ledger{left: 9}
		err := retry.Run(ctx, &retry.Policy{Budget: budget}, func(context.Context) error {
			cancel(shutdown)
			return fail
		})
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: fail, Reason: shutdown, Attempts: 1}, *e)
		assert.ErrorIs(t, err, shutdown)
		assert.ErrorIs(t, err, fail)
		assert.Equal(t, 0, len(budget.lines), "the failure of a cancelled call says nothing about the backend")
	}
}

// What fn knows to be final goes before the cancellation.
func TestFinalFailureGoesBeforeTheCancellation(t *testing.T) {
	for _, fail := range []error{
		retry.Permanent(errDown),
		retry.Permanent(context.Canceled),
		&retry.Error{Err: errDown, Reason: retry.ErrExhausted},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		err := retry.Run(ctx, nil, func(context.Context) error {
			cancel()
			return fail
		})
		assert.Same(t, fail, err)
	}
}

// context.Canceled from elsewhere is final, and passes untouched.
func TestForeignCancellationIsFinal(t *testing.T) {
	calls := 0
	err := retry.Run(t.Context(), nil, always(&calls, context.Canceled))
	assert.Same(t, context.Canceled, err)
	assert.Equal(t, 1, calls)
}

// T9: without a wait there is no timer, and still fn's cancellation stops it.
func TestZeroWaitStopsWhenFnCancels(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := retry.Run(ctx, &retry.Policy{MaxAttempts: -1, Backoff: retry.Constant(0)}, func(context.Context) error {
		if calls++; calls == 5 {
			cancel()
		}
		return errDown
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 5, calls)
}

// T9: nor is there an attempt if the predicate or the Budget ended ctx.
func TestZeroWaitStopsWhenThePolicyCancels(t *testing.T) {
	for name, p := range map[string]func(cancel func()) *retry.Policy{
		"predicate": func(cancel func()) *retry.Policy {
			return &retry.Policy{Retryable: func(error) bool { cancel(); return true }}
		},
		"Budget": func(cancel func()) *retry.Policy { return &retry.Policy{Budget: &canceling{cancel: cancel}} },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		policy := p(cancel)
		policy.Backoff = retry.Constant(0)
		calls := 0
		assert.ErrorIs(t, retry.Run(ctx, policy, always(&calls, errDown)), context.Canceled, name)
		assert.Equal(t, 1, calls, name)
		if b, ok := policy.Budget.(*canceling); ok {
			assert.Equal(t, "refund 1 connection refused", b.lines[len(b.lines)-1])
		}
	}
}

// canceling is a Budget that ends ctx when it is asked.
type canceling struct {
	ledger
	cancel func()
}

func (c *canceling) Withdraw(n int, err error) bool {
	c.cancel()
	c.note("withdraw %d %v", n, err)
	return true
}

// T10: a token whose retry was cancelled in the wait is given back, once.
func TestCancelInTheWaitRefundsOnce(t *testing.T) {
	budget := &ledger{left: 9}
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		p := &retry.Policy{Budget: budget, Backoff: retry.Constant(time.Second)}
		err := retry.Run(ctx, p, always(&calls, errDown))
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: errDown, Reason: context.Canceled, Attempts: 1, Delay: time.Second}, *e)
	})
	assert.Equal(t, 300*time.Millisecond, took)
	assert.Equal(t, []string{
		"failure 1 connection refused", "withdraw 1 connection refused", "refund 1 connection refused",
	}, budget.lines)
}

func TestSuccessCountsThoughContextEnded(t *testing.T) {
	for _, p := range []*retry.Policy{nil, {AttemptTimeout: time.Minute}} {
		ctx, cancel := context.WithCancel(t.Context())
		v, err := retry.Do(ctx, p, func(context.Context) (int, error) {
			cancel()
			return 7, nil
		})
		assert.NoError(t, err)
		assert.Equal(t, 7, v)
	}
}
