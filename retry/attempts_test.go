package retry_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

func TestLoopEndsByItself(t *testing.T) {
	var p *retry.Policy
	var err error
	passes := 0
	for a := range p.Attempts(t.Context(), &err) {
		passes++
		assert.Equal(t, passes, a.N())
		assert.Same(t, t.Context(), a.Context())
	}
	assert.NoError(t, err)
	assert.Equal(t, 1, passes, "a pass that leaves err nil has succeeded")

	passes = 0
	for range p.Attempts(t.Context(), &err) {
		passes++
		err = retry.Permanent(errDown)
	}
	assert.ErrorIs(t, err, errDown)
	assert.Equal(t, 1, passes)

	passes = 0
	for range (&retry.Policy{Backoff: retry.Constant(0)}).Attempts(t.Context(), &err) {
		assert.NoError(t, err, "every pass begins with nil")
		passes++
		err = errDown
	}
	e, ok := errors.AsType[*retry.Error](err)
	require.True(t, ok)
	assert.Equal(t, retry.Error{Err: errDown, Reason: retry.ErrExhausted, Attempts: 3}, *e)
	assert.Equal(t, 3, passes)
}

func TestLoopWithEndedContextHasNoPass(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, limit := range []time.Duration{0, time.Second} {
		var err error
		for range (&retry.Policy{AttemptTimeout: limit}).Attempts(ctx, &err) {
			t.Error("a pass")
		}
		assert.ErrorIs(t, err, context.Canceled)
	}
}

// break and return keep *err: nil is a success, anything else no verdict.
func TestLoopLeftByBreak(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} {
		for _, left := range []error{nil, errDown} {
			budget := &ledger{left: 9}
			var log events
			p := &retry.Policy{Backoff: retry.Constant(0), AttemptTimeout: limit, Budget: budget, OnEvent: log.add}
			var err error
			var last context.Context
			for a := range p.Attempts(t.Context(), &err) {
				last = a.Context()
				if a.N() == 2 {
					err = left
					break
				}
				err = errDown
			}
			assert.Equal(t, left, err)
			assert.Equal(t, events{{N: 1, Err: errDown}, {N: 2, Err: left, Last: true}}, log)
			want := []string{"failure 1 connection refused", "withdraw 1 connection refused"}
			if left == nil {
				want = append(want, "success 2")
			}
			assert.Equal(t, want, budget.lines)
			assert.Equal(t, limit > 0, last.Err() != nil)
		}
	}
}

// T15: the loop form, too, lets panics and exits pass, and ends the context of
// the pass.
func TestLoopBodyThatPanics(t *testing.T) {
	for name, leave := range map[string]func(){"panic": func() { panic(errDown) }, "Goexit": runtime.Goexit} {
		budget := &ledger{}
		var pass context.Context
		p := &retry.Policy{AttemptTimeout: time.Hour, Budget: budget}
		value := onOtherGoroutine(func() {
			var err error
			for a := range p.Attempts(t.Context(), &err) {
				pass = a.Context()
				leave()
			}
		})
		if name == "panic" {
			assert.Same(t, errDown, value)
		}
		assert.Error(t, pass.Err(), name)
		assert.Equal(t, 0, len(budget.lines))
	}
}

func TestLoopPassHitsAttemptTimeout(t *testing.T) {
	passes := 0
	took := inBubble(t, func(t *testing.T) {
		p := &retry.Policy{AttemptTimeout: time.Second, Backoff: retry.Constant(0)}
		var err error
		for a := range p.Attempts(t.Context(), &err) {
			passes++
			<-a.Context().Done()
			err = a.Context().Err()
		}
		assert.ErrorIs(t, err, retry.ErrExhausted)
	})
	assert.Equal(t, 3, passes)
	assert.Equal(t, 3*time.Second, took)
}

