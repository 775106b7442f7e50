package retry

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reasons why retrying stopped although the failure was retryable, for
// errors.Is. When a context ended, the reason is its context.Cause.
var (
	// ErrExhausted: MaxAttempts calls failed.
	ErrExhausted = errors.New("retry: attempts exhausted")
	// ErrElapsed: the next attempt would start after MaxElapsed.
	ErrElapsed = errors.New("retry: time is up")
	// ErrBudget: the Budget refused.
	ErrBudget = errors.New("retry: budget refused")
	// ErrRetryAfter: the server asked for more than MaxRetryAfter.
	ErrRetryAfter = errors.New("retry: server asks for too long a wait")
)

// Error says that retrying stopped although the failure was retryable. It matches both
// Err and Reason, and is always a pointer, so that it can be compared.
type Error struct {
	Err      error         // the last failure as fn returned it; nil when fn was never called
	Reason   error         // one of the above, or the cause of the context's end
	Attempts int           // since the start or the last Progress
	Delay    time.Duration // the wait that was due but not completed; 0 when none was
}

// Error gives "retry: <reason> after 3 attempts: <err>".
func (e *Error) Error() string {
	if e == nil {
		return "retry: <nil>"
	}
	plural := "s"
	if e.Attempts == 1 {
		plural = ""
	}
	reason := strings.TrimPrefix(fmt.Sprint(e.Reason), "retry: ")
	text := fmt.Sprintf("retry: %s after %d attempt%s", reason, e.Attempts, plural)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives Err, if set, and Reason.
func (e *Error) Unwrap() []error {
	switch {
	case e == nil:
		return nil
	case e.Err == nil:
		return []error{e.Reason}
	default:
		return []error{e.Err, e.Reason}
	}
}

// Retryable is false, so that outer loops stop too.
func (e *Error) Retryable() bool { return false }

// RetryAfter is the longest delay asked for in Err's tree; 0 when none.
func (e *Error) RetryAfter() time.Duration {
	if e == nil {
		return 0
	}
	var s signs
	s.walk(e.Err)
	return s.delay
}
