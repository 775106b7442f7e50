package breaker

import (
	"fmt"
	"log/slog"
	"math"
	"time"
)

// Config says when a breaker opens and how it recovers. The zero value is
// good: it opens when half of at least 20 calls in 10 seconds failed, for 5
// seconds at first and up to a minute while it does not get better.
type Config struct {
	// Name appears in events, statistics and errors. It need not be unique.
	Name string

	// FailureRate is the share of failed calls in the window at which the
	// breaker opens, in [0.000001, 1]; what is beyond a millionth is cut off.
	// It is compared by >=. Zero means 0.5. Negative turns it off.
	FailureRate float64

	// SlowAfter is the duration from which a call is slow, whether it ended
	// or still runs. A permit that is never given back is a call that still
	// runs. Zero means Timeout if that is set, else off. Negative turns it
	// off.
	SlowAfter time.Duration

	// SlowRate is the share of slow calls in the window at which the breaker
	// opens, in [0.000001, 1]. Zero means 1: all of them.
	SlowRate float64

	// Consecutive opens the breaker after so many failures in a row, whatever
	// MinCalls says. Zero turns it off.
	Consecutive int

	// MinCalls is how many calls the window must hold before a rate opens the
	// breaker. Zero means 20, or LastCalls if that is less.
	MinCalls int

	// Window is the time that rates look back on, at least 1ms. It slides in
	// ten steps. Zero means 10 seconds, unless LastCalls is set.
	Window time.Duration

	// LastCalls, if positive, makes the window the last so many calls instead,
	// at most 65536, however long ago they were. It contradicts Window. Zero
	// turns it off.
	LastCalls int

	// OpenFor is how long the breaker stays open at least. It doubles with
	// each failed recovery, and up to a tenth is added at random so that
	// breakers which opened together do not probe together. Zero means 5
	// seconds.
	OpenFor time.Duration

	// MaxOpenFor bounds the doubled time and also the time that a server asks
	// for by an error with a method RetryAfter() time.Duration. Equal to
	// OpenFor it makes the open time constant. Zero means 1 minute, or OpenFor
	// if that is longer.
	MaxOpenFor time.Duration

	// Probes is how many calls may run in half-open, and how many of them must
	// succeed to close the breaker; one that fails opens it. At most 1000.
	// Zero means 1.
	Probes int

	// ProbeTimeout is when probes that were not given back are counted as
	// failed, so that a lost permit cannot keep the breaker half-open for
	// ever. It must be longer than a probe may take. Zero means the longest of
	// 10 seconds, OpenFor, twice Timeout and SlowAfter.
	ProbeTimeout time.Duration

	// Ramp is the time after a recovery in which the admitted share of calls
	// rises from 10 % to 100 %. Zero turns it off.
	Ramp time.Duration

	// Timeout is the time limit of each call through Do and Run. Zero means
	// none.
	Timeout time.Duration

	// Classify may change the outcome o of a call that failed with err, which
	// is never nil. Nil keeps o, which is
	//
	//   - Ignored, if err matches ErrRejected: a gate further in refused, and
	//     the dependency was not asked;
	//   - Ignored, if the context given to Allow was canceled: the caller
	//     left, or the faster of two hedged calls won;
	//   - Failure otherwise. A deadline of the caller is one, also as the
	//     cause of a cancellation.
	//
	// An invalid result counts as Failure, as does a panic, which goes on.
	// Classify runs with no lock held, on the goroutine that settles the
	// call. It is not asked about calls that panic: those are failures.
	Classify func(err error, o Outcome) Outcome

	// OnEvent is told of each change of state, in order, with no lock held, on
	// the goroutine of a call or method that caused one. It may call the
	// breaker. While it blocks, no other call is held up; events wait, and
	// beyond 128 the oldest is dropped. Nil costs nothing.
	OnEvent func(Event)

	// Logger gets the same events before OnEvent does, opening at Warn and all
	// others at Info. Nil is silent.
	Logger *slog.Logger

	// Shadow lets the breaker measure and report but refuse nothing:
	// Stats.Rejected counts what would have been refused.
	Shadow bool
}

// limits of settings.
const (
	maxLastCalls = 65536
	maxProbes    = 1000
	minWindow    = time.Millisecond
	million      = 1e6
)

