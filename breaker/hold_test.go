package breaker_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T25: a hold outlasts Trip, Reset, failures and time.
func TestHoldOutlastsEverything(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Consecutive: 1})
		release := b.Hold(breaker.Closed)
		calls(t, b, 100, errDown)
		b.Trip(time.Hour, nil)
		assert.Equal(t, breaker.Closed, b.State())
		assert.True(t, b.Stats().Held)
		assert.Equal(t, uint64(100), b.Stats().Failures, "it still measures")
		release()
		assert.Equal(t, uint64(0), b.Stats().Calls, "the window is empty")

		release = b.Hold(breaker.Open)
		b.Reset()
		time.Sleep(365 * 24 * time.Hour)
		refused(t, b, "held")
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, time.Duration(0), b.RetryAfter())
		assert.False(t, b.Idle())
		release()
		assert.Equal(t, breaker.Closed, b.State())
		assert.False(t, b.Stats().Held)
		calls(t, b, 1, errDown)
		assert.Equal(t, breaker.Open, b.State())
	})
}

// T25: two holds need two releases, and one release called twice is one.
func TestEachHoldNeedsItsRelease(t *testing.T) {
	var j journal
	b := breaker.New(breaker.Config{OnEvent: j.add})
	first, second := b.Hold(breaker.Open), b.Hold(breaker.Open)
	closed := b.Hold(breaker.Closed)
	first()
	first()
	refused(t, b, "held")
	second()
	assert.Equal(t, breaker.Closed, b.State(), "Open beats Closed, not for ever")
	assert.True(t, b.Stats().Held)
	closed()
	assert.False(t, b.Stats().Held)
	assert.Equal(t, []string{"hold", "release", "release"}, j.reasons(), "only what changes what is in force")
	for _, ev := range j.all()[2:] {
		assert.Equal(t, ev.From, ev.To)
	}
}

func TestHoldOfHalfOpenPanics(t *testing.T) {
	b := breaker.New(breaker.Config{})
	assert.Contains(t, assert.Panics(t, func() { b.Hold(breaker.HalfOpen) }).(string), "half-open")
}

// T19: Reset and Hold just before the end of the open time stay.
func TestNothingHappensLateAfterResetAndHold(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{OnEvent: j.add})
		b.Trip(time.Second, nil)
		time.Sleep(time.Second - 1)
		b.Reset()
		time.Sleep(time.Hour)
		calls(t, b, 1, nil)
		assert.Equal(t, breaker.Closed, b.State())
		b.Trip(time.Second, nil)
		time.Sleep(time.Second - 1)
		release := b.Hold(breaker.Open)
		time.Sleep(time.Hour)
		refused(t, b, "held")
		release()
		assert.Equal(t, []string{"trip", "reset", "trip", "hold", "release"}, j.reasons())
	})
}

// T25: a shadow refuses nothing and reports the same events.
func TestShadowRefusesNothingAndReportsTheSame(t *testing.T) {
	in(t, func(t *testing.T) {
		story := func(shadow bool) (reasons []string, s breaker.Stats, refused int) {
			var j journal
			b := breaker.New(breaker.Config{Consecutive: 2, Shadow: shadow, OnEvent: j.add})
			b.SetRandom(func() float64 { return 0 })
			for i := range 60 {
				err := error(nil)
				if i < 30 {
					err = errDown
				}
				if call(b, err) != err { //nolint:errorlint // the very same or a refusal
					refused++
				}
				time.Sleep(time.Second)
			}
			return j.reasons(), b.Stats(), refused
		}
		want, real, refusals := story(false)
		got, shadow, none := story(true)
		require.True(t, len(want) > 4)
		assert.Equal(t, want, got)
		assert.Equal(t, real, shadow)
		assert.Equal(t, 0, none)
		assert.Equal(t, uint64(refusals), shadow.Rejected)
	})
}

func TestRampAdmitsMoreAndMore(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Ramp: 10 * time.Second})
		b.SetRandom(func() float64 { return 0.55 })
		calls(t, b, 10, nil) // no ramp at the start
		half(t, b)
		calls(t, b, 1, nil)
		assert.Equal(t, breaker.Closed, b.State())
		r := refused(t, b, "ramp")
		assert.Equal(t, time.Duration(0), r.RetryAfter())
		time.Sleep(5*time.Second - time.Nanosecond)
		refused(t, b, "ramp")
		time.Sleep(2 * time.Nanosecond)
		calls(t, b, 1, nil)
		b.SetRandom(func() float64 { return 1 - 1e-12 })
		time.Sleep(5*time.Second - 2*time.Nanosecond)
		refused(t, b, "ramp")
		time.Sleep(time.Nanosecond)
		calls(t, b, 100, nil)
		assert.Equal(t, uint64(3), b.Stats().Rejected)
	})
}

func TestRampFollowsEveryChangeFromRefusing(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Ramp: time.Second})
		b.SetRandom(func() float64 { return 0.99 })
		b.Trip(time.Hour, nil)
		b.Reset()
		refused(t, b, "ramp")
		b.Hold(breaker.Closed) // admits all
		calls(t, b, 10, nil)

		b = breaker.New(breaker.Config{Ramp: time.Second})
		b.SetRandom(func() float64 { return 0.99 })
		b.Hold(breaker.Open)()
		refused(t, b, "ramp")
		time.Sleep(time.Second)
		b.Hold(breaker.Closed)()
		calls(t, b, 10, nil)
	})
}
