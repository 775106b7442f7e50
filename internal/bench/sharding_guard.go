package main

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/sharding"
)

func benchGuard(b *testing.B) {
	r := routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(1)}))
	g, ctx := r.Guard("node-0"), context.Background()
	rt := must(r.Route("user:1"))
	f := func(context.Context) error { return nil }
	for b.Loop() {
		if err := g.Write(ctx, "user:0000001", rt, f); err != nil {
			b.Fatal(err)
		}
	}
}

// benchUnfenced is what a guard cannot do without: a look-up of the key, and
// the count of the calls that run, which a panic must not leave behind.
func benchUnfenced(b *testing.B) {
	r, ctx := routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(1)})), context.Background()
	f := func(context.Context) error { return nil }
	for b.Loop() {
		if err := unfenced(ctx, r, "user:0000001", f); err != nil {
			b.Fatal(err)
		}
	}
}

var running atomic.Int64

//go:noinline
func unfenced(ctx context.Context, r *sharding.Router[string], key string, f func(context.Context) error) error {
	running.Add(1)
	defer running.Add(-1)
	if _, err := r.Route(key); err != nil {
		return err
	}
	return f(ctx)
}

func benchRLock(b *testing.B) {
	var mu sync.RWMutex
	n := 0
	for b.Loop() {
		mu.RLock()
		n++ // one goroutine
		mu.RUnlock()
	}
	sink.Add(uint64(n))
}
