package retry_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/retry"
)

const (
	base    = 100 * time.Millisecond
	ceiling = 10 * time.Second
	almost1 = 1 - 1.0/(1<<53) // the largest draw
)

func TestBackoffGoldenValues(t *testing.T) {
	exponential := retry.Exponential(base, ceiling)
	steps := retry.Steps(time.Second, 5*time.Second, 30*time.Second)
	for _, c := range []struct {
		name    string
		backoff retry.Backoff
		n       int
		prev    time.Duration
		u       float64
		want    time.Duration
	}{
		{"Constant", retry.Constant(2 * time.Second), 9, time.Hour, .3, 2 * time.Second},
		{"Constant.Jitter(.25)", retry.Constant(2 * time.Second).Jitter(.25), 1, 0, 0, 1500 * time.Millisecond},
		{"Constant.Jitter(.25)", retry.Constant(2 * time.Second).Jitter(.25), 1, 0, .5, 1750 * time.Millisecond},
		{"Constant.Jitter(.2)", retry.Constant(2 * time.Second).Jitter(.2), 1, 0, .75, 1900 * time.Millisecond},
		{"Constant.Jitter(0)", retry.Constant(2 * time.Second).Jitter(0), 1, 0, .75, 2 * time.Second},
		{"Steps", steps, 0, 0, 0, time.Second},
		{"Steps", steps, 1, 0, 0, time.Second},
		{"Steps", steps, 2, 0, 0, 5 * time.Second},
		{"Steps", steps, 3, 0, 0, 30 * time.Second},
		{"Steps", steps, 4, 0, 0, 30 * time.Second},
		{"Steps", steps, math.MaxInt, 0, 0, 30 * time.Second},
		{"Exponential", exponential, math.MinInt, 0, .5, base},
		{"Exponential", exponential, 1, 0, .5, base},
		{"Exponential", exponential, 4, 0, .5, 800 * time.Millisecond},
		{"Exponential", exponential, 7, 0, .5, 6400 * time.Millisecond},
		{"Exponential", exponential, 8, 0, .5, ceiling},
		{"Exponential", exponential, math.MaxInt, 0, .5, ceiling},
		{"Exponential from 1ns", retry.Exponential(1, math.MaxInt64), 63, 0, 0, 1 << 62},
		{"Exponential from 1ns", retry.Exponential(1, math.MaxInt64), 64, 0, 0, math.MaxInt64},
		{"Exponential from 3ns", retry.Exponential(3, math.MaxInt64), 62, 0, 0, 3 << 61},
		{"FullJitter", retry.FullJitter(base, ceiling), 1, 0, 0, 0},
		{"FullJitter", retry.FullJitter(base, ceiling), 1, 0, .5, 50 * time.Millisecond},
		{"FullJitter", retry.FullJitter(base, ceiling), 4, 0, .25, 200 * time.Millisecond},
		{"FullJitter", retry.FullJitter(base, ceiling), 8, 0, .75, 7500 * time.Millisecond},
		{"FullJitter", retry.FullJitter(base, ceiling), 1, 0, almost1, 99_999_999},
		{"FullJitter", retry.FullJitter(base, ceiling), 100, 0, almost1, 9_999_999_999},
		{"equal jitter", exponential.Jitter(.5), 1, 0, 0, 50 * time.Millisecond},
		{"equal jitter", exponential.Jitter(.5), 1, 0, .5, 75 * time.Millisecond},
		{"equal jitter", exponential.Jitter(.5), 4, 0, .5, 600 * time.Millisecond},
		{"equal jitter", exponential.Jitter(.5), 8, 0, .25, 6250 * time.Millisecond},
		{"equal jitter", exponential.Jitter(.5), 8, 0, almost1, ceiling},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 1, 0, 0, base},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 1, 0, .5, 200 * time.Millisecond},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 2, 200 * time.Millisecond, .5, 350 * time.Millisecond},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 3, 350 * time.Millisecond, .25, 337_500_000},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 4, 4 * time.Second, .75, 7525 * time.Millisecond},
		{"Decorrelated", retry.Decorrelated(base, ceiling), 5, ceiling, .5, 5050 * time.Millisecond},
	} {
		got := c.backoff(c.n, c.prev, c.u)
		assert.InDelta(t, float64(c.want), float64(got), 1, "%s(%d, %v, %v)", c.name, c.n, c.prev, c.u)
	}
}

