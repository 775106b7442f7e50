package cache_test

import (
	"context"
	"testing/synctest"

	"github.com/keelson-go/keelson/cache"
)

// script is a Bus that delivers what a test tells it to.
type script struct{ messages chan cache.Message }

func newScript() *script { return &script{messages: make(chan cache.Message)} }

func (s *script) Publish(context.Context, cache.Message) error { return nil }

func (s *script) Subscribe(ctx context.Context, _ uint64, deliver func(cache.Message)) error {
	for {
		select {
		case m := <-s.messages:
			deliver(m)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliver returns when the message was applied.
func (s *script) deliver(m cache.Message) {
	s.messages <- m
	synctest.Wait()
}
