package retryhttp

import (
	"errors"
	"net/http"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

// Transport is an http.RoundTripper that resends what may safely be sent again.
// The zero value is ready to use, and safe for concurrent use while its fields
// do not change. It never modifies the request, and returns the last response
// with its body open when it stops retrying.
//
// A success at once costs nothing beyond Base: no allocation, and no copy of the
// request unless a key, a hedge, an AttemptTimeout or MaxElapsed asks for more.
type Transport struct {
	// Base makes the attempts. Zero means http.DefaultTransport.
	Base http.RoundTripper

	// Policy says when to try again. Its AttemptTimeout bounds the time to the
	// header. Zero means the zero Policy.
	Policy *retry.Policy

	// Hedge hedges every attempt of a replayable request. If it shares Policy's
	// Budget, set its Nested. Zero means none.
	Hedge *hedge.Policy

	// Retryable judges a response or an error; the other argument is nil. A
	// Policy.Retryable must agree. Zero means DefaultRetryable.
	Retryable func(*http.Response, error) bool

	// Idempotent reports whether a request may be sent twice. Zero means
	// DefaultIdempotent.
	Idempotent func(*http.Request) bool

	// IdempotencyKey makes a key for each POST and PATCH that has none: called
	// once per request, it is the same in all attempts. A request whose body
	// cannot be had again gets none, for it is sent once. Zero means none.
	IdempotencyKey func() string

	// DrainBytes are read, within 100 ms, from a response that is given up, so
	// that its connection can be used again. Zero means 64 KiB; negative closes
	// it unread.
	DrainBytes int64
}

var zeroPolicy retry.Policy

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !replayable(r) || !overHTTP(r) {
		return t.base().RoundTrip(r)
	}
	p := t.policy()
	if t.Hedge != nil || p.AttemptTimeout > 0 || p.MaxElapsed > 0 || t.wantsKey(r) || r.Context().Err() != nil {
		return newCall(t, r).do()
	}
	res, err := t.attempt(r)
	if err == nil && !t.retryable(res, nil) {
		if p.Budget != nil {
			p.Budget.Success(1)
		}
		return res, nil
	}
	return newCall(t, r).goOn(res, err)
}

// CloseIdleConnections does so in Base, if that can.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// attempt is a round trip of Base. Responses made by hand, for tests above all,
// may have no Body; http.Client does not mind that either.
func (t *Transport) attempt(r *http.Request) (*http.Response, error) {
	res, err := t.base().RoundTrip(r)
	if err == nil && res.Body == nil {
		res.Body = http.NoBody
	}
	return res, err
}

func (t *Transport) policy() *retry.Policy {
	if t.Policy == nil {
		return &zeroPolicy
	}
	return t.Policy
}

// retryable asks the predicate. If that panics or exits, nobody will get r.
func (t *Transport) retryable(r *http.Response, err error) (yes bool) {
	if t.Retryable == nil {
		return DefaultRetryable(r, err)
	}
	returned := false
	defer func() {
		if !returned && r != nil {
			r.Body.Close()
		}
	}()
	yes = t.Retryable(r, err)
	returned = true
	return yes
}

func (t *Transport) idempotent(r *http.Request) bool {
	if t.Idempotent == nil {
		return DefaultIdempotent(r)
	}
	return t.Idempotent(r)
}

func (t *Transport) wantsKey(r *http.Request) bool {
	return t.IdempotencyKey != nil && (r.Method == http.MethodPost || r.Method == http.MethodPatch) && !hasKey(r.Header)
}

func (t *Transport) drainBytes() int64 {
	if t.DrainBytes == 0 {
		return defaultDrain
	}
	return t.DrainBytes
}

// accepts reports whether the failure err may be retried as far as predicates
// are concerned. Of a *StatusError the Transport's own has judged the response.
func (t *Transport) accepts(err error) bool {
	if _, ok := errors.AsType[*StatusError](err); !ok && !t.retryable(nil, err) {
		return false
	}
	own := t.policy().Retryable
	return own == nil || own(err)
}
