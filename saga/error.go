package saga

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of this package and its stores, for errors.Is. Each says of itself,
// by a method Retryable() bool, that the same call again does not help.
var (
	// ErrNotFound: no saga has this id.
	ErrNotFound error = &sentinel{"saga: not found"}
	// ErrConflict: the saga is not in a state for the command, or its id belongs
	// to another input.
	ErrConflict error = &sentinel{"saga: conflict"}
	// ErrFenced: another process owns the saga by now. It is also the cause with
	// which the context of a call ends whose process lost its lease.
	ErrFenced error = &sentinel{"saga: fenced"}
	// ErrPastPivot: the saga has passed its pivot and only goes forward.
	ErrPastPivot error = &sentinel{"saga: past the pivot"}
	// ErrTerminal: the saga has ended.
	ErrTerminal error = &sentinel{"saga: ended"}
	// ErrCompensated is matched by an [Error] whose saga undid everything.
	ErrCompensated error = &sentinel{"saga: compensated"}
)

type sentinel struct{ text string }

func (e *sentinel) Error() string   { return e.text }
func (e *sentinel) Retryable() bool { return false }

// Error says how a saga stands that did not complete.
type Error struct {
	// ID and Name are those of the saga and its definition.
	ID, Name string

	// Step is that of the first failure; of a Stuck saga, the one that is stuck.
	Step string

	// State is Compensated, Abandoned or Stuck.
	State State

	// Code of the first failure: what a method Code() string of the error
	// returned, or one of deadline, cancelled, reversed, hung, history, claims,
	// incompatible. May be empty.
	Code string

	// Cause is the text of the first failure.
	Cause string

	// Undo holds the failures of undos, oldest first.
	Undo []string

	// Left names the steps whose effect is, or may be, still there.
	Left []string
}

// Error gives `saga: order-17 (order) compensated: pay: card declined`.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "saga: %s (%s) %v", e.ID, e.Name, e.State)
	if e.Step != "" {
		fmt.Fprintf(&b, ": %s", e.Step)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s", e.Code)
	}
	if e.Cause != "" && e.Cause != e.Code {
		fmt.Fprintf(&b, ": %s", e.Cause)
	}
	if len(e.Undo) > 0 {
		fmt.Fprintf(&b, "; undo: %s", strings.Join(e.Undo, "; "))
	}
	if len(e.Left) > 0 {
		fmt.Fprintf(&b, "; left in place: %s", strings.Join(e.Left, ", "))
	}
	return b.String()
}

// Is reports whether target is [ErrCompensated] and everything is undone.
func (e *Error) Is(target error) bool {
	return target == ErrCompensated && e.State == Compensated //nolint:errorlint // this is Is
}

// Retryable reports false: the saga has done its retries.
func (e *Error) Retryable() bool { return false }

// codeOf is what an error says about itself for machines, at most 64 bytes.
func codeOf(err error) string {
	var says interface{ Code() string }
	if errors.As(err, &says) {
		return clip(says.Code(), 64)
	}
	return ""
}
