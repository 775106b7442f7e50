package wire

import (
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/retry"
)

// Settings are the durations and thresholds that every client and server of one
// shop shares. They only make sense together, so Validate looks at the whole.
type Settings struct {
	PerTry      time.Duration // limit of one try against a callee that answers by itself
	Composite   time.Duration // the same for a callee that must call others before it can answer
	Deadline    time.Duration // what a client of the gateway waits at most
	Attempts    int           // tries of one call, the first included
	Pause       time.Duration // the longest wait before the second try; doubles after that
	FailureRate float64       // share of failures at which a breaker opens; negative is off
	MinCalls    int           // with fewer calls in the window it does not
	Window      time.Duration // the window over which a breaker counts
	OpenFor     time.Duration // how long it refuses before it probes; constant

	SagaDeadline time.Duration // an order that is not shipped by then is given up
	Lease        time.Duration // who coordinates sagas is taken for dead after so much silence
	Keep         time.Duration // how long the saga of an order is remembered after its end: as long as it may be returned
	MaxOrders    int           // that are on their way; beyond it new ones are refused. Zero means 1000.

	QueryTTL, LocalTTL, SharedTTL time.Duration // of the query cache, of L1 and of L2
}

// hop is what each hop keeps back of the remaining time for its own answer.
const hop = 5 * time.Millisecond

// Validate returns an error that names the first relation that does not hold.
// It guards against the change of one duration alone, which turns a working
// chain into one where an outer limit cuts off the inner retries.
func (s Settings) Validate() error {
	inner := time.Duration(s.Attempts)*s.PerTry + s.longestPauses()
	switch {
	case s.PerTry <= hop || s.Attempts < 1:
		return fmt.Errorf("settings: per try %v must exceed %v, and attempts %d must be positive", s.PerTry, hop, s.Attempts)
	case s.Composite <= inner+2*hop:
		return fmt.Errorf("settings: composite %v must exceed %d tries of %v with their pauses (%v)", s.Composite, s.Attempts, s.PerTry, inner)
	case s.Deadline <= s.Composite+hop:
		return fmt.Errorf("settings: deadline %v must exceed composite %v", s.Deadline, s.Composite)
	case s.SagaDeadline <= s.Deadline+s.OpenFor:
		// Shorter, and no order would outlive the shortest outage of payments.
		return fmt.Errorf("settings: saga deadline %v must exceed deadline %v and open for %v", s.SagaDeadline, s.Deadline, s.OpenFor)
	case s.Keep <= s.Deadline: // whoever asks again must find what he has asked for
		return fmt.Errorf("settings: keep %v must exceed deadline %v", s.Keep, s.Deadline)
	case s.Lease <= s.PerTry:
		return fmt.Errorf("settings: lease %v must exceed per try %v", s.Lease, s.PerTry)
	case s.QueryTTL <= 0 || s.LocalTTL < s.QueryTTL || s.SharedTTL < s.LocalTTL:
		return fmt.Errorf("settings: lives of query cache %v, L1 %v and L2 %v must be positive and grow", s.QueryTTL, s.LocalTTL, s.SharedTTL)
	case s.OpenFor < s.PerTry: // a probe may take as long as any other try
		return fmt.Errorf("settings: open for %v is shorter than one try (%v): probes would overlap", s.OpenFor, s.PerTry)
	}
	return s.breaker("check", s.PerTry).Validate()
}

// longestPauses is the time that the waits between the tries of one call take
// at most; jitter only shortens them.
func (s Settings) longestPauses() (sum time.Duration) {
	for i := range s.Attempts - 1 {
		sum += s.Pause << i
	}
	return sum
}

// breaker returns the configuration of the breaker called name. The limit per
// try is the breaker's own, so that a callee that hangs is a failure the moment
// the limit passes, whatever the caller's patience is.
func (s Settings) breaker(name string, limit time.Duration) breaker.Config {
	c := breaker.Config{
		Name: name, FailureRate: s.FailureRate, MinCalls: s.MinCalls, Window: s.Window,
		// Constant open time: with the library's default it doubles after each failed
		// probe, which spares a callee that is out for long, and makes the recovery
		// that this demo shows as long as the outage was.
		OpenFor: s.OpenFor, MaxOpenFor: s.OpenFor, Timeout: limit,
		Classify: classify,
	}
	if s.FailureRate < 0 {
		c.SlowAfter = -1 // off means off: the slow rate must not open it either
	}
	return c
}

// policy returns how calls are repeated. retryable nil means the default rules;
// the budget is shared by all calls to one callee, so that an outage is not
// answered with a multiple of the traffic.
func (s Settings) policy(retryable func(error) bool, budget retry.Budget) retry.Policy {
	return retry.Policy{
		// Full jitter: those who failed in the same moment must not come back in the
		// same moment. The last pause is the longest that Validate reckons with.
		MaxAttempts: s.Attempts,
		Backoff:     retry.FullJitter(s.Pause, s.Pause<<(s.Attempts-1)),
		Retryable:   retryable,
		Budget:      budget,
	}
}
