package retry_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
)

// drain withdraws until it is refused and returns how many were granted.
func drain(b retry.Budget) (granted int) {
	for b.Withdraw(1, errDown) {
		granted++
	}
	return granted
}

func TestBudgetConfigValidate(t *testing.T) {
	for _, c := range []struct {
		config retry.BudgetConfig
		want   string // "" when valid
	}{
		{retry.BudgetConfig{}, ""},
		{retry.BudgetConfig{Ratio: -1, PerSecond: -1, Burst: 65536}, ""},
		{retry.BudgetConfig{Ratio: 10, PerSecond: 1e6}, ""},
		{retry.BudgetConfig{Ratio: 1e-4, PerSecond: 1e-4, Burst: 65536}, ""},
		{retry.BudgetConfig{Burst: -1}, "Burst is -1"},
		{retry.BudgetConfig{Burst: 65537}, "Burst is 65537"},
		{retry.BudgetConfig{Ratio: 10.1}, "Ratio is 10.1"},
		{retry.BudgetConfig{Ratio: 6e-5, Burst: 65536}, "Ratio is 6e-05"},
		{retry.BudgetConfig{Ratio: math.NaN()}, "Ratio is NaN"},
		{retry.BudgetConfig{Ratio: math.Inf(1)}, "Ratio is +Inf"},
		{retry.BudgetConfig{Ratio: math.Inf(-1)}, "Ratio is -Inf"},
		{retry.BudgetConfig{PerSecond: 1.1e6}, "PerSecond is 1.1e+06"},
		{retry.BudgetConfig{PerSecond: 6e-5, Burst: 65536}, "PerSecond is 6e-05"},
		{retry.BudgetConfig{PerSecond: 1. / 357_913_000, Burst: 3}, "PerSecond is 2.793975072154406e-09"}, // rounds to a little less than a unit
		{retry.BudgetConfig{PerSecond: math.NaN()}, "PerSecond is NaN"},
		{retry.BudgetConfig{PerSecond: math.Inf(-1)}, "PerSecond is -Inf"},
	} {
		err := c.config.Validate()
		if c.want == "" {
			assert.NoError(t, err)
			retry.NewBudget(c.config)
			continue
		}
		require.Error(t, err, c.want)
		assert.Contains(t, err.Error(), "retry: BudgetConfig."+c.want+", must be from ")
		assert.Equal(t, any(err.Error()), assert.Panics(t, func() { retry.NewBudget(c.config) }))
	}
}

func TestThrottlePanicsOnSenselessArguments(t *testing.T) {
	for _, c := range [][2]float64{{0, 1}, {-1, 1}, {1000.1, 1}, {math.NaN(), 1}, {10, 0}, {10, .0009}, {10, math.NaN()}, {10, math.Inf(1)}} {
		assert.Panics(t, func() { retry.NewThrottle(c[0], c[1]) }, "%v", c)
	}
	retry.NewThrottle(1000, .001)
	assert.True(t, retry.NewThrottle(1e-9, 1e9).Withdraw(1, errDown))
}

