package adapter

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Life is the open and the closed state of a broker that owns connections. Make it
// with NewLife.
type Life struct {
	closed error         // what calls return after Close
	done   chan struct{} // closed by Close

	mu    sync.Mutex
	ended bool
	open  sync.WaitGroup // subscriptions
}

// NewLife returns a Life whose calls return closed after Close.
func NewLife(closed error) *Life { return &Life{closed: closed, done: make(chan struct{})} }

// Enter counts a subscription, unless the broker is closed. Leave follows.
func (l *Life) Enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return l.closed
	}
	l.open.Add(1)
	return nil
}

// Leave ends what Enter began.
func (l *Life) Leave() { l.open.Done() }

// Err returns nil, or the error of a closed broker.
func (l *Life) Err() error {
	select {
	case <-l.done:
		return l.closed
	default:
		return nil
	}
}

// Watch calls stop when the broker is closed, and returns then or when ctx ends.
func (l *Life) Watch(ctx context.Context, stop context.CancelCauseFunc) {
	select {
	case <-l.done:
		stop(l.closed)
	case <-ctx.Done():
	}
}

// Close ends the subscriptions and waits for them. It is idempotent.
func (l *Life) Close() {
	l.mu.Lock()
	if !l.ended {
		l.ended = true
		close(l.done)
	}
	l.mu.Unlock()
	l.open.Wait()
}

// Wrap puts the package's name before err, and makes one that ctx caused match its
// cause. Nil stays nil.
func Wrap(ctx context.Context, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", name, context.Cause(ctx), err)
	default:
		return fmt.Errorf("%s: %w", name, err)
	}
}

// Sleep returns after d or when ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
