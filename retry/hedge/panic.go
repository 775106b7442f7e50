package hedge

import "fmt"

// PanicError is what the caller's goroutine panics with after a panic on
// another one, in an extra attempt or its discard. Without it that panic would
// end the process, since nobody can recover on a goroutine that is not theirs.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // where
}

// Error gives the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("hedge: panic in an extra attempt: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap gives Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