// T25: a hundred goroutines and one token: one is granted.
func TestOneTokenIsGrantedOnce(t *testing.T) {
	for range 20 {
		b := retry.NewBudget(retry.BudgetConfig{Burst: 1, PerSecond: -1})
		var granted atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 100 {
			wg.Go(func() {
				<-start
				if b.Withdraw(1, errDown) {
					granted.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		require.Equal(t, int32(1), granted.Load())
		assert.Equal(t, retry.BudgetStats{Withdrawn: 1, Denied: 99}, b.Stats())
	}
}

// T27: deposits add up exactly: 10,000 of any ratio are worth 10,000 times as
// many retries, to one, and ten of 0.1 are worth exactly one.
func TestDepositsAddUp(t *testing.T) {
	b := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
	assert.Equal(t, 10, drain(b))
	for range 9 {
		b.Success(1)
	}
	assert.Equal(t, 0, drain(b), "nine tenths")
	b.Success(1)
	assert.Equal(t, 1, drain(b), "ten tenths")

	for _, ratio := range []float64{.0001, .001, .003, .01, .07, .1, .123, .1234567, 1. / 3, .5, .999, 1, 2.5, math.Pi} {
		b := retry.NewBudget(retry.BudgetConfig{Ratio: ratio, PerSecond: -1, Burst: 65536})
		drain(b)
		for range 10_000 {
			b.Success(1)
		}
		assert.InDelta(t, ratio*10_000, float64(drain(b)), 1, "ratio %v", ratio)
	}
}

// T27: ratios of up to three decimals are exact: nothing is rounded.
func TestDecimalRatiosAreExact(t *testing.T) {
	for _, burst := range []int{10, 100, 300} {
		for thousandths := 1; thousandths <= 2000; thousandths++ {
			b := retry.NewBudget(retry.BudgetConfig{Ratio: float64(thousandths) / 1000, PerSecond: -1, Burst: burst})
			drain(b)
			for range 4 {
				b.Success(1)
			}
			require.Equal(t, float64(4*thousandths)/1000, b.Stats().Available, "burst %d", burst)
		}
	}
}

// T27: grants between deposits are as exact as grants after them.
func TestDepositsAddUpWhileSpent(t *testing.T) {
	for _, ratio := range []float64{.001, .1, .123, 1. / 3, .7} {
		b := retry.NewBudget(retry.BudgetConfig{Ratio: ratio, PerSecond: -1, Burst: 2}) // no deposit finds it full
		drain(b)
		granted := 0
		for range 10_000 {
			b.Success(1)
			granted += drain(b)
		}
		assert.InDelta(t, ratio*10_000, float64(granted), 1, "ratio %v", ratio)
	}
}

// T28: during an outage the extra attempts are the burst and what time adds,
// and after a pause there are retries again.
func TestOutageIsNotMultiplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.NewBudget(retry.BudgetConfig{})
		p := &retry.Policy{MaxAttempts: 4, Backoff: retry.Constant(0), Budget: b}
		attempts := 0
		for range 1000 {
			err := retry.Run(t.Context(), p, always(&attempts, errDown))
			assert.Error(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, 1000+10+9, attempts) // the tenth second ends with the last call
		assert.Equal(t, uint64(19), b.Stats().Withdrawn)

		time.Sleep(time.Hour)
		assert.Equal(t, 10.0, b.Stats().Available)
		attempts = 0
		assert.ErrorIs(t, retry.Run(t.Context(), p, always(&attempts, errDown)), retry.ErrExhausted)
		assert.Equal(t, 4, attempts)
	})
}

// T29: what an open breaker refuses is no sign of health: it earns nothing.
func TestRejectionsEarnNothing(t *testing.T) {
	b := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
	drain(b)
	for range 1000 {
		calls := 0
		assert.Error(t, retry.Run(t.Context(), &retry.Policy{Budget: b}, always(&calls, opinion{after: time.Second})))
	}
	assert.Equal(t, 0.0, b.Stats().Available)
}

func TestPerSecondCreditsWholeTicks(t *testing.T) {
	for _, perSecond := range []float64{.001, .3, 1, 7, 99, 1e6} {
		synctest.Test(t, func(t *testing.T) {
			b := retry.NewBudget(retry.BudgetConfig{PerSecond: perSecond, Ratio: -1, Burst: 1})
			assert.Equal(t, 1, drain(b))
			due := time.Duration(math.Ceil(100/perSecond)) * 10 * time.Millisecond
			time.Sleep(due - 1)
			assert.Equal(t, 0, drain(b), "never early: %v", perSecond)
			time.Sleep(1 + time.Nanosecond)
			// PerSecond is rounded down to a unit, which may cost one tick.
			time.Sleep(10 * time.Millisecond)
			assert.Equal(t, 1, drain(b), "PerSecond %v", perSecond)
			b.Success(1)
			assert.Equal(t, 0, drain(b), "no ratio")
		})
	}
}

// Time adds up over refusals and grants without losing the parts of a tick.
func TestPerSecondAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.NewBudget(retry.BudgetConfig{PerSecond: .7, Ratio: -1, Burst: 3})
		drain(b)
		granted := 0
		for range 100_000 {
			time.Sleep(7 * time.Millisecond)
			granted += drain(b)
		}
		assert.InDelta(t, 700*.7, float64(granted), 1)
	})
}

// A clock that goes back credits nothing. Those of synctest bubbles start in
// the year 2000, so the second one goes back by an hour, and both by decades.
func TestClockThatGoesBackCreditsNothing(t *testing.T) {
	outside := retry.NewBudget(retry.BudgetConfig{PerSecond: 1e6, Burst: 65536})
	var inside *retry.TokenBudget
	synctest.Test(t, func(*testing.T) {
		inside = retry.NewBudget(retry.BudgetConfig{PerSecond: 1e6})
		time.Sleep(time.Hour)
		drain(inside)
		drain(outside)
		time.Sleep(time.Hour)
		assert.Equal(t, 0, drain(outside))
		assert.Equal(t, 0.0, outside.Stats().Available)
	})
	synctest.Test(t, func(*testing.T) {
		assert.Equal(t, 0, drain(inside))
		time.Sleep(time.Hour)
		assert.Equal(t, 0, drain(inside), "this hour was credited before")
	})
}

// Ticks end after five years; nothing overflows there, whatever the settings.
func TestBudgetOutlivesItsTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, burst := range []int{1, 10, 65536} {
			b := retry.NewBudget(retry.BudgetConfig{PerSecond: 1e6, Burst: burst})
			for range 8 {
				time.Sleep(365 * 24 * time.Hour)
				assert.Equal(t, float64(burst), b.Stats().Available)
			}
			assert.Equal(t, burst, drain(b))
			b.Success(1)
			assert.InDelta(t, .1, b.Stats().Available, 1e-4)
		}
	})
}

