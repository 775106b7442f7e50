package retry

import (
	"context"
	"time"
)

// Policy says when to try again. The zero value and nil are ready to use. A
// Policy holds no state: share one among all goroutines, copy it to vary it,
// and do not change it while it is in use.
type Policy struct {
	// MaxAttempts is the number of calls, the first included. Zero means 3;
	// negative means no limit.
	MaxAttempts int

	// MaxElapsed bounds the start of attempts: none starts later than this
	// after Do began. An attempt that runs is not cut short. Zero or less means
	// no limit.
	MaxElapsed time.Duration

	// AttemptTimeout limits each attempt, within the caller's deadline. An
	// attempt that hits it while the caller's ctx lives is retried. Zero or
	// less means none.
	AttemptTimeout time.Duration

	// Backoff gives the waits. Zero means FullJitter(100ms, 10s).
	Backoff Backoff

	// MaxRetryAfter is the longest delay a server may ask for; more ends the
	// call, since coming back earlier would be abuse. Zero means 1 minute;
	// negative means no limit.
	MaxRetryAfter time.Duration

	// Retryable is asked about errors that bear no mark of this package. Zero
	// means DefaultRetryable.
	Retryable func(error) bool

	// Budget bounds the retries of everything that shares it; give each backend
	// one. Zero means unlimited retries.
	Budget Budget

	// OnEvent is told of every wait and of the end, on the caller's goroutine,
	// with its ctx and no lock held. Zero means none.
	OnEvent func(context.Context, Event)
}

// Event is one step of a call. A call that succeeds at once emits none; any
// other emits one per wait and then exactly one with Last set.
type Event struct {
	N     int           // attempts made so far
	Err   error         // of this attempt; with Last: what the call returns, nil after a recovery
	Delay time.Duration // the wait that follows; with Last: 0
	Last  bool          // no attempt follows
}

// zeroPolicy stands in for nil.
var zeroPolicy Policy

// Do calls fn until it succeeds, fails for good, or p gives up. It returns the
// last call's value with nil, with fn's own error untouched (a retry cannot
// help), or with an [*Error] (it could, but retrying stopped).
//
// fn runs on the caller's goroutine and gets ctx itself, or under
// AttemptTimeout a child that is cancelled when fn returns, so the value must
// not depend on it. If ctx has ended already, fn is not called. A success
// counts even if ctx ended meanwhile. A panic in fn passes through.
//
// A success at once costs about 6 ns and no allocation.
func Do[T any](ctx context.Context, p *Policy, fn func(context.Context) (T, error)) (T, error) {
	if p == nil {
		p = &zeroPolicy
	}
	if p.AttemptTimeout > 0 || p.MaxElapsed > 0 || ctx.Err() != nil {
		var none T
		return repeat(ctx, p, fn, 0, none, nil)
	}
	v, err := fn(ctx)
	if err != nil {
		return repeat(ctx, p, fn, 1, v, err)
	}
	if p.Budget != nil {
		p.Budget.Success(1)
	}
	return v, nil
}

// Run is Do without a value.
func Run(ctx context.Context, p *Policy, fn func(context.Context) error) error {
	if p == nil {
		p = &zeroPolicy
	}
	if p.AttemptTimeout > 0 || p.MaxElapsed > 0 || ctx.Err() != nil {
		return repeatRun(ctx, p, fn, 0, nil)
	}
	if err := fn(ctx); err != nil {
		return repeatRun(ctx, p, fn, 1, err)
	}
	if p.Budget != nil {
		p.Budget.Success(1)
	}
	return nil
}

// repeat is the rest of Do after the given number of attempts, the last of
// which returned v and err. It stands apart so that Do itself is short: the
// success path then has no loop state to set up.
//
//go:noinline
func repeat[T any](ctx context.Context, p *Policy, fn func(context.Context) (T, error), made int, v T, err error) (T, error) {
	l := loop{policy: p, n: made}
	for l.next(ctx, &err) {
		if p.AttemptTimeout > 0 {
			v, err = limited(ctx, p.AttemptTimeout, fn)
		} else {
			v, err = fn(ctx)
		}
	}
	return v, err
}

//go:noinline
func repeatRun(ctx context.Context, p *Policy, fn func(context.Context) error, made int, err error) error {
	_, err = repeat(ctx, p, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, fn(ctx)
	}, made, struct{}{}, err)
	return err
}

// limited is one attempt under AttemptTimeout. The deferred cancel also runs
// when fn panics or ends its goroutine.
func limited[T any](ctx context.Context, d time.Duration, fn func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return fn(ctx)
}
