package retry_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/retry"
)

// onOtherGoroutine runs fn to its end, be that a return, a panic or an exit,
// and returns what it panicked with.
func onOtherGoroutine(fn func()) (value any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { value = recover() }()
		fn()
	}()
	<-done
	return value
}

// T12: a panic or Goexit in OnEvent leaves no token behind.
func TestOnEventThatPanicsGivesTheTokenBack(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic("in OnEvent") },
		"Goexit": runtime.Goexit,
	} {
		budget := &ledger{left: 1}
		calls := 0
		p := &retry.Policy{Budget: budget, OnEvent: func(context.Context, retry.Event) { leave() }}
		value := onOtherGoroutine(func() { _ = retry.Run(t.Context(), p, always(&calls, errDown)) })
		if name == "panic" {
			assert.Equal(t, "in OnEvent", value)
		}
		assert.Equal(t, 1, calls)
		assert.Equal(t, []string{
			"failure 1 connection refused", "withdraw 1 connection refused", "refund 1 connection refused",
		}, budget.lines, name)
	}
}

// T15: a panic in fn reaches the caller as it is, a Goexit ends the goroutine;
// the attempt's context ends and the Budget is told nothing.
func TestPanicAndGoexitPassThrough(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic(errDown) },
		"Goexit": runtime.Goexit,
	} {
		for _, limit := range []time.Duration{0, time.Hour} {
			budget := &ledger{left: 5}
			var attempt context.Context
			calls := 0
			p := &retry.Policy{Budget: budget, AttemptTimeout: limit, Backoff: retry.Constant(0)}
			value := onOtherGoroutine(func() {
				_, _ = retry.Do(t.Context(), p, func(ctx context.Context) (int, error) {
					attempt = ctx
					if calls++; calls == 2 {
						leave()
					}
					return 0, errDown
				})
				t.Error("Do returned")
			})
			if name == "panic" {
				assert.Same(t, errDown, value)
			}
			assert.Equal(t, 2, calls)
			assert.Equal(t, limit > 0, attempt.Err() != nil, name)
			assert.Equal(t, []string{"failure 1 connection refused", "withdraw 1 connection refused"}, budget.lines)
			assert.True(t, budget.Withdraw(1, nil), "the budget still grants")
		}
	}
}
