package retry

import "time"

// Permanent marks err: a retry cannot help. Do and its kin return an error that
// has the mark anywhere in its tree at once, as it is. The mark changes neither
// the text nor what errors.Is and errors.As find. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// After marks err: a retry may help, but not before d has passed; d <= 0 means
// no minimum. It is for what a server says, such as a Retry-After header. The
// mark changes neither the text nor what errors.Is and errors.As find.
// After(d, nil) is nil.
func After(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &afterError{err, max(d, 0)}
}

// The marks show their meaning as methods too, so that packages that know
// nothing of this one understand them.

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Retryable() bool { return false }

type afterError struct {
	err   error
	delay time.Duration
}

func (e *afterError) Error() string             { return e.err.Error() }
func (e *afterError) Unwrap() error             { return e.err }
func (e *afterError) Retryable() bool           { return true }
func (e *afterError) RetryAfter() time.Duration { return e.delay }
