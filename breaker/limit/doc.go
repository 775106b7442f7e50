// Package limit holds the gates that bound load, where package breaker reacts
// to failures: [Concurrency] bounds how many calls run at once, [Rate] how
// many begin per second, and [Throttle] lets a dependency that refuses work be
// asked less.
//
// Each is a [breaker.Gate], so it works with breaker.Do and breaker.Run, in a
// breaker.Chain and in a breaker.Group:
//
//	g := breaker.Chain(
//		limit.NewConcurrency(limit.ConcurrencyConfig{Max: 50}),
//		breaker.New(breaker.Config{Name: "users"}),
//		limit.NewRate(limit.RateConfig{PerSecond: 100, Burst: 20}),
//	)
//
// That is the order to use: a probe of the breaker is taken only by a call
// that has a place, and a token of the rate only by a call that will run.
package limit

import "github.com/keelson-go/keelson/breaker"

// Stats is a snapshot of a gate. What does not apply to it is 0.
type Stats struct {
	Name     string `json:"name"`
	Limit    int    `json:"limit"`     // Concurrency: calls at once; Rate: Burst
	InFlight int    `json:"in_flight"` // calls that run now
	Waiting  int    `json:"waiting"`   // calls that wait now

	Tokens   float64 `json:"tokens"`   // Rate: calls admissible at once, negative while calls wait
	Refusing float64 `json:"refusing"` // Throttle: probability of a refusal now

	// Totals. Abandoned calls are those whose context ended while they waited.
	Admitted  uint64 `json:"admitted"`
	Rejected  uint64 `json:"rejected"`
	Abandoned uint64 `json:"abandoned"`
}

// refusal returns the error that all calls share which g refuses for reason.
func refusal(g breaker.Gate, name, reason string) *breaker.RejectedError {
	return &breaker.RejectedError{Gate: g, Name: name, Reason: reason}
}