// T13: senseless arguments panic in the constructor, which names the value.
func TestConstructorsPanicOnSenselessArguments(t *testing.T) {
	for want, construct := range map[string]func(){
		"retry: Constant delay is -1ns, must not be negative":                 func() { retry.Constant(-1) },
		"retry: Steps needs at least one delay":                               func() { retry.Steps() },
		"retry: Steps delay is -1s, must not be negative":                     func() { retry.Steps(0, -time.Second) },
		"retry: Exponential base is 0s, must be positive":                     func() { retry.Exponential(0, 1) },
		"retry: FullJitter base is -1ns, must be positive":                    func() { retry.FullJitter(-1, 1) },
		"retry: FullJitter ceiling is 1ns, must be at least the base, 2ns":    func() { retry.FullJitter(2, 1) },
		"retry: Decorrelated ceiling is 999ms, must be at least the base, 1s": func() { retry.Decorrelated(time.Second, 999*time.Millisecond) },
		"retry: Exponential ceiling is -1ns, must be at least the base, 1ns":  func() { retry.Exponential(1, -1) },
		"retry: Jitter fraction is -0.1, must be in [0, 1]":                   func() { retry.Constant(1).Jitter(-.1) },
		"retry: Jitter fraction is 1.1, must be in [0, 1]":                    func() { retry.Constant(1).Jitter(1.1) },
		"retry: Jitter fraction is NaN, must be in [0, 1]":                    func() { retry.Constant(1).Jitter(math.NaN()) },
		"retry: Jitter of a nil Backoff":                                      func() { retry.Backoff(nil).Jitter(1) },
		"retry: Attempts needs a place for the error":                         func() { (*retry.Policy)(nil).Attempts(t.Context(), nil) },
	} {
		assert.Equal(t, any(want), assert.Panics(t, construct, want))
	}
}

func TestStepsKeepsItsOwnCopy(t *testing.T) {
	d := []time.Duration{1, 2}
	steps := retry.Steps(d...)
	d[0] = 9
	assert.Equal(t, time.Duration(1), steps(1, 0, 0))
}

func TestNegativeDelayCountsAsZero(t *testing.T) {
	var steps []int
	negative := retry.Backoff(func(n int, _ time.Duration, _ float64) time.Duration {
		steps = append(steps, n)
		return -time.Hour
	})
	for _, b := range []retry.Backoff{negative, negative.Jitter(.5)} {
		calls := 0
		steps = nil
		took := inBubble(t, func(t *testing.T) {
			assert.ErrorIs(t, retry.Run(t.Context(), &retry.Policy{Backoff: b}, always(&calls, errDown)), retry.ErrExhausted)
		})
		assert.Equal(t, 3, calls)
		assert.Equal(t, []int{1, 2}, steps)
		assert.Equal(t, time.Duration(0), took)
	}
}