// Validate returns an error that names the field, its value and what is
// allowed, or nil. [New] panics with the same error.
func (c Config) Validate() error {
	checks := []struct {
		ok      bool
		field   string
		value   any
		allowed string
	}{
		{rateOK(c.FailureRate) || c.FailureRate < 0, "FailureRate", c.FailureRate, "0.000001 to 1, 0 for 0.5, negative for off"},
		{rateOK(c.SlowRate), "SlowRate", c.SlowRate, "0.000001 to 1, 0 for 1"},
		{c.Consecutive >= 0, "Consecutive", c.Consecutive, "0 or more"},
		{c.MinCalls >= 0, "MinCalls", c.MinCalls, "0 or more"},
		{c.LastCalls >= 0 && c.LastCalls <= maxLastCalls, "LastCalls", c.LastCalls, "0 to 65536"},
		{c.Window == 0 || c.Window >= minWindow, "Window", c.Window, "1ms or more, 0 for the default"},
		{c.Window == 0 || c.LastCalls == 0, "Window", c.Window, "0 together with LastCalls"},
		{c.LastCalls == 0 || c.MinCalls <= c.LastCalls, "MinCalls", c.MinCalls, "at most LastCalls"},
		{c.OpenFor >= 0, "OpenFor", c.OpenFor, "0 or more"},
		{c.MaxOpenFor >= 0, "MaxOpenFor", c.MaxOpenFor, "0 or more"},
		{c.MaxOpenFor == 0 || c.MaxOpenFor >= c.withDefaults().OpenFor, "MaxOpenFor", c.MaxOpenFor, "at least OpenFor"},
		{c.Probes >= 0 && c.Probes <= maxProbes, "Probes", c.Probes, "0 to 1000"},
		{c.ProbeTimeout >= 0, "ProbeTimeout", c.ProbeTimeout, "0 or more"},
		{c.Ramp >= 0, "Ramp", c.Ramp, "0 or more"},
		{c.Timeout >= 0, "Timeout", c.Timeout, "0 or more"},
		{c.Timeout == 0 || c.SlowAfter <= c.Timeout, "SlowAfter", c.SlowAfter, "at most Timeout"},
		{c.ProbeTimeout == 0 || c.Timeout <= c.ProbeTimeout, "ProbeTimeout", c.ProbeTimeout, "at least Timeout"},
		{c.ProbeTimeout == 0 || c.SlowAfter <= c.ProbeTimeout, "ProbeTimeout", c.ProbeTimeout, "at least SlowAfter"},
	}
	for _, check := range checks {
		if !check.ok {
			return fmt.Errorf("breaker: Config.%s is %v; allowed: %s", check.field, check.value, check.allowed)
		}
	}
	return nil
}

// rateOK reports whether r is a rate or zero. NaN fails every comparison.
func rateOK(r float64) bool { return r == 0 || (r >= 1/million && r <= 1) }

// withDefaults returns c with each zero that has a meaning replaced by it.
func (c Config) withDefaults() Config {
	c.FailureRate = or(c.FailureRate, 0.5)
	c.SlowAfter = or(c.SlowAfter, c.Timeout)
	c.SlowRate = or(c.SlowRate, 1)
	c.MinCalls = or(c.MinCalls, 20)
	if c.LastCalls > 0 {
		c.MinCalls = min(c.MinCalls, c.LastCalls)
	} else {
		c.Window = or(c.Window, 10*time.Second)
	}
	c.OpenFor = or(c.OpenFor, 5*time.Second)
	c.MaxOpenFor = or(c.MaxOpenFor, max(time.Minute, c.OpenFor))
	c.Probes = or(c.Probes, 1)
	twice := time.Duration(addSaturating(int64(c.Timeout), int64(c.Timeout)))
	c.ProbeTimeout = or(c.ProbeTimeout, max(10*time.Second, c.OpenFor, twice, c.SlowAfter))
	return c
}

// or returns v, or the default if v is zero.
func or[T comparable](v, zeroMeans T) T {
	var zero T
	if v == zero {
		return zeroMeans
	}
	return v
}

// parts returns a rate in millionths, rounded down: to compare with it takes
// integers alone, and no rate that a person writes is missed by a rounding.
func parts(rate float64) uint64 {
	if rate <= 0 {
		return 0
	}
	return uint64(math.Floor(rate * million))
}

// addSaturating returns a + b for b >= 0, or the largest value.
func addSaturating(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
