package retry

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
)

// Backoff is the delay after the n-th failure in a row (1, 2, ...; less counts
// as 1), given the delay before it (0 at first) and u uniform in [0, 1). Any
// pure function will do; a negative result counts as 0.
//
// Randomness comes in as u, so a Backoff has no state and can be tabulated.
// The constructors panic on senseless arguments, and what they return stays
// within [0, ceiling] whatever it is called with.
type Backoff func(n int, prev time.Duration, u float64) time.Duration

// Constant always waits d; 0 retries at once, without a timer or a draw.
func Constant(d time.Duration) Backoff {
	mustNotBeNegative("Constant", d)
	if d == 0 {
		return atOnce
	}
	return func(int, time.Duration, float64) time.Duration { return d }
}

// atOnce is Constant(0). It has a name because only functions that have one can
// be told apart: a literal is compiled once for every place it is inlined to.
func atOnce(int, time.Duration, float64) time.Duration { return 0 }

var atOnceCode = reflect.ValueOf(Backoff(atOnce)).Pointer()

// isAtOnce reports whether b is Constant(0), of which the delay is known
// without the draw that costs more than all else in a retry without a wait.
func (b Backoff) isAtOnce() bool { return reflect.ValueOf(b).Pointer() == atOnceCode }

// Steps waits d[0], d[1], ..., and then the last for ever.
func Steps(d ...time.Duration) Backoff {
	if len(d) == 0 {
		panic("retry: Steps needs at least one delay")
	}
	for _, step := range d {
		mustNotBeNegative("Steps", step)
	}
	d = slices.Clone(d)
	return func(n int, _ time.Duration, _ float64) time.Duration {
		return d[min(max(n, 1), len(d))-1]
	}
}

// Exponential waits base, 2·base, 4·base, ..., and no longer than ceiling. It
// has no jitter: callers that fail together come back together, so it is for
// a single caller, or as a base for [Backoff.Jitter].
func Exponential(base, ceiling time.Duration) Backoff {
	mustBeRange("Exponential", base, ceiling)
	return func(n int, _ time.Duration, _ float64) time.Duration {
		return double(base, ceiling, n)
	}
}

// FullJitter is Exponential(base, ceiling).Jitter(1): uniform between 0 and
// the exponential delay. Among many callers it spreads the load best. See
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
func FullJitter(base, ceiling time.Duration) Backoff {
	mustBeRange("FullJitter", base, ceiling)
	return func(n int, _ time.Duration, u float64) time.Duration {
		return jitter(double(base, ceiling, n), 1, u)
	}
}

// Decorrelated is uniform in [base, min(ceiling, 3·prev)): it never waits less
// than base, and grows with what was drawn rather than with n.
//
// It caps the range and not the draw, as the article named at [FullJitter]
// does: with a capped draw, two thirds of the callers at the ceiling would
// wait exactly as long.
func Decorrelated(base, ceiling time.Duration) Backoff {
	mustBeRange("Decorrelated", base, ceiling)
	return func(_ int, prev time.Duration, u float64) time.Duration {
		prev = max(prev, base)
		top := ceiling
		if prev <= ceiling/3 {
			top = 3 * prev
		}
		return base + jitter(top-base, 1, u)
	}
}

// Jitter draws the last f of each delay at random: 0 none, 0.5 equal jitter,
// 1 full jitter. The delay never exceeds that of b.
func (b Backoff) Jitter(f float64) Backoff {
	if b == nil {
		panic("retry: Jitter of a nil Backoff")
	}
	if !(f >= 0 && f <= 1) { // also catches NaN
		panic(fmt.Sprintf("retry: Jitter fraction is %v, must be in [0, 1]", f))
	}
	return func(n int, prev time.Duration, u float64) time.Duration {
		return jitter(b(n, prev, u), f, u)
	}
}

// double is base·2^(n-1), at most ceiling, without overflow: it compares by
// shifting the ceiling down rather than the base up.
func double(base, ceiling time.Duration, n int) time.Duration {
	n = max(n, 1)
	if n > 63 || base > ceiling>>(n-1) {
		return ceiling
	}
	return base << (n - 1)
}

// jitter is d less a random part of its last f. The explicit conversion keeps
// the compiler from fusing the multiplication with the subtraction, so that all
// architectures give the same delays.
func jitter(d time.Duration, f, u float64) time.Duration {
	keep := 1 - float64(f*(1-u))
	switch {
	case d <= 0 || math.IsNaN(keep) || keep <= 0:
		return 0
	case keep >= 1: // float64(d) may exceed d, and even the largest Duration
		return d
	default:
		// keep is at least 2⁻⁵³ below 1, which outweighs what float64(d) may be
		// rounded up, so the product cannot exceed d.
		return time.Duration(float64(d) * keep)
	}
}

func mustBeRange(name string, base, ceiling time.Duration) {
	if base <= 0 {
		panic(fmt.Sprintf("retry: %s base is %v, must be positive", name, base))
	}
	if ceiling < base {
		panic(fmt.Sprintf("retry: %s ceiling is %v, must be at least the base, %v", name, ceiling, base))
	}
}

func mustNotBeNegative(name string, d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("retry: %s delay is %v, must not be negative", name, d))
	}
}
