package limit_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// never draws a number that no probability below 1 reaches.
func never() float64 { return 1 - 1e-15 }

// T33: calls that the throttle refuses are requests: the more come, the more
// are refused.
func TestRefusedCallsCountAsRequests(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{MinPerSecond: -1})
		g.SetRandom(never)
		for range 10 {
			allow(t, g).Done(errDown)
		}
		assert.InDelta(t, 10.0/11, g.Stats().Refusing, 1e-9)
		g.SetRandom(func() float64 { return 0 })
		for range 90 {
			refused(t, g, "throttle")
		}
		assert.InDelta(t, 100.0/101, g.Stats().Refusing, 1e-9)
		s := g.Stats()
		assert.Equal(t, []uint64{10, 90}, []uint64{s.Admitted, s.Rejected})
	})
}

func TestThrottleRefusesNothingWhileHalfIsAccepted(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{})
		for range 1000 {
			allow(t, g).Done(nil)
			allow(t, g).Done(errDown)
		}
		assert.Equal(t, 0.0, g.Stats().Refusing)
		assert.Equal(t, uint64(0), g.Stats().Rejected)
	})
}

// T33: one second after the backend is well again a call passes, however many
// were refused before, and what it learns opens the way.
func TestThrottleSeesARecovery(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{Window: 10 * time.Second})
		g.SetRandom(func() float64 { return 0 }) // refuses whenever there is a chance
		p := allow(t, g)
		p.Done(errDown)
		for range 100_000 {
			refused(t, g, "throttle")
		}
		time.Sleep(time.Second - 1)
		refused(t, g, "throttle")
		time.Sleep(time.Nanosecond)
		allow(t, g).Done(nil)
		refused(t, g, "throttle")
		g.SetRandom(rand.New(rand.NewPCG(1, 2)).Float64)
		for range 12_000 { // two minutes at 100/s
			time.Sleep(10 * time.Millisecond)
			if p, err := g.Allow(t.Context()); err == nil {
				p.Done(nil)
			}
		}
		assert.Equal(t, 0.0, g.Stats().Refusing)
	})
}

// T17: canceled and ignored calls are no requests.
func TestThrottleForgetsWhatDidNotRun(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{Window: 40 * time.Second})
		g.SetRandom(never)
		for range 50 {
			p, q := allow(t, g), allow(t, g)
			time.Sleep(time.Second) // into the next bucket
			p.Cancel()
			q.Done(breaker.ErrRejected)
		}
		assert.True(t, g.Idle())
		assert.Equal(t, 0.0, g.Stats().Refusing)

		old := allow(t, g)
		time.Sleep(time.Hour)
		old.Cancel() // has left the window long ago
		assert.True(t, g.Idle())
		allow(t, g).Done(nil)
		assert.False(t, g.Idle())
	})
}

// T33: a call that passed against the odds and did not run leaves its turn to
// the next one.
func TestCanceledPassIsNotSpent(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{})
		g.SetRandom(func() float64 { return 0 })
		time.Sleep(time.Minute)
		allow(t, g).Done(errDown)
		refused(t, g, "throttle")
		time.Sleep(time.Second)
		allow(t, g).Cancel()
		p := allow(t, g)
		refused(t, g, "throttle")
		p.Done(errDown)
	})
}

func TestAcceptedDecides(t *testing.T) {
	in(t, func(t *testing.T) {
		var asked []breaker.Outcome
		g := limit.NewThrottle(limit.ThrottleConfig{Accepted: func(err error, o breaker.Outcome) bool {
			require.Equal(t, err == nil, o == breaker.Success)
			asked = append(asked, o)
			return o == breaker.Failure // the other way round
		}})
		g.SetRandom(never)
		allow(t, g).Done(nil)
		allow(t, g).Done(breaker.ErrRejected)
		allow(t, g).Done(errDown)
		assert.Equal(t, []breaker.Outcome{breaker.Success, breaker.Failure}, asked)
		assert.Equal(t, 0.0, g.Stats().Refusing)
	})
}

func TestThrottleWindowSlides(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewThrottle(limit.ThrottleConfig{Window: 40 * time.Second})
		g.SetRandom(never)
		for range 40 {
			allow(t, g).Done(errDown)
			time.Sleep(time.Second)
		}
		assert.InDelta(t, 39.0/40, g.Stats().Refusing, 1e-9, "the first has just left")
		time.Sleep(38*time.Second - 1)
		assert.False(t, g.Idle())
		time.Sleep(time.Second + 1)
		assert.True(t, g.Idle())
	})
}

func BenchmarkThrottle(b *testing.B) {
	g := limit.NewThrottle(limit.ThrottleConfig{})
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := g.Allow(ctx)
			p.Done(nil)
		}
	})
}
