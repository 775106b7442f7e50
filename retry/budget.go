package retry

import (
	"fmt"
	"math"
)

// Budget bounds the extra attempts of everything that shares it, so that
// retries cannot multiply an outage. [NewBudget] and [NewThrottle] make one. n
// numbers the attempts of one call from 1; err is the failure, nil for a hedge.
// Methods are called from many goroutines and must not block.
type Budget interface {
	Success(n int)                  // attempt n succeeded
	Failure(n int, err error)       // attempt n failed retryably, be it the last one
	Withdraw(n int, err error) bool // may one more attempt follow attempt n?
	Refund(n int, err error)        // what Withdraw granted will not run
}

// BudgetConfig says how many retries [NewBudget] allows:
//
//	extra attempts <= Burst + Ratio × successes + PerSecond × seconds
//
// over any stretch of time, to one retry and one step of the clock (10 ms). The
// share of successes bounds the added load when there is much traffic; the
// reserve by time keeps a client that calls seldom from never being allowed to
// retry.
type BudgetConfig struct {
	// Ratio is the number of retries earned per success. Zero means 0.1;
	// negative means none.
	Ratio float64

	// PerSecond is the number of retries earned by time alone, so that nobody
	// starves. Zero means 1; negative means none.
	PerSecond float64

	// Burst is the number of retries that can be saved up; the budget is full
	// at the start. Zero means 10; at most 65536.
	Burst int
}

const (
	defaultRatio     = 0.1
	defaultPerSecond = 1
	defaultBurst     = 10
	maxBurst         = 1 << 16
	maxPerSecond     = 1e6
)

// Validate names the first field that makes no sense, its value and what is
// allowed. It is for settings that come from a file; NewBudget panics with the
// same words.
func (c BudgetConfig) Validate() error {
	c = c.withDefaults()
	if c.Burst < 1 || c.Burst > maxBurst {
		return fmt.Errorf("retry: BudgetConfig.Burst is %d, must be from 1 to %d", c.Burst, maxBurst)
	}
	// Less than one unit would be rounded to none at all, or to many times more.
	unit := float64(unitsPerRetry(c.Burst))
	least := 1 / unit
	if !(c.Ratio <= float64(c.Burst)) || math.IsInf(c.Ratio, 0) || c.Ratio > 0 && c.Ratio*unit < 1 {
		return fmt.Errorf("retry: BudgetConfig.Ratio is %v, must be from %.3g to Burst (%d), or negative for none",
			c.Ratio, least, c.Burst)
	}
	if !(c.PerSecond <= maxPerSecond) || math.IsInf(c.PerSecond, 0) || c.PerSecond > 0 && c.PerSecond*unit < 1 {
		return fmt.Errorf("retry: BudgetConfig.PerSecond is %v, must be from %.3g to %v, or negative for none",
			c.PerSecond, least, float64(maxPerSecond))
	}
	return nil
}

func (c BudgetConfig) withDefaults() BudgetConfig {
	if c.Ratio == 0 {
		c.Ratio = defaultRatio
	}
	if c.PerSecond == 0 {
		c.PerSecond = defaultPerSecond
	}
	if c.Burst == 0 {
		c.Burst = defaultBurst
	}
	return c
}
