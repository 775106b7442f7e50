package main

import (
	"context"
	"errors"
	"testing"
	"time"

	avast "github.com/avast/retry-go/v5"
	"github.com/cenkalti/backoff/v7"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

func budgetRows() []row {
	return []row{
		{
			name: "retry: success at once, shared full budget",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{Budget: retry.NewBudget(retry.BudgetConfig{})}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := retry.Do(ctx, policy, one); err != nil {
							b.Error(err)
						}
					}
				})
			},
			peers: []peer{
				{"avast/retry-go v5.1.1, token bucket throttle", avastBudget, 0.4},
				{"no policy: ctx.Err and the call", unguardedCall, 0},
			},
		},
		{
			name: "retry: gives up after 3 attempts, errors.Is",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{Backoff: retry.Constant(0)}
				for b.Loop() {
					if _, err := retry.Do(ctx, policy, failing); !errors.Is(err, errDown) {
						b.Fatal(err)
					}
				}
			},
			peers:  []peer{{"cenkalti/backoff v7.0.3, ZeroBackOff", backoffGivesUp, 0}},
			allocs: 3, // the error, and its Unwrap for errors.Is
		},
		{
			name: "retry: permanent at once",
			ours: func(b *testing.B) {
				ctx := deadline(b)
				for b.Loop() {
					if _, err := retry.Do(ctx, nil, permanent); err == nil {
						b.Fatal("no error")
					}
				}
			},
			peers:  []peer{{"cenkalti/backoff v7.0.3", backoffPermanent, 0}},
			allocs: 1,
		},
		{
			name: "retry: loop form, fails twice, then success, zero delay",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{Backoff: retry.Constant(0)}
				for b.Loop() {
					if err := loopForm(ctx, policy); err != nil {
						b.Fatal(err)
					}
				}
			},
			peers: []peer{{"cenkalti/backoff v7.0.3, ZeroBackOff", backoffThird, 0}},
		},
	}
}

// loopForm stands apart from the benchmark's loop: b.Loop keeps what its body
// uses alive, and so keeps the compiler from inlining a range over a function
// there as it does elsewhere.
//
//go:noinline
func loopForm(ctx context.Context, p *retry.Policy) (err error) {
	for a := range p.Attempts(ctx, &err) {
		_, err = third(a.N())
	}
	return err
}

func failing(context.Context) (int, error)   { return 0, errDown }
func permanent(context.Context) (int, error) { return 0, retry.Permanent(errDown) }

func avastBudget(b *testing.B) {
	r := avast.NewWithData[int](avast.Context(deadline(b)), avast.Attempts(3), avast.WithFixedTokenBucketThrottle(avast.FixedTokenBucketThrottleConfig{}))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Do(op); err != nil {
				b.Error(err)
			}
		}
	})
}

// unguardedCall is the least that any retry could cost: a function which asks ctx
// and calls the one that it was given.
func unguardedCall(b *testing.B) {
	ctx := deadline(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := unguarded(ctx, one); err != nil {
				b.Error(err)
			}
		}
	})
}

//go:noinline
func unguarded(ctx context.Context, fn func(context.Context) (int, error)) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return fn(ctx)
}

func backoffGivesUp(b *testing.B) {
	ctx := deadline(b)
	for b.Loop() {
		_, err := backoff.Retry(ctx, func() (int, error) { return 0, errDown }, backoff.WithMaxTries(3), backoff.WithBackOff(&backoff.ZeroBackOff{}))
		if !errors.Is(err, errDown) {
			b.Fatal(err)
		}
	}
}

func backoffPermanent(b *testing.B) {
	ctx := deadline(b)
	for b.Loop() {
		if _, err := backoff.Retry(ctx, func() (int, error) { return 0, backoff.Permanent(errDown) }); err == nil {
			b.Fatal("no error")
		}
	}
}

func hedgeRows() []row {
	return []row{
		{
			name: "hedge: delay 1 s, the primary wins",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &hedge.Policy{Delay: time.Second}
				for b.Loop() {
					if _, err := hedge.Do(ctx, policy, one, nil); err != nil {
						b.Fatal(err)
					}
				}
			},
			peers:  []peer{{"failsafe-go v0.9.8", failsafeHedge(time.Second), 0.35}},
			allocs: 6,
		},
	}
}

func failsafeHedge(delay time.Duration) func(b *testing.B) {
	return func(b *testing.B) {
		e := failsafe.With[int](hedgepolicy.NewWithDelay[int](delay)).WithContext(deadline(b))
		for b.Loop() {
			if _, err := e.Get(op); err != nil {
				b.Fatal(err)
			}
		}
	}
}
