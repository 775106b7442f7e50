package hedge

import (
	"context"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/internal/index"
)

// Policy says when to make extra attempts. The zero value and nil are ready to
// use. Share it freely, and do not change it while it is in use.
type Policy struct {
	// Max is the number of extra attempts. Zero means 1; negative means none.
	Max int

	// Delay passes before each extra attempt. Zero means 100 ms; negative starts
	// all at once.
	Delay time.Duration

	// Latency overrides Delay once it has seen enough. Zero means Delay alone.
	Latency *Latency

	// Budget is asked before each extra attempt. Zero means unlimited.
	Budget retry.Budget

	// Nested says that a retry loop around this call shares Budget and reports
	// successes and failures to it: here it is only withdrawn from.
	Nested bool

	// Retryable judges a failure. True: replace the failed attempt at once;
	// false: end the call. Zero means retry.DefaultRetryable.
	Retryable func(error) bool

	// OnEvent is called on the caller's goroutine before Do returns, once per
	// call that wanted an extra attempt, with no lock held. Zero means none.
	OnEvent func(context.Context, Event)
}

// Event tells how a call went that wanted an extra attempt.
type Event struct {
	Attempts int   // started in all
	Winner   int   // Index of the one that Do returns, -1 when none succeeded
	Denied   bool  // the Budget refused an extra attempt
	Err      error // what Do returns
}

const (
	defaultMax   = 1
	defaultDelay = 100 * time.Millisecond
)

var zeroPolicy Policy

// Do calls fn on the caller's goroutine and, when that takes longer than the
// delay, again beside it. The first success wins; the rest is cancelled and
// waited for, so fn must obey its ctx and bear running several times at once.
//
// Every success that Do does not return goes to discard exactly once, before Do
// returns; it is for results that hold something, such as a body to close. A
// nil discard drops them. All attempt contexts have ended when Do returns: a
// result that lives on must not depend on them.
//
// If ctx has ended already, fn is not called. If it ends while the attempts
// fail, the error is a [*retry.Error] that matches its cause and the first
// attempt's failure. A panic on another goroutine than the caller's is thrown
// again on the caller's as a [*PanicError].
func Do[T any](ctx context.Context, p *Policy, fn func(context.Context) (T, error), discard func(T)) (T, error) {
	if p == nil {
		p = &zeroPolicy
	}
	if ctx.Err() != nil {
		var none T
		return none, &retry.Error{Reason: context.Cause(ctx)}
	}
	r := newRace(ctx, p, fn, discard)
	defer r.end()
	r.begin()
	v, err := r.call(0)
	r.run(0, v, err)
	return r.finish()
}

// Run is Do without a value.
func Run(ctx context.Context, p *Policy, fn func(context.Context) error) error {
	_, err := Do(ctx, p, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, fn(ctx)
	}, nil)
	return err
}

// Index is the number of the attempt whose context ctx is, or comes from: 0 in
// the primary, 1, 2, ... in extra attempts, and 0 outside of Do. Use it to pick
// another replica.
func Index(ctx context.Context) int {
	return index.Of(ctx)
}

func (p *Policy) max() int {
	if p.Max == 0 {
		return defaultMax
	}
	return max(p.Max, 0)
}

func (p *Policy) delay() time.Duration {
	if p.Latency != nil {
		if d, ok := p.Latency.Delay(); ok {
			return d
		}
	}
	if p.Delay == 0 {
		return defaultDelay
	}
	return p.Delay
}

func (p *Policy) retryable(err error) bool {
	if p.Retryable != nil {
		return p.Retryable(err)
	}
	return retry.DefaultRetryable(err)
}

func (p *Policy) withdraw(n int, err error) bool {
	return p.Budget == nil || p.Budget.Withdraw(n, err)
}

func (p *Policy) refund(n int, err error) {
	if p.Budget != nil {
		p.Budget.Refund(n, err)
	}
}

func (p *Policy) succeeded(index int) {
	if p.Budget != nil && !p.Nested {
		p.Budget.Success(index + 1)
	}
}

func (p *Policy) failed(index int, err error) {
	if p.Budget != nil && !p.Nested {
		p.Budget.Failure(index+1, err)
	}
}

// pushback reports whether err says when to come back. An *retry.Error knows
// how to look for it in a tree.
func pushback(err error) bool {
	return (&retry.Error{Err: err}).RetryAfter() > 0
}
