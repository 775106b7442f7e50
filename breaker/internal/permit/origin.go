// Package permit holds what the gates of this module share, so that their
// permits are small.
package permit

import "time"

// Origin is what all permits of one issuer have in common, and stands in for
// that issuer. A gate keeps one and its permits point at it: one word in each
// of them instead of three.
//
// It is generic over the outcome, O, because the package that defines outcomes
// imports this one.
type Origin[O any] struct {
	Issuer  Issuer[O]
	Timeout time.Duration // of the calls that it admits; 0 if there is none
}

// Issuer is breaker.Issuer.
type Issuer[O any] interface {
	Settle(token int64, o O, err error)
	Cancel(token int64)
}

// Settle is that of the issuer.
func (g *Origin[O]) Settle(token int64, o O, err error) { g.Issuer.Settle(token, o, err) }

// Cancel is that of the issuer.
func (g *Origin[O]) Cancel(token int64) { g.Issuer.Cancel(token) }
