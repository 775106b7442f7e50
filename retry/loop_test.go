package retry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

func TestDoReturnsTheLastValueWithItsError(t *testing.T) {
	n := 0
	v, err := retry.Do(t.Context(), &retry.Policy{Backoff: retry.Constant(0)}, func(context.Context) (int, error) {
		n++
		return n, errDown
	})
	assert.Equal(t, 3, v)
	assert.ErrorIs(t, err, retry.ErrExhausted)
}

func TestMaxAttempts(t *testing.T) {
	for _, c := range []struct{ max, want int }{{0, 3}, {1, 1}, {2, 2}, {7, 7}} {
		calls := 0
		err := retry.Run(t.Context(), &retry.Policy{MaxAttempts: c.max, Backoff: retry.Constant(0)}, always(&calls, errDown))
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: errDown, Reason: retry.ErrExhausted, Attempts: c.want}, *e)
		assert.Equal(t, c.want, calls)
	}
}

func TestNilPolicyWaitsLikeTheZeroPolicy(t *testing.T) {
	retry.FixDraw(t, 0.5)
	for _, p := range []*retry.Policy{nil, {}} {
		calls := 0
		took := inBubble(t, func(t *testing.T) {
			assert.ErrorIs(t, retry.Run(t.Context(), p, always(&calls, errDown)), retry.ErrExhausted)
		})
		assert.Equal(t, 3, calls)
		assert.Equal(t, 150*time.Millisecond, took) // half of 100 ms and of 200 ms
	}
}

func TestRefusedErrorIsReturnedUntouched(t *testing.T) {
	calls := 0
	p := &retry.Policy{Retryable: func(err error) bool { return err != errDown }}
	assert.Same(t, errDown, retry.Run(t.Context(), p, always(&calls, errDown)))
	assert.Equal(t, 1, calls)
}

// T8: after the last attempt there is no wait and no Withdraw, but one Failure
// and one Last event.
func TestLastAttempt(t *testing.T) {
	budget := &ledger{left: 9}
	var log events
	var err error
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		p := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(time.Second), Budget: budget, OnEvent: log.add}
		err = retry.Run(t.Context(), p, always(&calls, errDown))
	})
	assert.Equal(t, time.Second, took)
	assert.Equal(t, []string{
		"failure 1 connection refused", "withdraw 1 connection refused", "failure 2 connection refused",
	}, budget.lines)
	assert.Equal(t, events{{N: 1, Err: errDown, Delay: time.Second}, {N: 2, Err: err, Last: true}}, log)
}

func TestEventsOfSuccess(t *testing.T) {
	var log events
	budget := &ledger{left: 9}
	p := &retry.Policy{Backoff: retry.Constant(0), OnEvent: log.add, Budget: budget}
	calls := 0
	timed := *p
	timed.MaxElapsed = time.Hour
	for _, p := range []*retry.Policy{p, &timed} {
		budget.lines = nil
		require.NoError(t, retry.Run(t.Context(), p, always(&calls, nil)))
		assert.Equal(t, 0, len(log), "a success at once emits nothing")
		assert.Equal(t, []string{"success 1"}, budget.lines)
	}

	calls = 0
	require.NoError(t, retry.Run(t.Context(), p, func(context.Context) error {
		if calls++; calls < 3 {
			return errDown
		}
		return nil
	}))
	assert.Equal(t, events{{N: 1, Err: errDown}, {N: 2, Err: errDown}, {N: 3, Last: true}}, log)
	assert.Equal(t, "success 3", budget.lines[len(budget.lines)-1])
}

func TestFinalFailureEmitsOneLastEvent(t *testing.T) {
	var log events
	budget := &ledger{}
	calls := 0
	fail := retry.Permanent(errDown)
	assert.Same(t, fail, retry.Run(t.Context(), &retry.Policy{OnEvent: log.add, Budget: budget}, always(&calls, fail)))
	assert.Equal(t, events{{N: 1, Err: fail, Last: true}}, log)
	assert.Equal(t, 0, len(budget.lines))
}

type contextKey struct{}

func TestOnEventGetsTheCallersContext(t *testing.T) {
	ctx := context.WithValue(t.Context(), contextKey{}, 1)
	p := &retry.Policy{Backoff: retry.Constant(0), OnEvent: func(got context.Context, _ retry.Event) {
		assert.Same(t, ctx, got)
	}}
	calls := 0
	assert.Error(t, retry.Run(ctx, p, always(&calls, errDown)))
}

