package hedge_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry/hedge"
)

func TestLatencyNeedsAHundredObservations(t *testing.T) {
	l := hedge.NewLatency(.5)
	for range 99 {
		l.Observe(ms)
	}
	_, ok := l.Delay()
	assert.False(t, ok)
	l.Observe(ms)
	d, ok := l.Delay()
	assert.True(t, ok)
	assert.True(t, d >= ms && d <= ms*9/8, "%v", d)
}

func TestNewLatencyPanicsOnSenselessArguments(t *testing.T) {
	for _, q := range []float64{0, 1, -1, 2, math.NaN()} {
		assert.Panics(t, func() { hedge.NewLatency(q) }, "%v", q)
	}
}

// The estimate is the upper edge of the quantile's bucket: never too low, and at
// most an eighth too high.
func TestLatencyErrorIsThatOfABucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, q := range []float64{.01, .5, .9, .95, .99, .999} {
		for range 20 {
			l := hedge.NewLatency(q)
			scale := math.Exp(random.Float64() * 20) // from 1 µs to some minutes
			sample := make([]time.Duration, 128)
			for i := range sample {
				sample[i] = time.Microsecond + time.Duration(scale*1000*math.Exp(random.NormFloat64()))
				l.Observe(sample[i])
			}
			slices.Sort(sample)
			want := sample[int(math.Ceil(q*float64(len(sample))))-1]
			got, ok := l.Delay()
			require.True(t, ok)
			assert.True(t, got >= want && got <= want*9/8+time.Microsecond, "q %v: %v, want %v", q, got, want)
		}
	}
}

func TestLatencyOutOfRange(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		-1: 1125, 0: 1125, 1: 1125, math.MaxInt64: 1 << 32 * time.Microsecond,
	} {
		l := hedge.NewLatency(.5)
		for range 100 {
			l.Observe(d)
		}
		got, _ := l.Delay()
		assert.Equal(t, want, got, "%d", d)
	}
}

// T35: when latencies become ten times higher, and when they come back, the
// delay follows within 1500 calls.
func TestLatencyFollowsTheBackend(t *testing.T) {
	l := hedge.NewLatency(.95)
	random := rand.New(rand.NewPCG(3, 4))
	for _, median := range []time.Duration{10 * ms, 100 * ms, 10 * ms, 100 * ms} {
		for range 1500 {
			l.Observe(lognormal(random, median))
		}
		got, ok := l.Delay()
		require.True(t, ok)
		want := float64(median) * math.Exp(.3*1.645)
		assert.True(t, float64(got) > .9*want && float64(got) < 1.3*want, "%v, want about %v", got, time.Duration(want))
	}
}

func lognormal(random *rand.Rand, median time.Duration) time.Duration {
	return time.Duration(float64(median) * math.Exp(.3*random.NormFloat64()))
}

// T35: being hedged does not bias the estimate: that of hedged calls, whose slow
// primaries are cancelled, is that of calls which are not. If the cancelled ones
// were left out, the delay would shrink with each round until everything is
// hedged.
func TestHedgingDoesNotBiasTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(5, 6))
		l := hedge.NewLatency(.9)
		extra := 0
		p := &hedge.Policy{Latency: l, OnEvent: func(_ context.Context, e hedge.Event) { extra += e.Attempts - 1 }}
		const calls = 6000
		for range calls {
			err := hedge.Run(t.Context(), p, func(ctx context.Context) error {
				takes := ms // the other replica is idle: whoever is hedged is beaten
				if hedge.Index(ctx) == 0 {
					takes = lognormal(random, 10*ms)
				}
				sleep(ctx, script{takes: takes})
				return ctx.Err()
			})
			require.NoError(t, err)
		}
		got, _ := l.Delay()
		want := 10 * math.Exp(.3*1.2816)
		assert.InDelta(t, want*1.06, float64(got)/float64(ms), want*.12)
		assert.True(t, extra < calls*12/100, "%d extra attempts of %d calls", extra, calls)
	})
}

// T35: neither do callers that leave early: of their calls it is known only that
// they would have taken longer.
func TestImpatientCallersDoNotBiasTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(7, 8))
		l := hedge.NewLatency(.9)
		for i := range 6000 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%5 != 0 {
				time.AfterFunc(5*ms, cancel)
			}
			_ = hedge.Run(ctx, &hedge.Policy{Latency: l, Max: -1}, func(ctx context.Context) error {
				sleep(ctx, script{takes: lognormal(random, 10*ms)})
				return ctx.Err()
			})
			cancel()
		}
		got, _ := l.Delay()
		want := 10 * math.Exp(.3*1.2816) // taken for complete they would make it 10 ms
		assert.InDelta(t, want*1.06, float64(got)/float64(ms), want*.15)
	})
}

// Many small steps: rounding must not lead to a neighbour.
func TestLatencyOfRoundNumbers(t *testing.T) {
	sample := func(i int) time.Duration { return time.Duration(math.Pow(1.13, float64(i)) * 1e4) } // a bucket each
	for _, calls := range []int{100, 128, 192} {
		for percent := 1; percent < 100; percent++ {
			if calls*percent%100 != 0 {
				continue
			}
			l := hedge.NewLatency(float64(percent) / 100)
			for i := range calls {
				l.Observe(sample(i))
			}
			got, _ := l.Delay()
			_, want := hedge.BucketEdges(sample(calls*percent/100 - 1))
			assert.Equal(t, want, got, "quantile %d %% of %d", percent, calls)
		}
	}
}

// Failed primaries say nothing about the latency.
func TestFailuresAreNotObserved(t *testing.T) {
	l := hedge.NewLatency(.5)
	for range 200 {
		_ = hedge.Run(t.Context(), &hedge.Policy{Latency: l, Max: -1}, func(context.Context) error { return errDown })
	}
	_, ok := l.Delay()
	assert.False(t, ok)
}

func TestLatencyOverridesDelay(t *testing.T) {
	l := hedge.NewLatency(.5)
	for range 100 {
		l.Observe(20 * ms)
	}
	r := play(t, &hedge.Policy{Delay: time.Hour, Latency: l}, 0, ok(time.Second), ok(ms))
	require.Equal(t, 2, len(r.started))
	d, _ := l.Delay()
	assert.Equal(t, d, r.started[1])
}

func TestLatencyIsSafeForConcurrentUse(t *testing.T) {
	l := hedge.NewLatency(.9)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 5000 {
				l.Observe(time.Duration(i%100+1) * ms)
				if d, ok := l.Delay(); ok && (d < ms || d > 120*ms) {
					t.Errorf("%v", d)
				}
			}
		})
	}
	wg.Wait()
	d, _ := l.Delay()
	assert.InDelta(t, 95, float64(d)/float64(ms), 8)
}

func FuzzLatencyBuckets(f *testing.F) {
	for _, d := range []int64{0, 999, 1000, 1001, 1125, 1 << 40, math.MaxInt64, math.MinInt64} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d int64) {
		low, high := hedge.BucketEdges(time.Duration(d))
		if in := max(d, 1000); in < 1<<32*1000 && (int64(low) > in || in >= int64(high) || int64(high-low) > in/8+125) {
			t.Errorf("%d is in [%d, %d)", d, low, high)
		}
	})
}
