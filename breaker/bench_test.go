package breaker_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

func good(context.Context) (int, error) { return 1, nil }
func bad(context.Context) (int, error)  { return 0, errDown }

// parallel runs Do on all processors; one of each nth call fails, or none.
func parallel(b *testing.B, g breaker.Gate, nth int) {
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 1; pb.Next(); i++ {
			if nth > 0 && i%nth == 0 {
				_, _ = breaker.Do(ctx, g, bad)
			} else {
				_, _ = breaker.Do(ctx, g, good)
			}
		}
	})
}

func BenchmarkDo(b *testing.B) {
	cases := []struct {
		name   string
		config breaker.Config
		nth    int
	}{
		{"time", breaker.Config{}, 0},
		{"time_10ms", breaker.Config{Window: 10 * time.Millisecond}, 0},
		{"time_1_percent_failed", breaker.Config{}, 100},
		{"time_10_percent_failed", breaker.Config{}, 10},
		{"time_slow_calls", breaker.Config{SlowAfter: time.Second}, 0},
		{"last_100", breaker.Config{LastCalls: 100}, 0},
		{"last_100_10_percent_failed", breaker.Config{LastCalls: 100}, 10},
		{"consecutive", breaker.Config{FailureRate: -1, Consecutive: 5}, 0},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) { parallel(b, breaker.New(c.config), c.nth) })
	}
	b.Run("open", func(b *testing.B) {
		br := breaker.New(breaker.Config{})
		br.Trip(time.Hour, nil)
		parallel(b, br, 0)
	})
}

func BenchmarkAllow(b *testing.B) {
	br := breaker.New(breaker.Config{})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		p, _ := br.Allow(ctx)
		p.Done(nil)
	}
}

func BenchmarkDoTimeout(b *testing.B) {
	br := breaker.New(breaker.Config{Timeout: time.Minute})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = breaker.Do(ctx, br, good)
	}
}
