package breaker_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
)

// T27: a breaker is idle when a new one would behave the same, and from the
// very instant on.
func TestIdle(t *testing.T) {
	cases := map[string]struct {
		bring func(t *testing.T, b *breaker.Breaker)
		after time.Duration // from then on
	}{
		"new":     {func(*testing.T, *breaker.Breaker) {}, 0},
		"success": {func(t *testing.T, b *breaker.Breaker) { calls(t, b, 1, nil) }, 0},
		"failure": {func(t *testing.T, b *breaker.Breaker) { calls(t, b, 1, errDown) }, time.Minute},
		"slow call": {func(t *testing.T, b *breaker.Breaker) {
			p := allow(t, b)
			time.Sleep(time.Second)
			p.Done(nil)
		}, time.Minute},
		"open": {func(_ *testing.T, b *breaker.Breaker) { b.Trip(time.Hour, nil) }, time.Hour + time.Minute},
		"probing": {func(t *testing.T, b *breaker.Breaker) {
			half(t, b)
			allow(t, b)
		}, time.Minute + 30*time.Second},
		"probe given back": {func(t *testing.T, b *breaker.Breaker) {
			half(t, b)
			time.Sleep(10 * time.Second)
			allow(t, b).Cancel()
		}, time.Minute + 30*time.Second},
		"recovered": {func(t *testing.T, b *breaker.Breaker) {
			half(t, b)
			calls(t, b, 1, nil)
		}, time.Minute},
		"reset": {func(_ *testing.T, b *breaker.Breaker) {
			b.Trip(time.Hour, nil)
			b.Reset()
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				b := breaker.New(breaker.Config{SlowAfter: time.Second, MaxOpenFor: time.Minute, ProbeTimeout: 30 * time.Second})
				c.bring(t, b)
				if c.after > 0 {
					time.Sleep(c.after - 1)
					assert.False(t, b.Idle())
					time.Sleep(time.Nanosecond)
				}
				assert.True(t, b.Idle())
			})
		})
	}
}

func TestHeldBreakerIsNotIdle(t *testing.T) {
	for _, s := range []breaker.State{breaker.Closed, breaker.Open} {
		in(t, func(t *testing.T) {
			b := breaker.New(breaker.Config{})
			release := b.Hold(s)
			time.Sleep(1000 * time.Hour)
			assert.False(t, b.Idle())
			release()
			assert.True(t, b.Idle())
		})
	}
}
