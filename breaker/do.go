package breaker

import (
	"context"
	"errors"
	"fmt"
)

// Do asks g for a permit, runs fn on the calling goroutine and gives the
// permit back with the error of fn. If g refuses, fn does not run and Do
// returns the error of g.
//
// Under [Config.Timeout], fn gets a context that ends with the cause
// [ErrTimeout]. It is asked to stop, not left behind: Do returns when fn does.
// If fn fails after its context ended, the error of Do matches both the error
// of fn and the cause of the context.
//
// A panic or runtime.Goexit in fn is a failure of the call. It goes on with
// its own value and stack; nothing is recovered.
//
// Do through a closed [Breaker] costs about 40 ns and does not allocate. A
// time limit costs a context: about 450 ns and at most 5 allocations.
func Do[T any](ctx context.Context, g Gate, fn func(context.Context) (T, error)) (T, error) {
	p, err := g.Allow(ctx)
	if err != nil {
		var zero T
		return zero, err
	}
	if p.Timeout() > 0 {
		return callWithin(ctx, &p, fn)
	}
	return call(ctx, &p, fn)
}

// Run is [Do] for a function without a value.
func Run(ctx context.Context, g Gate, fn func(context.Context) error) error {
	_, err := Do(ctx, g, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, fn(ctx)
	})
	return err
}

// call runs fn under p. It is a function of its own, and stays one, so that a
// refusal does not pay for the defer.
//
//go:noinline
func call[T any](ctx context.Context, p *Permit, fn func(context.Context) (T, error)) (T, error) {
	settled := false // by fn's error, whose own methods may panic before that
	defer func() {
		if !settled {
			p.settle(Failure, errAborted)
		}
	}()
	v, err := fn(ctx)
	if err != nil && ctx.Err() != nil {
		err = withCause(ctx, err)
	}
	p.Done(err)
	settled = true
	return v, err
}

// callWithin is call under the time limit of p, whose context is the one thing
// that has to be allocated.
func callWithin[T any](ctx context.Context, p *Permit, fn func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, p.Timeout(), ErrTimeout)
	defer cancel()
	return call(limited, p, fn)
}

// errAborted is the failure of a call that panicked or ended its goroutine.
var errAborted = errors.New("breaker: the call panicked or ended its goroutine")

// withCause returns err, which fn returned after ctx ended, in a form that
// matches the cause of ctx as well.
func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, cause)
}
