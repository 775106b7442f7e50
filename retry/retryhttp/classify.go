package retryhttp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// StatusError is a retryable response as events, predicates and budgets see it.
// Callers of the client get the response.
type StatusError struct {
	Code  int
	After time.Duration // from Retry-After; 0 when absent
}

// Error gives "retryhttp: 503 Service Unavailable".
func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("retryhttp: %d %s", e.Code, http.StatusText(e.Code)))
}

// RetryAfter is After.
func (e *StatusError) RetryAfter() time.Duration { return e.After }

// DefaultRetryable reports whether a response or an error, one of which is nil,
// is worth another attempt: the statuses 408, 425, 429, 500, 502, 503 and 504,
// and all errors but those that will not go away. These are the ones that
// retry.DefaultRetryable refuses and, by type and never by text, those of
// certificates, of a peer that does not speak TLS or HTTP, and of a scheme that
// does not match.
func DefaultRetryable(r *http.Response, err error) bool {
	if err != nil {
		return retry.DefaultRetryable(err) && !hopeless(err)
	}
	if r == nil {
		return false
	}
	switch r.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// hopeless reports whether err will be the same next time.
func hopeless(err error) bool {
	//lint:ignore SA1019 net/http says that not all of its protocol errors have this type; those that do are meant
	mismatch := is[*http.ProtocolError](err) || errors.Is(err, http.ErrSchemeMismatch)
	return mismatch ||
		is[tls.RecordHeaderError](err) ||
		is[*tls.CertificateVerificationError](err) ||
		is[x509.CertificateInvalidError](err) ||
		is[x509.ConstraintViolationError](err) ||
		is[x509.HostnameError](err) ||
		is[x509.InsecureAlgorithmError](err) ||
		is[x509.SystemRootsError](err) ||
		is[x509.UnhandledCriticalExtension](err) ||
		is[x509.UnknownAuthorityError](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// unsent reports whether err says that no connection came about, so that the
// server cannot have seen the request.
func unsent(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// DefaultIdempotent reports whether r may be sent twice: by its method (GET,
// HEAD, OPTIONS, TRACE, PUT, DELETE), or since an Idempotency-Key or
// X-Idempotency-Key header lets the server tell the second from the first.
func DefaultIdempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	default:
		return hasKey(r.Header)
	}
}

const keyHeader = "Idempotency-Key"

func hasKey(h http.Header) bool {
	return len(h[keyHeader]) > 0 || len(h["X-"+keyHeader]) > 0
}

// replayable reports whether r's body, if any, can be had again.
func replayable(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// overHTTP reports whether r is for the network: other schemes are protocols
// registered with http.Transport, or mistakes.
func overHTTP(r *http.Request) bool {
	return r.URL != nil && slices.Contains([]string{"http", "https"}, r.URL.Scheme)
}
