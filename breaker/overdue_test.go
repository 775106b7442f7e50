package breaker_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T16: a call is slow that took exactly SlowAfter.
func TestCallIsSlowFromSlowAfterOn(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{SlowAfter: time.Second, MinCalls: 3, SlowRate: 0.5})
		p, q := allow(t, b), allow(t, b)
		time.Sleep(time.Second - 1)
		p.Done(nil)
		assert.Equal(t, uint64(0), b.Stats().Slow)
		time.Sleep(time.Nanosecond)
		q.Done(nil)
		assert.Equal(t, uint64(1), b.Stats().Slow)
		assert.Equal(t, uint64(2), b.Stats().Calls)
		p = allow(t, b)
		time.Sleep(time.Second)
		p.Done(errDown)
		assert.Equal(t, breaker.Open, b.State())
	})
}

func TestSlowFailureCountsAsBoth(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{SlowAfter: time.Second, LastCalls: 10, OnEvent: j.add})
		p := allow(t, b)
		time.Sleep(time.Second)
		p.Done(errDown)
		s := b.Stats()
		assert.Equal(t, []uint64{1, 1, 1}, []uint64{s.Calls, s.Failures, s.Slow})
	})
}

// T23: calls that hang open the breaker before any of them ends, in both
// windows; those of an earlier period do not count.
func TestHangingCallsOpen(t *testing.T) {
	for name, c := range map[string]breaker.Config{"time": {}, "count": {LastCalls: 100}} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				var j journal
				c.SlowAfter, c.MinCalls, c.OnEvent = time.Second, 10, j.add
				b := breaker.New(c)
				time.Sleep(123 * time.Millisecond)
				var hung []*breaker.Permit
				for range 10 {
					hung = append(hung, allow(t, b))
				}
				time.Sleep(1250 * time.Millisecond)
				assert.Equal(t, uint64(10), b.Stats().Overdue)
				refused(t, b, "open")
				require.Equal(t, []string{"slow-rate"}, j.reasons())
				assert.Equal(t, uint64(10), j.all()[0].Stats.Overdue)

				b.Reset()
				time.Sleep(1250 * time.Millisecond)
				calls(t, b, 100, nil)
				assert.Equal(t, uint64(0), b.Stats().Overdue)
				for _, p := range hung {
					p.Done(errDown)
				}
				assert.Equal(t, uint64(10), b.Stats().Stale)
				assert.Equal(t, uint64(0), b.Stats().Failures)
			})
		})
	}
}

// T23: a call that hangs is not taken for a young one when the time at which it
// began comes round again.
func TestHangingCallIsNotTakenForAYoungOne(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{SlowAfter: time.Second, MinCalls: 1000})
		for quarters := range 20 {
			b.Reset()
			allow(t, b)
			time.Sleep(time.Second)
			allow(t, b)
			time.Sleep(time.Second + time.Duration(quarters)*time.Second/4)
			allow(t, b)
			assert.Equal(t, uint64(min(1+quarters, 2)), b.Stats().Overdue, "%d quarters later", quarters)
		}
	})
}

func TestOverdueCallsThatEndLeaveNoTrace(t *testing.T) {
	in(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{SlowAfter: time.Second, MinCalls: 1000})
		for range 50 {
			p, q, r := allow(t, b), allow(t, b), allow(t, b)
			time.Sleep(700 * time.Millisecond)
			q.Cancel()
			time.Sleep(700 * time.Millisecond)
			assert.Equal(t, uint64(2), b.Stats().Overdue)
			p.Done(nil)
			r.Done(breaker.ErrRejected)
			require.Equal(t, uint64(0), b.Stats().Overdue)
		}
	})
}

func TestSlowProbeOpensAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		var j journal
		b := breaker.New(breaker.Config{SlowAfter: time.Second, OnEvent: j.add})
		half(t, b)
		p := allow(t, b)
		time.Sleep(time.Second)
		p.Done(nil)
		assert.Equal(t, breaker.Open, b.State())
		assert.Equal(t, []string{"trip", "timer", "probe-slow"}, j.reasons())
		assert.Equal(t, uint64(1), b.Stats().Succeeded)
	})
}
