package breakerhttp

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// StatusError is the error that a response with a bad status stands for.
type StatusError struct {
	Code int
	// Delay is what the header Retry-After asks for, in seconds or as a date.
	// A date counts from the header Date if there is one: the clocks of two
	// hosts need not agree. 0 if it is absent, past or malformed.
	Delay time.Duration
}

// Error names the status, such as "503 Service Unavailable".
func (e *StatusError) Error() string {
	return fmt.Sprintf("%d %s", e.Code, http.StatusText(e.Code))
}

// RetryAfter returns Delay, which a breaker takes as the time to stay open.
func (e *StatusError) RetryAfter() time.Duration { return e.Delay }

// failed reports whether a server with this status is unwell: all of 5xx but
// 501, which says that it will never do such a thing.
func failed(status int) bool {
	return status >= 500 && status <= 599 && status != http.StatusNotImplemented
}

// judge is the default of Transport.Judge.
func judge(r *http.Response) error {
	if failed(r.StatusCode) || r.StatusCode == http.StatusTooManyRequests {
		return &StatusError{Code: r.StatusCode, Delay: retryAfter(r.Header)}
	}
	return nil
}

// retryAfter reads the header Retry-After (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		if seconds > math.MaxInt64/uint64(time.Second) {
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}