// T11: a million failures with unlimited attempts keep nothing.
func TestUnlimitedAttemptsAllocateNothing(t *testing.T) {
	p := &retry.Policy{MaxAttempts: -1, Backoff: retry.Constant(0)}
	allocs := testing.AllocsPerRun(1, func() {
		calls := 0
		_ = retry.Run(t.Context(), p, func(context.Context) error {
			if calls++; calls <= 1_000_000 {
				return errDown
			}
			return nil
		})
	})
	assert.Equal(t, 0.0, allocs)
}

// T14: a Policy has no state: each call in a row, and each of many at once, gets
// all its attempts.
func TestPolicyIsReusable(t *testing.T) {
	p := &retry.Policy{MaxAttempts: 4, Backoff: retry.Steps(0, 0, 0)}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range 2 {
				calls := 0
				assert.ErrorIs(t, retry.Run(t.Context(), p, always(&calls, errDown)), retry.ErrExhausted)
				assert.Equal(t, 4, calls)
			}
		})
	}
	wg.Wait()
}

// T26: a refused retry ends the call before the wait, and the failure shows.
func TestBudgetRefusalEndsTheCallBeforeTheWait(t *testing.T) {
	budget := &ledger{}
	calls := 0
	took := inBubble(t, func(t *testing.T) {
		p := &retry.Policy{Budget: budget, Backoff: retry.Constant(time.Second)}
		err := retry.Run(t.Context(), p, always(&calls, errDown))
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: errDown, Reason: retry.ErrBudget, Attempts: 1, Delay: time.Second}, *e)
		assert.ErrorIs(t, err, errDown)
	})
	assert.Equal(t, 1, calls)
	assert.Equal(t, time.Duration(0), took)
	assert.Equal(t, []string{"failure 1 connection refused", "withdraw 1 connection refused"}, budget.lines)
}

// The Budget is asked only for a retry that nothing else prevents.
func TestBudgetIsAskedLast(t *testing.T) {
	for name, p := range map[string]*retry.Policy{
		"elapsed":     {MaxElapsed: time.Second, Backoff: retry.Constant(time.Minute)},
		"deadline":    {Backoff: retry.Constant(2 * time.Hour)},
		"server":      {MaxRetryAfter: time.Second},
		"one attempt": {MaxAttempts: 1},
	} {
		budget := &ledger{left: 9}
		p.Budget = budget
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		calls := 0
		err := retry.Run(ctx, p, always(&calls, retry.After(time.Minute, errDown)))
		cancel()
		assert.Error(t, err)
		assert.Equal(t, []string{"failure 1 connection refused"}, budget.lines, name)
	}
}

func TestWaitsShareOneTimer(t *testing.T) {
	perCall := func(waits int) float64 {
		p := &retry.Policy{MaxAttempts: waits + 1, Backoff: retry.Constant(time.Nanosecond)}
		return testing.AllocsPerRun(100, func() {
			n := 0
			_ = retry.Run(t.Context(), p, func(context.Context) error {
				if n++; n <= waits {
					return errDown
				}
				return nil
			})
		})
	}
	assert.True(t, perCall(1) <= 3, "one wait: %v", perCall(1))
	assert.True(t, perCall(50) <= 3, "fifty waits: %v", perCall(50))
}

func TestAllocationCeilings(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	quick := retry.Constant(0)
	wrapped := fmt.Errorf("call: %w", errDown)
	for _, c := range []struct {
		name     string
		ceiling  float64
		policy   *retry.Policy
		failures int
		err      error
	}{
		{"success", 0, &retry.Policy{}, 0, nil},
		{"success with nil policy", 0, nil, 0, nil},
		{"success under MaxElapsed", 0, &retry.Policy{MaxElapsed: time.Hour}, 0, nil},
		{"two failures", 0, &retry.Policy{Backoff: quick}, 2, wrapped},
		{"giving up", 1, &retry.Policy{Backoff: quick}, 9, wrapped},
		{"refused", 0, &retry.Policy{Backoff: quick, Retryable: func(error) bool { return false }}, 1, wrapped},
		{"attempt timeout", 4, &retry.Policy{AttemptTimeout: time.Hour}, 0, nil},
	} {
		allocs := testing.AllocsPerRun(100, func() {
			n := 0
			_, _ = retry.Do(ctx, c.policy, func(context.Context) (int, error) {
				if n++; n <= c.failures {
					return 0, c.err
				}
				return n, nil
			})
		})
		assert.True(t, allocs <= c.ceiling, "%s: %v allocations, at most %v", c.name, allocs, c.ceiling)
	}
}
