// Package wiring marks errors of a program that is put together wrongly, for
// packages of this tree that meet them within a function of the user's.
package wiring

// Error ends a projection's Run although Apply returned it: no event is to
// blame, none would get through, and so none may be parked.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err, an eventsource.ErrInvalid.
func (e *Error) Unwrap() error { return e.Err }
