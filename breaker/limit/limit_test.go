package limit_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/internal/gatetest"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var errDown = errors.New("down")

// in runs f in a bubble of virtual time.
func in(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// allow takes a permit that must be granted.
func allow(t *testing.T, g breaker.Gate) *breaker.Permit {
	t.Helper()
	p, err := g.Allow(context.Background())
	require.NoError(t, err)
	return &p
}

// refused requires that g refuses, for the given reason.
func refused(t *testing.T, g breaker.Gate, reason string) *breaker.RejectedError {
	t.Helper()
	_, err := g.Allow(context.Background())
	r, ok := errors.AsType[*breaker.RejectedError](err)
	require.True(t, ok, "refused by %v", err)
	require.Equal(t, reason, r.Reason)
	require.True(t, r.Gate == g, "the gate that refused")
	return r
}

func TestConcurrencyIsAGate(t *testing.T) {
	gatetest.Run(t, func() gatetest.Subject {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 20})
		return gatetest.Subject{
			Gate:  g,
			InUse: func() int { return g.Stats().InFlight },
			Close: func() { g.SetMax(0) },
		}
	})
}

func TestRateIsAGate(t *testing.T) {
	gatetest.Run(t, func() gatetest.Subject {
		g := limit.NewRate(limit.RateConfig{PerSecond: 1e-6, Burst: 10})
		return gatetest.Subject{Gate: g, Close: func() {
			for range 10 {
				allow(t, g)
			}
		}}
	})
}

func TestThrottleIsAGate(t *testing.T) {
	gatetest.Run(t, func() gatetest.Subject {
		g := limit.NewThrottle(limit.ThrottleConfig{MinPerSecond: -1})
		return gatetest.Subject{Gate: g, Close: func() {
			g.SetRandom(func() float64 { return 0.5 })
			for g.Stats().Refusing <= 0.5 {
				allow(t, g).Done(errDown)
			}
		}}
	})
}

func TestBadSettingsPanic(t *testing.T) {
	cases := map[string]func(){
		"ConcurrencyConfig.Max is -1":         func() { limit.NewConcurrency(limit.ConcurrencyConfig{Max: -1}) },
		"ConcurrencyConfig.Queue is -1":       func() { limit.NewConcurrency(limit.ConcurrencyConfig{Queue: -1}) },
		"ConcurrencyConfig.MaxWait is -1ns":   func() { limit.NewConcurrency(limit.ConcurrencyConfig{MaxWait: -1}) },
		"SetMax(n) is -1":                     func() { limit.NewConcurrency(limit.ConcurrencyConfig{}).SetMax(-1) },
		"RateConfig.PerSecond is 0":           func() { limit.NewRate(limit.RateConfig{}) },
		"RateConfig.PerSecond is NaN":         func() { limit.NewRate(limit.RateConfig{PerSecond: math.NaN()}) },
		"RateConfig.PerSecond is +Inf":        func() { limit.NewRate(limit.RateConfig{PerSecond: math.Inf(1)}) },
		"RateConfig.Burst is -1":              func() { limit.NewRate(limit.RateConfig{PerSecond: 1, Burst: -1}) },
		"RateConfig.MaxWait is -1ns":          func() { limit.NewRate(limit.RateConfig{PerSecond: 1, MaxWait: -1}) },
		"ThrottleConfig.K is 0.5":             func() { limit.NewThrottle(limit.ThrottleConfig{K: 0.5}) },
		"ThrottleConfig.K is NaN":             func() { limit.NewThrottle(limit.ThrottleConfig{K: math.NaN()}) },
		"ThrottleConfig.Window is -1ns":       func() { limit.NewThrottle(limit.ThrottleConfig{Window: -1}) },
		"ThrottleConfig.MinPerSecond is NaN":  func() { limit.NewThrottle(limit.ThrottleConfig{MinPerSecond: math.NaN()}) },
		"ThrottleConfig.MinPerSecond is +Inf": func() { limit.NewThrottle(limit.ThrottleConfig{MinPerSecond: math.Inf(1)}) },
	}
	for want, f := range cases {
		text, _ := assert.Panics(t, f).(string)
		assert.True(t, strings.HasPrefix(text, "limit: "+want+"; allowed: "), "%q for %s", text, want)
	}
}

func TestChainInTheOrderOfThePackageComment(t *testing.T) {
	in(t, func(t *testing.T) {
		places := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 2})
		b := breaker.New(breaker.Config{})
		rate := limit.NewRate(limit.RateConfig{PerSecond: 1})
		g := breaker.Chain(places, b, rate)
		b.Trip(time.Second, nil)
		time.Sleep(time.Second)
		probe := allow(t, g)
		_, err := g.Allow(t.Context()) // its place comes back, the token stays
		assert.ErrorIs(t, err, breaker.ErrRejected)
		assert.Equal(t, 1, places.Stats().InFlight)
		probe.Done(nil)
		assert.Equal(t, breaker.Closed, b.State())
		assert.Equal(t, 0, places.Stats().InFlight)
		_, err = g.Allow(t.Context())
		r, ok := errors.AsType[*breaker.RejectedError](err)
		require.True(t, ok)
		assert.Equal(t, "rate", r.Reason)
		assert.Equal(t, time.Second, r.RetryAfter())
		assert.Equal(t, 0, places.Stats().InFlight)
	})
}
