package breaker

import (
	"context"
	"errors"
	"time"
)

// ErrRejected matches every refusal of every gate.
var ErrRejected = errors.New("breaker: rejected")

// ErrTimeout is the cause of a context that ended by [Config.Timeout]. It
// matches context.DeadlineExceeded, and its method Timeout() reports true.
var ErrTimeout error = timeoutError{}

type timeoutError struct{}

func (timeoutError) Error() string        { return "breaker: call timed out" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded } //nolint:errorlint // this is Is

// RejectedError says that a gate refused a call. It matches [ErrRejected].
//
// Many calls share one RejectedError, which is why a refusal does not
// allocate; do not modify it. Cause is not unwrapped, since it is the failure
// of another call: a caller that looks for io.EOF asks about its own call.
type RejectedError struct {
	Gate Gate   // who refused
	Name string // the name of Gate
	// Reason is what kept the call out: "open", "half-open", "held" or
	// "ramp" from a Breaker, "full", "wait", "rate", "throttle" or
	// "adaptive" from a gate of package limit, "fleet" from a verdict that
	// many processes share.
	Reason string
	Cause  error // the failure that opened the breaker; may be nil
}

// Error names the gate, the reason and the cause.
func (e *RejectedError) Error() string {
	s := ErrRejected.Error()
	if e.Name != "" {
		s += " by " + e.Name
	}
	s += " (" + e.Reason + ")"
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Is reports whether target is ErrRejected.
func (e *RejectedError) Is(target error) bool { return target == ErrRejected } //nolint:errorlint // this is Is

// Retryable reports false: to call again at once cannot help.
func (e *RejectedError) Retryable() bool { return false }

// RetryAfter returns how long it takes until Gate may admit a call again. It
// asks Gate now, so the answer shrinks while time passes. Zero means that
// Gate cannot say.
func (e *RejectedError) RetryAfter() time.Duration {
	if g, ok := e.Gate.(interface{ RetryAfter() time.Duration }); ok {
		return g.RetryAfter()
	}
	return 0
}
