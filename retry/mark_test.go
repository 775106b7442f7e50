package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

// T16: nil stays nil, and typed nils do not panic.
func TestMarksOfNil(t *testing.T) {
	assert.True(t, retry.Permanent(nil) == nil)
	assert.True(t, retry.After(1, nil) == nil)

	var none *retry.Error
	for _, err := range []error{none, fmt.Errorf("call: %w", none), errors.Join(io.EOF, none)} {
		assert.True(t, retry.DefaultRetryable(err), "a typed nil is a plain error")
		assert.NotErrorIs(t, err, context.Canceled)
		calls := 0
		stopped := retry.Run(t.Context(), &retry.Policy{Backoff: retry.Constant(0)}, always(&calls, err))
		assert.Equal(t, 3, calls)
		assert.Contains(t, stopped.Error(), "attempts exhausted")
	}
	assert.Equal(t, time.Duration(0), none.RetryAfter())
}

// T17: marks work through both kinds of wrapping, keep every word of the text,
// and Permanent wins wherever it is.
func TestMarksAreFoundThroughWrapping(t *testing.T) {
	for _, err := range []error{
		retry.Permanent(errDown),
		fmt.Errorf("user 7: %w", retry.Permanent(errDown)),
		errors.Join(io.EOF, fmt.Errorf("deep: %w", retry.Permanent(errDown))),
		retry.After(time.Second, retry.Permanent(errDown)),
		retry.Permanent(retry.After(time.Second, errDown)),
		errors.Join(retry.After(time.Second, io.EOF), retry.Permanent(errDown)),
	} {
		calls := 0
		p := &retry.Policy{Retryable: func(error) bool { return true }}
		assert.Same(t, err, retry.Run(t.Context(), p, always(&calls, err)))
		assert.Equal(t, 1, calls, "%v", err)
		assert.False(t, retry.DefaultRetryable(err), "%v", err)
		assert.ErrorIs(t, err, errDown)
	}
	assert.Equal(t, "user 7: connection refused", fmt.Errorf("user 7: %w", retry.Permanent(errDown)).Error())
	assert.Equal(t, "connection refused", retry.After(time.Second, errDown).Error())
}

func TestAfterOverrulesThePredicate(t *testing.T) {
	calls := 0
	p := &retry.Policy{Backoff: retry.Constant(0), Retryable: func(error) bool { return false }}
	err := retry.Run(t.Context(), p, always(&calls, fmt.Errorf("x: %w", retry.After(-1, context.Canceled))))
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 3, calls)
}

func TestMarksSpeakByBehaviourToo(t *testing.T) {
	opinion, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](retry.Permanent(errDown))
	require.True(t, ok)
	assert.False(t, opinion.Retryable())
	advice, ok := errors.AsType[interface {
		error
		Retryable() bool
		RetryAfter() time.Duration
	}](retry.After(time.Second, errDown))
	require.True(t, ok)
	assert.True(t, advice.Retryable())
	assert.Equal(t, time.Second, advice.RetryAfter())
}

// T18: an *Error is comparable.
func TestErrorIsComparable(t *testing.T) {
	calls := 0
	err := retry.Run(t.Context(), &retry.Policy{MaxAttempts: 1}, always(&calls, errors.Join(io.EOF)))
	again := retry.Run(t.Context(), &retry.Policy{MaxAttempts: 1}, always(&calls, errors.Join(io.EOF)))
	seen := map[error]int{err: 1, again: 2}
	assert.Equal(t, 1, seen[err])
	assert.Equal(t, 2, seen[again])
	assert.True(t, err != again)
}

