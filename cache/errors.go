package cache

import (
	"context"
	"fmt"
	"time"
)

// What calls fail with. Each has a method Retryable() bool, which package retry
// of this module obeys: false for all but ErrLoadTimeout.
var (
	// ErrNotFound says that the source has no such key. Loaders return it, also
	// wrapped, and callers get it bare.
	ErrNotFound error = &fault{text: "cache: not found"}

	// ErrClosed says that [Cache.Close] was called.
	ErrClosed error = &fault{text: "cache: closed"}

	// ErrLoadTimeout says that [Policy.LoadTimeout] ended a load. It matches
	// context.DeadlineExceeded.
	ErrLoadTimeout error = &fault{text: "cache: load timed out", retryable: true}

	// ErrRemote says that the Remote failed, or is known to be down and was not
	// asked.
	ErrRemote error = &fault{text: "cache: remote is down"}

	// ErrPending says that an invalidation took effect on this node, was not
	// acknowledged, and is replayed by the cache until it is. Do not retry it.
	ErrPending error = &fault{text: "cache: invalidation kept for replay"}
)

type fault struct {
	text      string
	retryable bool
}

func (f *fault) Error() string   { return f.text }
func (f *fault) Retryable() bool { return f.retryable }
func (f *fault) Timeout() bool   { return f.retryable }

// Is lets the one timeout match context.DeadlineExceeded.
func (f *fault) Is(target error) bool {
	return f.retryable && target == context.DeadlineExceeded //nolint:errorlint // this is Is
}

// LoadError says that the load of a key failed. It matches [ErrLoadTimeout] and
// context.DeadlineExceeded if [Policy.LoadTimeout] ended it, and Unwrap reaches
// what the loader returned.
type LoadError struct {
	Key     any
	Err     error
	Elapsed time.Duration // since the load was asked for
}

// Error names the key and the cause.
func (e *LoadError) Error() string {
	return fmt.Sprintf("cache: load of %v failed after %v: %v", e.Key, e.Elapsed, e.Err)
}

// Is reports whether target is ErrLoadTimeout and LoadTimeout ended the load.
func (e *LoadError) Is(target error) bool {
	if target != ErrLoadTimeout { //nolint:errorlint // this is Is
		return false
	}
	_, late := e.Err.(*lateError) //nolint:errorlint // a timeout of another cache further down is Unwrap's to find
	return late || e.Err == ErrLoadTimeout
}

// Unwrap returns the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// lateError is what a loader returned after its time was up.
type lateError struct{ err error }

func (e *lateError) Error() string   { return ErrLoadTimeout.Error() + ": " + e.err.Error() }
func (e *lateError) Unwrap() []error { return []error{ErrLoadTimeout, e.err} }

// PanicError is what each caller that waits for a load panics with if the load
// panicked. A panic that nobody waits for is not recovered: it ends the program
// with its own stack.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error gives the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("cache: a load panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errGoexit is the cause where a loader called runtime.Goexit.
var errGoexit = &fault{text: "cache: the loader called runtime.Goexit"}

// remoteError matches ErrRemote and the cause.
func remoteError(cause error) error {
	if cause == nil || cause == ErrRemote { //nolint:errorlint // the bare one
		return ErrRemote
	}
	return fmt.Errorf("%w: %w", ErrRemote, cause)
}
