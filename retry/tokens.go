package retry

import (
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A TokenBudget's state is one word: when time was last credited, in ticks
// since construction, and the tokens, in units. Credit, check and take are
// therefore one compare-and-swap, and no reader ever sees half of a change.
const (
	tokenBits   = 30
	tokenMask   = 1<<tokenBits - 1
	tick        = 10 * time.Millisecond
	ticksPerSec = uint64(time.Second / tick)
	maxTick     = 1<<(64-tokenBits) - 1 // five years, after which time credits nothing
)

// TokenBudget is a [Budget] in one atomic word: no lock, no goroutine, no
// allocation. Make it with [NewBudget] or [NewThrottle] and share it among all
// calls to one backend. While it is full, a success costs a load, on any number
// of cores.
type TokenBudget struct {
	// The word, what never changes and the counters are on cache lines of their
	// own: a success on a full budget must not wait for another core's counter.
	word atomic.Uint64 // tick << tokenBits | tokens
	_    [56]byte

	began    time.Time
	unit     uint64 // units of one token
	capacity uint64 // tokens never exceed it
	floor    uint64 // Withdraw grants above it,
	cost     uint64 // and takes this
	gain     uint64 // per success
	loss     uint64 // per failure
	rate     uint64 // per second
	_        [48]byte

	withdrawn, refunded, denied atomic.Uint64
	_                           [40]byte
}

// BudgetStats is a snapshot of a [TokenBudget]. All but Available are totals
// that only grow.
type BudgetStats struct {
	Available float64 `json:"available"` // retries that could start now; for NewThrottle: A6's token_count
	Withdrawn uint64  `json:"withdrawn"` // retries granted
	Refunded  uint64  `json:"refunded"`  // of these, not made
	Denied    uint64  `json:"denied"`    // retries refused
}

// NewBudget makes a token bucket: a success adds Ratio, a second adds
// PerSecond, a retry takes 1 or is refused. It panics where c.Validate fails.
func NewBudget(c BudgetConfig) *TokenBudget {
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	c = c.withDefaults()
	unit := unitsPerRetry(c.Burst)
	b := &TokenBudget{
		began:    time.Now(),
		unit:     unit,
		capacity: unit * uint64(c.Burst),
		floor:    unit - 1,
		cost:     unit,
	}
	if c.Ratio > 0 {
		// Rounded up, lest ten successes at 0.1 fall short of a retry. What is
		// subtracted is far less than a unit and far more than the error of the
		// product, which for 0.017 would make a unit too many.
		b.gain = uint64(math.Ceil(float64(c.Ratio*float64(unit)) - 1e-5))
	}
	if c.PerSecond > 0 {
		// More than the whole capacity in a tick makes no difference, and the
		// limit keeps the product of rate and ticks within 128 bits over 100.
		b.rate = min(uint64(c.PerSecond*float64(unit)), b.capacity*ticksPerSec)
	}
	b.word.Store(b.capacity)
	return b
}

// NewThrottle makes the throttle of gRPC's retry design (proposal A6): the
// count of tokens starts at maxTokens, a failure takes 1, a success adds
// tokenRatio, and retries are allowed while the count is above half of
// maxTokens. A retry itself takes nothing, and time adds nothing. Decimals
// beyond the third are ignored. It panics unless 0 < maxTokens <= 1000 and
// tokenRatio >= 0.001.
func NewThrottle(maxTokens, tokenRatio float64) *TokenBudget {
	if !(maxTokens > 0 && maxTokens <= 1000) {
		panic(fmt.Sprintf("retry: NewThrottle maxTokens is %v, must be above 0 and at most 1000", maxTokens))
	}
	if !(tokenRatio >= 0.001) || math.IsInf(tokenRatio, 0) {
		panic(fmt.Sprintf("retry: NewThrottle tokenRatio is %v, must be at least 0.001", tokenRatio))
	}
	const unit = 1000
	capacity := max(thousandths(maxTokens), 1)
	b := &TokenBudget{
		began:    time.Now(),
		unit:     unit,
		capacity: capacity,
		floor:    capacity / 2,
		gain:     thousandths(min(tokenRatio, 1000)), // more than maxTokens has no effect
		loss:     unit,
	}
	b.word.Store(b.capacity)
	return b
}

// unitsPerRetry divides the token bits among the retries that can be saved up.
// A multiple of 1000 makes ratios of up to three decimals exact.
func unitsPerRetry(burst int) uint64 {
	return uint64(tokenMask/burst) / 1000 * 1000
}

func thousandths(x float64) uint64 {
	return uint64(float64(x*1000) + 1e-6) // 1.001 × 1000 is a little less than 1001
}

// Success adds the share of a retry that a success earns.
func (b *TokenBudget) Success(int) {
	if b.word.Load()&tokenMask == b.capacity {
		return
	}
	b.add(b.gain)
}

// Failure takes what a failure costs: nothing from [NewBudget], for a refused
// error deposits nothing either.
func (b *TokenBudget) Failure(int, error) {
	if b.loss == 0 {
		return
	}
	for {
		old := b.word.Load()
		if b.word.CompareAndSwap(old, old-min(b.loss, old&tokenMask)) {
			return
		}
	}
}

// Withdraw takes one retry, or refuses. A refusal writes nothing but its
// counter.
func (b *TokenBudget) Withdraw(int, error) bool {
	now := b.now()
	for {
		old := b.word.Load()
		at, tokens := b.credited(old, now)
		if tokens <= b.floor {
			b.denied.Add(1)
			return false
		}
		if b.word.CompareAndSwap(old, at<<tokenBits|(tokens-b.cost)) {
			b.withdrawn.Add(1)
			return true
		}
	}
}

// Refund puts one retry back.
func (b *TokenBudget) Refund(int, error) {
	b.refunded.Add(1)
	b.add(b.cost)
}

// Stats is a snapshot, with what time has added until now.
func (b *TokenBudget) Stats() BudgetStats {
	_, tokens := b.credited(b.word.Load(), b.now())
	return BudgetStats{
		Available: float64(tokens) / float64(b.unit),
		Withdrawn: b.withdrawn.Load(),
		Refunded:  b.refunded.Load(),
		Denied:    b.denied.Load(),
	}
}

// add adds units, up to the capacity.
func (b *TokenBudget) add(units uint64) {
	for {
		old := b.word.Load()
		more := min(units, b.capacity-old&tokenMask)
		if more == 0 || b.word.CompareAndSwap(old, old+more) {
			return
		}
	}
}

// now is the number of whole ticks since construction. Time is credited by
// whole ticks, so never early.
func (b *TokenBudget) now() uint64 {
	if b.rate == 0 {
		return 0
	}
	return uint64(min(max(time.Since(b.began)/tick, 0), maxTick))
}

// credited is the word's content after time has been credited up to now. A
// clock that went back credits nothing, now or later for the same time.
func (b *TokenBudget) credited(word, now uint64) (at, tokens uint64) {
	at, tokens = word>>tokenBits, word&tokenMask
	if now <= at {
		return at, tokens
	}
	return now, min(tokens+b.earned(now)-b.earned(at), b.capacity)
}

// earned is what time has added in the first ticks since construction. The
// difference of two such sums has no rounding error to pile up, as the rate per
// tick would.
func (b *TokenBudget) earned(ticks uint64) uint64 {
	high, low := bits.Mul64(ticks, b.rate)
	units, _ := bits.Div64(high, low, ticksPerSec)
	return units
}
