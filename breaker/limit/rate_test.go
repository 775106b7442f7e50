package limit_test

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestRateAdmitsABurstAndThenAtItsPace(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewRate(limit.RateConfig{PerSecond: 10, Burst: 3})
		for range 3 {
			allow(t, g)
		}
		assert.Equal(t, 100*time.Millisecond, refused(t, g, "rate").RetryAfter())
		time.Sleep(100*time.Millisecond - 1)
		refused(t, g, "rate")
		time.Sleep(time.Nanosecond)
		allow(t, g)
		refused(t, g, "rate")
		time.Sleep(time.Hour)
		assert.True(t, g.Idle())
		assert.Equal(t, 3.0, g.Stats().Tokens)
		for range 3 {
			allow(t, g)
		}
		refused(t, g, "rate")
		assert.False(t, g.Idle())
		s := g.Stats()
		assert.Equal(t, []uint64{7, 4, 0}, []uint64{s.Admitted, s.Rejected, s.Abandoned})
	})
}

// T32: 1e6 grants at 3/s and at 1e6/s are as many as the time
// allows, not one more or less.
func TestRateDoesNotDrift(t *testing.T) {
	for _, perSecond := range []float64{3, 1e6} {
		in(t, func(t *testing.T) {
			const burst, grants, steps = 1000, 1_000_000, 2000
			g := limit.NewRate(limit.RateConfig{PerSecond: perSecond, Burst: burst})
			start, granted := time.Now(), 0
			for range steps {
				for {
					if _, err := g.Allow(t.Context()); err != nil {
						break
					}
					granted++
				}
				time.Sleep(time.Duration(grants / steps / perSecond * 1e9))
			}
			passed := time.Since(start).Seconds() / steps * (steps - 1) // nothing is granted after the last sleep
			assert.Equal(t, burst+int(passed*perSecond+1e-6), granted)
		})
	}
}

// T32: whatever the rounding, RetryAfter is not too short, and not more than a
// nanosecond too long.
func TestCallerThatComesBackWhenToldIsAdmitted(t *testing.T) {
	in(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			g := limit.NewRate(limit.RateConfig{PerSecond: math.Exp(r.Float64()*30 - 10), Burst: 1 + r.IntN(3)})
			time.Sleep(time.Duration(r.Int64N(int64(1000 * time.Hour))))
			for range 20 {
				d := g.RetryAfter()
				if d > 2 {
					time.Sleep(d - 2)
					refused(t, g, "rate")
					d = 2
				}
				time.Sleep(d)
				allow(t, g)
			}
		}
	})
}

// T32: a call whose turn comes after MaxWait or its deadline takes no token.
func TestTurnThatComesTooLateTakesNoToken(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewRate(limit.RateConfig{PerSecond: 1, MaxWait: 2 * time.Second})
		start := time.Now()
		allow(t, g)
		short, cancel := context.WithTimeout(t.Context(), time.Second-1)
		defer cancel()
		for range 10 {
			_, err := g.Allow(short)
			assert.ErrorIs(t, err, breaker.ErrRejected)
		}
		assert.Equal(t, time.Duration(0), time.Since(start), "refused at once")
		allow(t, g)
		assert.Equal(t, time.Second, time.Since(start))

		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { allow(t, g) })
		}
		synctest.Wait()
		assert.Equal(t, 2, g.Stats().Waiting)
		assert.Equal(t, -2.0, g.Stats().Tokens)
		refused(t, g, "rate")
		wg.Wait()
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, 0, g.Stats().Waiting)
	})
}

// T32: a canceled permit gives its token back only if none was taken after it.
func TestCanceledTokenComesBackIfItWasTheLast(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewRate(limit.RateConfig{PerSecond: 1, Burst: 2})
		first, second := allow(t, g), allow(t, g)
		first.Cancel()
		refused(t, g, "rate")
		second.Cancel()
		allow(t, g)
		refused(t, g, "rate")
	})
}

func TestContextThatEndsWhileWaitingGivesTheTurnBack(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewRate(limit.RateConfig{PerSecond: 1, MaxWait: time.Minute})
		allow(t, g)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(errDown) })
		_, err := g.Allow(ctx)
		assert.Same(t, errDown, err)
		assert.Equal(t, time.Second-time.Millisecond, g.RetryAfter())
		assert.Equal(t, uint64(1), g.Stats().Abandoned)
	})
}

// T32: no window of any length admits more than Burst and what the rate allows
// in it, whatever is canceled.
func TestRateIsNeverExceeded(t *testing.T) {
	in(t, func(t *testing.T) {
		const perSecond, burst = 10, 5
		g := limit.NewRate(limit.RateConfig{PerSecond: perSecond, Burst: burst})
		var ran []time.Duration
		start := time.Now()
		var pending []*breaker.Permit
		for i := range 20_000 {
			if p, err := g.Allow(t.Context()); err == nil {
				if i%3 == 0 {
					pending = append(pending, &p)
				} else {
					ran = append(ran, time.Since(start))
				}
			}
			if i%7 == 0 && len(pending) > 0 {
				pending[0].Cancel()
				pending = pending[1:]
			}
			time.Sleep(time.Duration(i%5) * 7 * time.Millisecond)
		}
		require.True(t, len(ran) > 1000)
		for i := range ran {
			for j := i; j < min(i+50, len(ran)); j++ {
				allowed := burst + perSecond*(ran[j]-ran[i]).Seconds() + 1e-6
				require.True(t, float64(j-i+1) <= allowed, "%d calls in %v", j-i+1, ran[j]-ran[i])
			}
		}
	})
}

// T32: after ten years a float64 of tokens is as coarse as 32 ns; RetryAfter
// makes up for it.
func TestCallerThatComesBackWhenToldIsAdmittedAfterYears(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		in(t, func(t *testing.T) {
			g := limit.NewRate(limit.RateConfig{PerSecond: math.Exp(r.Float64() * 15)})
			time.Sleep(10 * 365 * 24 * time.Hour)
			for range 100 {
				time.Sleep(g.RetryAfter())
				allow(t, g)
			}
		})
	}
}

func TestRateUnderARaceAdmitsExactlyTheBurst(t *testing.T) {
	g := limit.NewRate(limit.RateConfig{PerSecond: 1e-6, Burst: 100})
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := g.Allow(t.Context()); err == nil {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, int64(100), admitted.Load())
}

func TestExtremeRates(t *testing.T) {
	in(t, func(t *testing.T) {
		slow := limit.NewRate(limit.RateConfig{PerSecond: 1e-300})
		allow(t, slow)
		assert.True(t, refused(t, slow, "rate").RetryAfter() > 24*365*100*time.Hour)
		fast := limit.NewRate(limit.RateConfig{PerSecond: 1e300})
		for range 100 {
			allow(t, fast)
			time.Sleep(time.Nanosecond)
		}
	})
}

func BenchmarkRate(b *testing.B) {
	for name, perSecond := range map[string]float64{"granting": 1e12, "refusing": 1e-9} {
		b.Run(name, func(b *testing.B) {
			g := limit.NewRate(limit.RateConfig{PerSecond: perSecond})
			ctx := context.Background()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = g.Allow(ctx)
				}
			})
		})
	}
}