func TestRefundNeverOverfills(t *testing.T) {
	b := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
	b.Refund(1, errDown)
	assert.Equal(t, 10.0, b.Stats().Available)
	assert.True(t, b.Withdraw(1, errDown))
	b.Refund(1, errDown)
	assert.Equal(t, 10, drain(b))
	assert.Equal(t, uint64(2), b.Stats().Refunded)
}

// The example of gRPC proposal A6: with 10 tokens and a ratio of 0.1, retries
// stop at the fifth failure, and come back when successes lift the count above
// 5 again.
func TestThrottleFollowsA6(t *testing.T) {
	b := retry.NewThrottle(10, .1)
	for range 4 {
		b.Failure(1, errDown)
		assert.True(t, b.Withdraw(1, errDown))
	}
	b.Failure(1, errDown)
	assert.False(t, b.Withdraw(1, errDown), "5 is not above 5")
	b.Success(1)
	assert.True(t, b.Withdraw(1, errDown))
	b.Refund(1, errDown)
	assert.InDelta(t, 5.1, b.Stats().Available, 1e-9)
	for range 100 {
		b.Failure(1, errDown)
	}
	assert.Equal(t, 0.0, b.Stats().Available, "never below 0")
	for range 1000 {
		b.Success(1)
	}
	assert.Equal(t, 10.0, b.Stats().Available, "never above maxTokens")
	assert.Equal(t, uint64(1), b.Stats().Denied)

	for _, ratio := range []float64{1.001, 1.0019} {
		b = retry.NewThrottle(10, ratio)
		b.Failure(1, errDown)
		b.Failure(1, errDown)
		b.Success(1)
		assert.Equal(t, 9.001, b.Stats().Available, "the third decimal counts, the fourth does not")
	}
}

func TestBudgetsAllocateNothing(t *testing.T) {
	for name, b := range map[string]*retry.TokenBudget{
		"bucket": retry.NewBudget(retry.BudgetConfig{}), "throttle": retry.NewThrottle(10, .1),
	} {
		p := &retry.Policy{Backoff: retry.Constant(0), Budget: b}
		allocs := testing.AllocsPerRun(100, func() {
			failures := 2
			_ = retry.Run(t.Context(), p, func(context.Context) error {
				if failures--; failures >= 0 {
					return retry.ErrElapsed
				}
				return nil
			})
			for range 30 {
				b.Success(1)
			}
		})
		assert.Equal(t, 0.0, allocs, name)
	}
}

// Conservation, with 8 goroutines that deposit, withdraw and give back: what
// is left at the end is exactly what was earned less what was spent, and in
// between there are never fewer tokens than none.
func TestBudgetConservesTokens(t *testing.T) {
	const goroutines, rounds, burst = 8, 20_000, 65_536
	b := retry.NewBudget(retry.BudgetConfig{Ratio: .25, PerSecond: -1, Burst: burst})
	drain(b) // so that no deposit finds the bucket full and is lost
	var granted, refunded, deposits atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				switch (i*7 + g) % 4 {
				case 0:
					b.Success(1)
					deposits.Add(1)
				case 1, 2:
					if b.Withdraw(1, errDown) {
						granted.Add(1)
						if i%3 == 0 {
							b.Refund(1, errDown)
							refunded.Add(1)
						}
					}
				default:
					b.Failure(1, errDown)
					if tokens := b.Stats().Available; tokens < 0 || tokens > burst {
						t.Errorf("%v tokens", tokens)
					}
				}
			}
		})
	}
	wg.Wait()
	stats := b.Stats()
	assert.Equal(t, uint64(granted.Load())+burst, stats.Withdrawn)
	assert.Equal(t, uint64(refunded.Load()), stats.Refunded)
	left := burst + .25*float64(deposits.Load()) - float64(stats.Withdrawn) + float64(stats.Refunded)
	assert.Equal(t, left, stats.Available)
}

// A success on a full budget only reads, so it must not share a cache line with
// what others write. BenchmarkSuccessParallel shows what that is worth.
func TestBudgetFieldsAreOnLinesOfTheirOwn(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("laid out for 64-bit processors")
	}
	const line = 64
	word, fixed, counters, size := retry.BudgetLayout()
	assert.Equal(t, uintptr(0), word)
	assert.Equal(t, uintptr(0), fixed%line)
	assert.Equal(t, uintptr(0), counters%line)
	assert.Equal(t, uintptr(0), size%256, "a size class that is aligned to cache lines")
	assert.True(t, fixed >= word+line && counters >= fixed+line)
}

func TestBudgetErrorIsAHintForTheCaller(t *testing.T) {
	b := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
	drain(b)
	calls := 0
	err := retry.Run(t.Context(), &retry.Policy{Budget: b, Backoff: retry.Constant(time.Second)}, always(&calls, errDown))
	e, ok := errors.AsType[*retry.Error](err)
	require.True(t, ok)
	assert.Equal(t, retry.ErrBudget, e.Reason)
	assert.Equal(t, time.Second, e.Delay)
}
