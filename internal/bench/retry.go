package main

import (
	"context"
	"slices"
	"testing"
	"time"

	avast "github.com/avast/retry-go/v5"
	"github.com/cenkalti/backoff/v7"

	"github.com/keelson-go/keelson/retry"
)

//go:noinline
func op() (int, error) { return 1, nil }

func retryRows() []row {
	return slices.Concat(loopRows(), budgetRows(), hedgeRows(), httpRows())
}

func loopRows() []row {
	return []row{
		{
			name: "retry: Do, success at once",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{MaxAttempts: 3}
				for b.Loop() {
					if _, err := retry.Do(ctx, policy, func(context.Context) (int, error) { return op() }); err != nil {
						b.Fatal(err)
					}
				}
			},
			peers: []peer{{"avast/retry-go v5.1.1, reused", avastSuccess, 1}, {"cenkalti/backoff v7.0.3", backoffSuccess, 0.1}},
		},
		{
			name: "retry: Run, success at once",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{MaxAttempts: 3}
				for b.Loop() {
					if err := retry.Run(ctx, policy, func(context.Context) error { _, err := op(); return err }); err != nil {
						b.Fatal(err)
					}
				}
			},
			peers: []peer{{"avast/retry-go v5.1.1, reused", avastRun, 1}},
		},
		{
			name: "retry: fails twice, then success, zero delay",
			ours: func(b *testing.B) {
				ctx, policy := deadline(b), &retry.Policy{MaxAttempts: 3, Backoff: retry.Constant(0)}
				for b.Loop() {
					n := 0
					if _, err := retry.Do(ctx, policy, func(context.Context) (int, error) { n++; return third(n) }); err != nil {
						b.Fatal(err)
					}
				}
			},
			peers: []peer{{"cenkalti/backoff v7.0.3, ZeroBackOff", backoffThird, 0.05}, {"avast/retry-go v5.1.1, zero delay", avastThird, 0}},
		},
	}
}

// deadline is a context as a server's handler has it.
func deadline(b *testing.B) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	b.Cleanup(cancel)
	return ctx
}

//go:noinline
func third(n int) (int, error) {
	if n < 3 {
		return 0, errDown
	}
	return n, nil
}

func avastSuccess(b *testing.B) {
	r := avast.NewWithData[int](avast.Context(deadline(b)), avast.Attempts(3))
	for b.Loop() {
		if _, err := r.Do(op); err != nil {
			b.Fatal(err)
		}
	}
}

func avastRun(b *testing.B) {
	r := avast.New(avast.Context(deadline(b)), avast.Attempts(3))
	for b.Loop() {
		if err := r.Do(func() error { _, err := op(); return err }); err != nil {
			b.Fatal(err)
		}
	}
}

// avast sets aside every error for its Error; LastErrorOnly is its cheaper way.
func avastThird(b *testing.B) {
	r := avast.NewWithData[int](avast.Context(deadline(b)), avast.Attempts(3), avast.Delay(0), avast.MaxJitter(0), avast.DelayType(avast.FixedDelay), avast.LastErrorOnly(true))
	for b.Loop() {
		n := 0
		if _, err := r.Do(func() (int, error) { n++; return third(n) }); err != nil {
			b.Fatal(err)
		}
	}
}

func backoffSuccess(b *testing.B) {
	ctx := deadline(b)
	for b.Loop() {
		if _, err := backoff.Retry(ctx, op, backoff.WithMaxTries(3)); err != nil {
			b.Fatal(err)
		}
	}
}

func backoffThird(b *testing.B) {
	ctx := deadline(b)
	for b.Loop() {
		n := 0
		if _, err := backoff.Retry(ctx, func() (int, error) { n++; return third(n) }, backoff.WithMaxTries(3), backoff.WithBackOff(&backoff.ZeroBackOff{})); err != nil {
			b.Fatal(err)
		}
	}
}
