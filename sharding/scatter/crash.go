package scatter

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A crash is a panic or a Goexit of f, on its way to the caller.
type crash struct {
	value any    // nil: Goexit
	stack []byte // of f's goroutine
}

// PanicError is what a panic in f becomes on the caller's goroutine: the value
// that f panicked with, and the stack of where it did.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("scatter: panic: %v\n\n%s", e.Value, e.Stack) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// crashed keeps the first crash and cancels the other calls.
func (g *gather) crashed(value any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.crash == nil {
		g.crash = &crash{value: value, stack: debug.Stack()}
	}
	g.next = g.n // nothing more begins
	g.cancel(ErrSkipped)
}

// resume goes on with the crash on this goroutine.
func (c *crash) resume() {
	if c.value == nil {
		runtime.Goexit()
	}
	panic(&PanicError{c.value, c.stack})
}