// After Progress, attempts, backoff and MaxElapsed start afresh.
func TestProgress(t *testing.T) {
	var log events
	var numbers []int
	p := &retry.Policy{
		MaxAttempts: 2, MaxElapsed: 90 * time.Second,
		Backoff: retry.Exponential(time.Minute, time.Hour), OnEvent: log.add,
	}
	took := inBubble(t, func(t *testing.T) {
		var err error
		passes := 0
		for a := range p.Attempts(t.Context(), &err) {
			numbers = append(numbers, a.N())
			if passes++; passes <= 3 {
				a.Progress()
				assert.Equal(t, 1, a.N())
			}
			err = errDown
		}
		e, ok := errors.AsType[*retry.Error](err)
		require.True(t, ok)
		assert.Equal(t, retry.Error{Err: errDown, Reason: retry.ErrExhausted, Attempts: 2}, *e)
	})
	assert.Equal(t, []int{1, 2, 2, 2}, numbers)
	assert.Equal(t, 3*time.Minute, took, "the wait is the first one each time")
	assert.Equal(t, 4, len(log))
	assert.Equal(t, retry.Event{N: 1, Err: errDown, Delay: time.Minute}, log[2])
}

func TestProgressKeepsTheEventOfRecovery(t *testing.T) {
	var log events
	p := &retry.Policy{Backoff: retry.Constant(0), OnEvent: log.add}
	var err error
	passes := 0
	for a := range p.Attempts(t.Context(), &err) {
		a.Progress()
		if passes++; passes == 1 {
			err = errDown
		}
	}
	assert.NoError(t, err)
	assert.Equal(t, events{{N: 1, Err: errDown}, {N: 1, Last: true}}, log)
}

// The same iterator may be ranged over again, and starts afresh.
func TestLoopStartsAfreshEachTime(t *testing.T) {
	var err error
	seq := (&retry.Policy{Backoff: retry.Constant(0)}).Attempts(t.Context(), &err)
	for range 2 {
		passes := 0
		for range seq {
			passes++
			err = errDown
		}
		assert.Equal(t, 3, passes)
		assert.ErrorIs(t, err, retry.ErrExhausted)
	}
}

//go:noinline
func loopThatFailsTwice(ctx context.Context, p *retry.Policy) (passes int, err error) {
	for a := range p.Attempts(ctx, &err) {
		if passes++; a.N() < 3 {
			err = errDown
		}
	}
	return passes, err
}

func TestInlinedLoopAllocatesNothing(t *testing.T) {
	p := &retry.Policy{Backoff: retry.Constant(0)}
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = loopThatFailsTwice(t.Context(), p) }))
	passes, err := loopThatFailsTwice(t.Context(), p)
	assert.NoError(t, err)
	assert.Equal(t, 3, passes)
}

// return and labels leave a loop as break does, one inside another too: each
// loop left counts its own end, once.
func TestLoopLeftByReturnAndLabel(t *testing.T) {
	outside, inside := &ledger{left: 9}, &ledger{left: 9}
	var log events
	p := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(0), Budget: outside}
	q := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(0), Budget: inside, OnEvent: log.add}
	find := func() (found string, err error) {
	pages:
		for a := range p.Attempts(t.Context(), &err) {
			var inner error
			for b := range q.Attempts(a.Context(), &inner) {
				switch {
				case a.N() == 1 && b.N() == 2:
					inner, err = errDown, errDown
					continue pages
				case a.N() == 2:
					return "it", nil
				}
				inner = errDown
			}
		}
		return "", err
	}
	found, err := find()
	assert.NoError(t, err)
	assert.Equal(t, "it", found)
	assert.Equal(t, []string{"failure 1 connection refused", "withdraw 1 connection refused", "success 2"}, outside.lines)
	assert.Equal(t, []string{"failure 1 connection refused", "withdraw 1 connection refused", "success 1"}, inside.lines)
	assert.Equal(t, events{{N: 1, Err: errDown}, {N: 2, Err: errDown, Last: true}}, log)
}

// The iterator may also be pulled; stop is a break.
func TestLoopThatIsPulled(t *testing.T) {
	var log events
	var err error
	next, stop := iter.Pull((&retry.Policy{Backoff: retry.Constant(0), OnEvent: log.add}).Attempts(t.Context(), &err))
	a, ok := next()
	assert.True(t, ok && a.N() == 1)
	err = errDown
	a, ok = next()
	assert.True(t, ok && a.N() == 2)
	err = errDown
	stop()
	_, ok = next()
	assert.False(t, ok)
	assert.Equal(t, events{{N: 1, Err: errDown}, {N: 2, Err: errDown, Last: true}}, log)
}
