package eventsource

import (
	"fmt"
	"runtime/debug"
)

// A crash is a panic of the user's code on a worker's goroutine, on its way to
// the caller of Run.
type crash struct {
	value any
	stack []byte
}

// crashed keeps what was recovered, nil if nothing was.
func crashed(value any) *crash {
	if value == nil {
		return nil
	}
	if c, ok := value.(*crash); ok {
		return c
	}
	return &crash{value: value, stack: debug.Stack()}
}

// Error is what a crash of the program prints first.
func (c *crash) Error() string {
	return fmt.Sprintf("eventsource: panic in a projection: %v\n\n%s", c.value, c.stack)
}

// resume goes on with the panic on this goroutine. Whoever recovers gets the
// value itself; a program that ends by it prints c as well, and so the stack of
// where it happened.
func (c *crash) resume() {
	defer panic(c.value)
	panic(c)
}