// T20: whatever a constructor's backoff is called with, the delay is within its
// bounds.
func FuzzBackoffStaysWithinItsBounds(f *testing.F) {
	f.Add(int64(base), int64(ceiling), 3, int64(base), .5, .5)
	f.Add(int64(1), int64(math.MaxInt64), math.MaxInt, int64(math.MaxInt64), almost1, 1.)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), math.MinInt, int64(math.MinInt64), math.NaN(), .1)
	f.Add(int64(1), int64(2), 0, int64(-1), math.Inf(1), 0.)
	f.Add(int64(1<<53+3), int64(1<<62+(1<<9)-1), 1, int64(0), almost1, 1.)
	f.Add(int64(7), int64(7), 63, int64(7), math.Inf(-1), 1e-300)
	f.Fuzz(func(t *testing.T, low, high int64, n int, prev int64, u, fraction float64) {
		from, to := time.Duration(low), time.Duration(high)
		if from <= 0 || to < from || !(fraction >= 0 && fraction <= 1) {
			t.Skip("senseless arguments, which panic")
		}
		for _, c := range []struct {
			name        string
			backoff     retry.Backoff
			floor, most time.Duration
		}{
			{"Constant", retry.Constant(to), to, to},
			{"Steps", retry.Steps(from, to), from, to},
			{"Exponential", retry.Exponential(from, to), from, to},
			{"FullJitter", retry.FullJitter(from, to), 0, to},
			{"Decorrelated", retry.Decorrelated(from, to), from, to},
			{"Exponential.Jitter", retry.Exponential(from, to).Jitter(fraction), 0, to},
			{"Decorrelated.Jitter", retry.Decorrelated(from, to).Jitter(fraction), 0, to},
		} {
			if d := c.backoff(n, time.Duration(prev), u); d < c.floor || d > c.most {
				t.Errorf("%s(%v, %v)(%d, %d, %v) = %d", c.name, from, to, n, prev, u, d)
			}
		}
	})
}

// T21: at the ceiling callers still spread, and none waits longer than it.
func TestJitterSpreadsAtTheCeiling(t *testing.T) {
	for name, b := range map[string]retry.Backoff{
		"FullJitter":   retry.FullJitter(base, ceiling),
		"equal jitter": retry.Exponential(base, ceiling).Jitter(.5),
		"Decorrelated": retry.Decorrelated(base, ceiling),
	} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			d := b(50, ceiling, rand.Float64())
			assert.True(t, d <= ceiling, "%s: %v", name, d)
			seen[d] = true
		}
		// Of 1000 draws from at least 5e9 values two are equal once in 10,000 runs.
		assert.True(t, len(seen) >= 998, "%s: %d different delays", name, len(seen))
	}
}

// The delays of each jittered backoff are uniform: the largest distance between
// their distribution and the straight line (Kolmogorov-Smirnov) stays below
// what chance exceeds once in 10^9 runs.
func TestJitterIsUniform(t *testing.T) {
	const draws = 100_000
	critical := math.Sqrt(-math.Log(1e-9/2)/2) / math.Sqrt(draws)
	for name, c := range map[string]struct {
		backoff   retry.Backoff
		low, high time.Duration
	}{
		"FullJitter":   {retry.FullJitter(base, ceiling), 0, ceiling},
		"equal jitter": {retry.Exponential(base, ceiling).Jitter(.5), ceiling / 2, ceiling},
		"Decorrelated": {retry.Decorrelated(base, ceiling), base, ceiling},
	} {
		sample := make([]float64, draws)
		for i := range sample {
			d := c.backoff(50, ceiling, rand.Float64())
			sample[i] = float64(d-c.low) / float64(c.high-c.low)
		}
		slices.Sort(sample)
		distance := 0.0
		for i, x := range sample {
			distance = max(distance, math.Abs(x-float64(i)/draws), math.Abs(x-float64(i+1)/draws))
		}
		assert.True(t, distance < critical, "%s: distance %v, critical %v", name, distance, critical)
	}
}

// T22: loops that start in the same instant draw differently, and the first
// delay comes from base, not from 2·base.
func TestLoopsStartedTogetherWaitDifferently(t *testing.T) {
	seen := map[time.Duration]bool{}
	inBubble(t, func(t *testing.T) { // where all of them start at the same nanosecond
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			p := &retry.Policy{
				Backoff: retry.FullJitter(time.Hour, 24*time.Hour),
				OnEvent: func(_ context.Context, e retry.Event) {
					if !e.Last {
						seen[e.Delay] = true
					}
					cancel()
				},
			}
			calls := 0
			assert.ErrorIs(t, retry.Run(ctx, p, always(&calls, errDown)), context.Canceled)
		}
	})
	for d := range seen {
		assert.True(t, d < time.Hour, "%v", d)
	}
	assert.True(t, len(seen) >= 98, "%d different delays of 100", len(seen))
}
