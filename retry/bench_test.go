package retry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// Against other packages, the same workloads run in internal/bench.

//go:noinline
func succeed(context.Context) (int, error) { return 1, nil }

// handlerContext is a context as a server's handler has it.
func handlerContext(b *testing.B) context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	b.Cleanup(cancel)
	return ctx
}

func BenchmarkSuccess(b *testing.B) {
	for name, p := range map[string]*retry.Policy{
		"nil":        nil,
		"budget":     {Budget: retry.NewBudget(retry.BudgetConfig{})},
		"MaxElapsed": {MaxElapsed: time.Hour},
		"timeout":    {AttemptTimeout: time.Hour},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := handlerContext(b)
			for b.Loop() {
				_, _ = retry.Do(ctx, p, succeed)
			}
		})
	}
}

// BenchmarkSuccessParallel is to cost the same on one and on all cores.
func BenchmarkSuccessParallel(b *testing.B) {
	b.ReportAllocs()
	ctx, p := handlerContext(b), &retry.Policy{Budget: retry.NewBudget(retry.BudgetConfig{})}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = retry.Do(ctx, p, succeed)
		}
	})
}

func BenchmarkFailures(b *testing.B) {
	wrapped := fmt.Errorf("call: %w", fmt.Errorf("read: %w", errDown))
	for name, err := range map[string]error{"leaf": errDown, "wrapped": wrapped, "after": retry.After(0, errDown)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx, p := handlerContext(b), &retry.Policy{Backoff: retry.Constant(0)}
			for b.Loop() {
				n := 0
				_, _ = retry.Do(ctx, p, func(context.Context) (int, error) {
					if n++; n < 3 {
						return 0, err
					}
					return n, nil
				})
			}
		})
	}
}

func BenchmarkGivingUp(b *testing.B) {
	b.ReportAllocs()
	ctx, p := handlerContext(b), &retry.Policy{Backoff: retry.Constant(0)}
	for b.Loop() {
		_, _ = retry.Do(ctx, p, func(context.Context) (int, error) { return 0, errDown })
	}
}

func BenchmarkLoopForm(b *testing.B) {
	b.ReportAllocs()
	ctx, p := handlerContext(b), &retry.Policy{Backoff: retry.Constant(0)}
	for b.Loop() {
		_, _ = loopThatFailsTwice(ctx, p)
	}
}

func BenchmarkBackoff(b *testing.B) {
	const base, ceiling = 100 * time.Millisecond, 10 * time.Second
	for name, backoff := range map[string]retry.Backoff{
		"Constant":     retry.Constant(base),
		"Steps":        retry.Steps(base, ceiling),
		"Exponential":  retry.Exponential(base, ceiling),
		"FullJitter":   retry.FullJitter(base, ceiling),
		"Decorrelated": retry.Decorrelated(base, ceiling),
		"Jitter":       retry.Exponential(base, ceiling).Jitter(.5),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			prev := time.Duration(0)
			for b.Loop() {
				prev = backoff(4, prev, .5)
			}
		})
	}
}

func BenchmarkBudget(b *testing.B) {
	for name, fill := range map[string]bool{"full": true, "filling": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			budget := retry.NewBudget(retry.BudgetConfig{Ratio: 1e-8, PerSecond: -1})
			if !fill {
				drain(budget)
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					budget.Success(1)
				}
			})
		})
	}
}
