package saga

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// guard is between the goroutines of a coordinator and its store: a panic or a Goexit
// there is an error of that call. It would else end the process, or leave a saga behind
// that nobody runs, or a lease that nobody renews. Calls from a goroutine of the user's
// do without, but for commits, which are shared.
type guard struct {
	store Store
	log   *slog.Logger

	mu       sync.Mutex
	panicked string // how the store did last
}

// poll is [Store.Poll].
func (g *guard) poll(ctx context.Context, l Lease) (Work, error) {
	return ask(g, "Poll", func() (Work, error) { return g.store.Poll(ctx, l) })
}

// aside runs f, which asks the store for this and that, and hears of errors itself.
func (g *guard) aside(f func()) {
	if _, err := ask(g, "List or Purge", func() (struct{}, error) { f(); return struct{}{}, nil }); err != nil {
		g.log.Warn("saga: the store did not return", "err", err)
	}
}

// ask calls the store in a goroutine of its own, since nothing stops a Goexit. It takes
// about a microsecond, once for a whole commit.
func ask[T any](g *guard, method string, call func() (T, error)) (answer T, err error) {
	done := make(chan struct{})
	go func() {
		returned := false
		defer close(done)
		defer func() {
			if returned {
				return
			}
			if v := recover(); v == nil {
				err = fmt.Errorf("saga: %s of %T ended its goroutine (runtime.Goexit)", method, g.store)
			} else {
				err = fmt.Errorf("saga: %s of %T panicked: %v", method, g.store, v)
				g.report(err.Error(), debug.Stack())
			}
		}()
		answer, err = call()
		returned = true
	}()
	<-done
	return answer, err
}

// report logs a stack, unless it is that of a repeat.
func (g *guard) report(text string, stack []byte) {
	g.mu.Lock()
	repeat := g.panicked == text
	g.panicked = text
	g.mu.Unlock()
	if !repeat {
		g.log.Error(text, "stack", string(stack))
	}
}
