package hedge_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

func BenchmarkPrimaryWins(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	for name, p := range map[string]*hedge.Policy{
		"delay":   {Delay: time.Second},
		"latency": {Delay: time.Second, Latency: hedge.NewLatency(.95), Budget: retry.NewBudget(retry.BudgetConfig{})},
		"none":    {Max: -1},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = hedge.Do(ctx, p, func(context.Context) (int, error) { return 1, nil }, nil)
			}
		})
	}
}

func BenchmarkExtraWins(b *testing.B) {
	b.ReportAllocs()
	p := &hedge.Policy{Delay: -1}
	for b.Loop() {
		_, _ = hedge.Do(b.Context(), p, func(ctx context.Context) (int, error) {
			if hedge.Index(ctx) == 0 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 1, nil
		}, nil)
	}
}

func BenchmarkLatencyObserve(b *testing.B) {
	b.ReportAllocs()
	l := hedge.NewLatency(.95)
	b.RunParallel(func(pb *testing.PB) {
		for d := time.Millisecond; pb.Next(); d += time.Microsecond {
			l.Observe(d)
		}
	})
}
