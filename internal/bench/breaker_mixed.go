package main

import (
	"context"
	"testing"
	"time"

	"github.com/eapache/go-resiliency/breaker"
	"github.com/sony/gobreaker/v2"

	keelsonbreaker "github.com/keelson-go/keelson/breaker"
)

// mixedRows are the rows in which calls fail, are timed, or rotate the window.
func mixedRows() []row {
	type config = keelsonbreaker.Config
	return []row{
		{
			name: "breaker: closed, 1 % fail, 10 s window",
			ours: keelsonMixed(config{}, 100),
			peers: []peer{
				{"gobreaker v2.4.0, 10 s in 1 s buckets", goBreakerMixed(100), 0.5},
				{"go-resiliency v1.7.0, no window", resiliencyMixed(100), 0},
			},
		},
		{
			name: "breaker: closed, 10 % fail, 10 s window",
			ours: keelsonMixed(config{}, 10),
			peers: []peer{
				{"gobreaker v2.4.0, 10 s in 1 s buckets", goBreakerMixed(10), 0.5},
				{"go-resiliency v1.7.0, no window", resiliencyMixed(10), 0},
			},
		},
		{
			name:  "breaker: closed, 10 % fail, last 100 calls",
			ours:  keelsonMixed(config{LastCalls: 100}, 10),
			peers: []peer{{"gobreaker v2.4.0, 10 s in 1 s buckets", goBreakerMixed(10), 0}},
		},
		{
			name: "breaker: closed, success, SlowAfter 1 s",
			ours: keelson(config{SlowAfter: time.Second}, closed),
			peers: []peer{{
				"gobreaker v2.4.0, 10 s in 1 s buckets, no slow calls",
				goBreaker(gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second}, closed), 0.75,
			}},
		},
		{
			name:  "breaker: closed, success, 10 ms window: a rotation per ms",
			ours:  keelson(config{Window: 10 * time.Millisecond}, closed),
			peers: []peer{{"keelson, 10 s window", keelson(config{}, closed), 1.3}},
		},
	}
}

func fails(context.Context) (int, error) { return 0, errDown }

// mixed runs good, and bad instead once in n calls, on all processors.
func mixed(b *testing.B, n int, good, bad func()) {
	b.RunParallel(func(pb *testing.PB) {
		for i := 1; pb.Next(); i++ {
			if i%n == 0 {
				bad()
			} else {
				good()
			}
		}
	})
}

func keelsonMixed(c keelsonbreaker.Config, n int) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := keelsonbreaker.New(c), context.Background()
		mixed(b, n,
			func() { _, _ = keelsonbreaker.Do(ctx, br, one) },
			func() { _, _ = keelsonbreaker.Do(ctx, br, fails) })
		if s := br.State(); s != keelsonbreaker.Closed {
			b.Error(s)
		}
	}
}

func goBreakerMixed(n int) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
			Interval: 10 * time.Second, BucketPeriod: time.Second,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.Requests >= 20 && 2*c.TotalFailures >= c.Requests },
		}), context.Background()
		mixed(b, n,
			func() { _, _ = br.Execute(func() (int, error) { return one(ctx) }) },
			func() { _, _ = br.Execute(func() (int, error) { return fails(ctx) }) })
		if s := br.State(); s != gobreaker.StateClosed {
			b.Error(s)
		}
	}
}

func resiliencyMixed(n int) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := breaker.New(1<<40, 1, time.Hour), context.Background()
		mixed(b, n,
			func() { _ = br.Run(func() error { _, err := one(ctx); return err }) },
			func() { _ = br.Run(func() error { _, err := fails(ctx); return err }) })
	}
}
