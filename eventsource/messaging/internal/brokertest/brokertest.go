// Package brokertest is what the tests of brokers have in common beside the suite of
// package eventtest.
package brokertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Patience is how long a test waits for what must come.
const Patience = 30 * time.Second

// Await returns what ch brings, and ends the test if nothing does.
func Await[E any](t *testing.T, what string, ch <-chan E) (e E) {
	t.Helper()
	select {
	case e = <-ch:
	case <-time.After(Patience):
		t.Fatalf("within %v: %s", Patience, what)
	}
	return e
}

// Join subscribes until the test ends or leave is called, which waits for the end.
func Join(t *testing.T, b messaging.Subscriber, sub messaging.Subscription, h messaging.Handler) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Subscribe(ctx, sub, h)
	}()
	leave = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(leave)
	return leave
}
