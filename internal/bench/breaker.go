package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/sony/gobreaker/v2"

	"github.com/keelson-go/keelson/breaker"
)

// The workload of every breaker row: a call that does nothing, from as many
// goroutines as there are processors, so that only the breaker costs.
func one(context.Context) (int, error) { return 1, nil }

var errDown = errors.New("down")

func breakerRows() []row {
	return []row{
		{
			name: "breaker: closed, success, 10 s window",
			ours: keelson(breaker.Config{}, closed),
			peers: []peer{
				{"gobreaker v2.4.0, 10 s in 1 s buckets", goBreaker(gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second}, closed), 0.45},
				{"failsafe-go v0.9.8, 10 s, Try + Record", failsafeBreaker(closed), 0.7},
			},
		},
		{
			name:  "breaker: closed, success, last 100 calls",
			ours:  keelson(breaker.Config{LastCalls: 100}, closed),
			peers: []peer{{"gobreaker v2.4.0, default: counts for ever", goBreaker(gobreaker.Settings{}, closed), 0.25}},
		},
		{
			name: "breaker: open, refused",
			ours: keelson(breaker.Config{Consecutive: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour}, open),
			peers: []peer{
				{"gobreaker v2.4.0", goBreaker(gobreaker.Settings{Timeout: time.Hour, ReadyToTrip: func(gobreaker.Counts) bool { return true }}, open), 0.6},
				{"failsafe-go v0.9.8, Try", failsafeBreaker(open), 0},
			},
		},
	}
}

// phase is the state in which a breaker is measured.
type phase bool

const (
	closed phase = false
	open   phase = true
)

func keelson(c breaker.Config, p phase) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := breaker.New(c), context.Background()
		if p == open {
			_ = breaker.Run(ctx, br, func(context.Context) error { return errDown })
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := breaker.Do(ctx, br, one); (err != nil) != bool(p) {
					b.Error(err)
				}
			}
		})
	}
}

func goBreaker(s gobreaker.Settings, p phase) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := gobreaker.NewCircuitBreaker[int](s), context.Background()
		if p == open {
			_, _ = br.Execute(func() (int, error) { return 0, errDown })
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := br.Execute(func() (int, error) { return one(ctx) }); (err != nil) != bool(p) {
					b.Error(err)
				}
			}
		})
	}
}

// failsafe-go's cheapest way: the executor around it costs about ten times as
// much.
func failsafeBreaker(p phase) func(b *testing.B) {
	return func(b *testing.B) {
		br, ctx := circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.5, 20, 10*time.Second).WithDelay(time.Hour).Build(), context.Background()
		if p == open {
			br.Open()
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if br.TryAcquirePermit() == bool(p) {
					b.Error(br.State())
				}
				if p == open {
					continue
				}
				if _, err := one(ctx); err == nil {
					br.RecordSuccess()
				}
			}
		})
	}
}