// T19: what an inner loop gave up, an outer one does not repeat, whatever its
// predicate says; it may be told to, by returning the inner error's Err.
func TestNestedLoopsDoNotMultiply(t *testing.T) {
	quick := retry.Constant(0)
	for _, predicate := range []func(error) bool{nil, func(error) bool { return true }} {
		outer, inner := 0, 0
		p := &retry.Policy{MaxAttempts: 4, Backoff: quick, Retryable: predicate}
		err := retry.Run(t.Context(), p, func(ctx context.Context) error {
			outer++
			err := retry.Run(ctx, &retry.Policy{MaxAttempts: 3, Backoff: quick}, always(&inner, errDown))
			return fmt.Errorf("load page: %w", err)
		})
		assert.Equal(t, "load page: retry: attempts exhausted after 3 attempts: connection refused", err.Error())
		assert.Equal(t, 1, outer)
		assert.Equal(t, 3, inner)
	}

	inner := 0
	err := retry.Run(t.Context(), &retry.Policy{MaxAttempts: 4, Backoff: quick}, func(ctx context.Context) error {
		err := retry.Run(ctx, &retry.Policy{MaxAttempts: 3, Backoff: quick}, always(&inner, errDown))
		if e, ok := errors.AsType[*retry.Error](err); ok {
			return e.Err
		}
		return err
	})
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 12, inner)
}

// opinion is another package's error.
type opinion struct {
	retry bool
	after time.Duration
}

func (o opinion) Error() string             { return "opinion" }
func (o opinion) Retryable() bool           { return o.retry }
func (o opinion) RetryAfter() time.Duration { return o.after }

// shy matches context.Canceled as package net's errors do: by a method.
type shy struct{}

func (shy) Error() string        { return "operation was canceled" }
func (shy) Is(target error) bool { return target == context.Canceled }

func TestDefaultRetryable(t *testing.T) {
	gaveUp := &retry.Error{Err: errDown, Reason: retry.ErrExhausted}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, false},
		{fmt.Errorf("call: %w", context.Canceled), false},
		{errors.Join(io.EOF, context.Canceled), false},
		{&net.OpError{Op: "dial", Err: shy{}}, false},
		{&fs.PathError{Op: "open", Err: fs.ErrNotExist}, true},
		{opinion{retry: false}, false},
		{opinion{retry: true}, true},
		{fmt.Errorf("%w: %w", opinion{retry: true}, context.Canceled), true},
		{fmt.Errorf("%w: %w", opinion{retry: false}, opinion{retry: true}), false},
		{errors.Join(io.EOF, fmt.Errorf("x: %w", opinion{retry: false})), false},
		{retry.After(0, opinion{retry: false}), true},
		{retry.After(0, context.Canceled), true},
		{retry.Permanent(opinion{retry: true}), false},
		{gaveUp, false},
		{fmt.Errorf("%w: %w", retry.After(0, errDown), gaveUp), false},
	} {
		assert.Equal(t, c.want, retry.DefaultRetryable(c.err), "%v", c.err)
	}
}

// A foreign opinion is weighed by DefaultRetryable alone: a predicate may
// overrule it.
func TestPredicateOverrulesForeignOpinion(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		calls := 0
		p := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(0), Retryable: func(error) bool { return wanted }}
		assert.Error(t, retry.Run(t.Context(), p, always(&calls, opinion{retry: !wanted})))
		assert.Equal(t, wanted, calls == 2)
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*retry.Error{
		"retry: attempts exhausted after 3 attempts: EOF":                   {Err: io.EOF, Reason: retry.ErrExhausted, Attempts: 3},
		"retry: budget refused after 1 attempt: EOF":                        {Err: io.EOF, Reason: retry.ErrBudget, Attempts: 1},
		"retry: context canceled after 0 attempts":                          {Reason: context.Canceled},
		"retry: time is up after 2 attempts: retry: budget refused: really": {Err: fmt.Errorf("%w: really", retry.ErrBudget), Reason: retry.ErrElapsed, Attempts: 2},
	} {
		assert.Equal(t, want, e.Error())
		assert.False(t, e.Retryable())
	}
}

func TestErrorRetryAfterIsTheLongestInErr(t *testing.T) {
	e := &retry.Error{
		Err:    errors.Join(opinion{after: time.Second}, retry.After(time.Minute, io.EOF), opinion{after: -1}),
		Reason: retry.ErrExhausted,
	}
	assert.Equal(t, time.Minute, e.RetryAfter())
	assert.Equal(t, time.Duration(0), (&retry.Error{Err: io.EOF, Reason: retry.ErrExhausted}).RetryAfter())
	assert.Equal(t, time.Duration(0), (&retry.Error{Reason: context.Canceled}).RetryAfter())
}
