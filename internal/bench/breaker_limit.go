package main

import (
	"context"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/go-kratos/aegis/circuitbreaker/sre"
	gozero "github.com/zeromicro/go-zero/core/breaker"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

// limitRows are the gates of package limit, through Allow and Done, since
// their peers have no Do.
func limitRows() []row {
	ctx := context.Background()
	return []row{
		{
			name: "limit: Concurrency 1000, free",
			ours: gated(func() breaker.Gate { return limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1000}) }),
			peers: []peer{
				{"x/sync v0.24.0 semaphore", func(b *testing.B) {
					s := semaphore.NewWeighted(1000)
					each(b, func() {
						if s.Acquire(ctx, 1) == nil {
							s.Release(1)
						}
					})
				}, 1.3},
				{"failsafe-go v0.9.8 bulkhead", func(b *testing.B) {
					h := bulkhead.New[int](1000)
					each(b, func() {
						if h.AcquirePermit(ctx) == nil {
							h.ReleasePermit()
						}
					})
				}, 1.1},
			},
		},
		{
			name:  "limit: Rate, granting",
			ours:  gated(func() breaker.Gate { return limit.NewRate(limit.RateConfig{PerSecond: 1e9, Burst: 1e9}) }),
			peers: []peer{{"x/time v0.16.0", allowed(1e9, 1e9), 0.75}},
		},
		{
			name:  "limit: Rate, refusing",
			ours:  gated(func() breaker.Gate { return limit.NewRate(limit.RateConfig{PerSecond: 1e-6}) }),
			peers: []peer{{"x/time v0.16.0", allowed(1e-6, 1), 0.5}},
		},
		{
			name: "limit: Throttle, all well",
			ours: gated(func() breaker.Gate { return limit.NewThrottle(limit.ThrottleConfig{Window: 10 * time.Second}) }),
			peers: []peer{
				{"go-zero v1.10.3", func(b *testing.B) {
					g := gozero.NewBreaker()
					each(b, func() {
						if p, err := g.Allow(); err == nil {
							p.Accept()
						}
					})
				}, 0.25},
				{"aegis v0.2.0", func(b *testing.B) {
					g := sre.NewBreaker()
					each(b, func() {
						if g.Allow() == nil {
							g.MarkSuccess()
						}
					})
				}, 0.25},
			},
		},
	}
}

// each runs f on all processors.
func each(b *testing.B, f func()) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f()
		}
	})
}

func gated(create func() breaker.Gate) func(b *testing.B) {
	return func(b *testing.B) {
		g, ctx := create(), context.Background()
		each(b, func() {
			p, _ := g.Allow(ctx)
			p.Done(nil)
		})
	}
}

func allowed(perSecond float64, burst int) func(b *testing.B) {
	return func(b *testing.B) {
		l := rate.NewLimiter(rate.Limit(perSecond), burst)
		each(b, func() { l.Allow() })
	}
}
