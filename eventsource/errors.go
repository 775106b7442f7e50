package eventsource

import "fmt"

// The errors of this package and its stores, for errors.Is. Each has a method
// Retryable() bool, which package retry and others understand, and says false:
// the same call again does not help, or is harmless only in the hands of a
// caller who gave the events their ids.
var (
	// ErrConflict: a condition does not hold, see [ConflictError]. Nothing was
	// written. Read and decide again.
	ErrConflict error = &sentinel{"eventsource: conflict"}
	// ErrTracked: a Track condition does not hold, see [ConflictError]. It was
	// done before. Skip.
	ErrTracked error = &sentinel{"eventsource: already tracked"}
	// ErrInvalid: the call breaks a rule. The text names the field, its value
	// and what is allowed. Nothing was written.
	ErrInvalid error = &sentinel{"eventsource: invalid"}
	// ErrUnknownType: the codec has no Go type for a stored name, or a newer
	// schema of it. Deploy the codec that wrote it.
	ErrUnknownType error = &sentinel{"eventsource: unknown event type"}
	// ErrUncertain: the events are written, or they are not. Append the same
	// ids again: a Duplicate says that they were.
	ErrUncertain error = &sentinel{"eventsource: outcome unknown"}
	// ErrFenced: the checkpoint has another owner by now, who goes on.
	ErrFenced error = &sentinel{"eventsource: fenced"}
	// ErrCorrupt: the stored bytes are damaged, or a checkpoint is beyond Head
	// after a restored backup. An operator decides; nothing is cut.
	ErrCorrupt error = &sentinel{"eventsource: corrupt"}
	// ErrClosed: the store was closed.
	ErrClosed error = &sentinel{"eventsource: closed"}
)

type sentinel struct{ text string }

func (e *sentinel) Error() string   { return e.text }
func (e *sentinel) Retryable() bool { return false }

// ConflictError says which condition of an append did not hold, the first in
// the order given. It matches [ErrTracked] if that is a [Track], else
// [ErrConflict].
type ConflictError struct {
	Condition Condition
	Index     int      // of Condition among those of the append
	Version   uint64   // the stream's actual version (AtVersion, NoStream, Exists)
	Position  Position // of the newest match (NoneSince), or what is tracked (Track)
}

// Error gives
// `eventsource: conflict: AtVersion("account-7", 3): the version is 5`.
func (e *ConflictError) Error() string {
	switch e.Condition.kind {
	case kindNoneSince:
		return fmt.Sprintf("%v: %v: position %d matches", ErrConflict, e.Condition, e.Position)
	case kindTrack:
		return fmt.Sprintf("%v: %v: position %d is", ErrTracked, e.Condition, e.Position)
	default:
		return fmt.Sprintf("%v: %v: the version is %d", ErrConflict, e.Condition, e.Version)
	}
}

// Is reports whether target is the sentinel of the condition's kind.
func (e *ConflictError) Is(target error) bool {
	if e.Condition.kind == kindTrack {
		return target == ErrTracked //nolint:errorlint // this is Is
	}
	return target == ErrConflict //nolint:errorlint // this is Is
}

// Retryable reports false: decide again, do not resend.
func (e *ConflictError) Retryable() bool { return false }
