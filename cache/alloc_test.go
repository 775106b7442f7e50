package cache_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestAllocations(t *testing.T) {
	ctx := context.Background()
	allocs := func(what string, most float64, f func()) {
		t.Helper()
		n := testing.AllocsPerRun(500, f)
		assert.True(t, n <= most, "%s: %v allocations, at most %v", what, n, most)
	}
	src := newSource("a", "1")
	c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, NotFoundTTL: time.Hour}})
	get(t, c, "a")
	_, _ = c.Get(ctx, "absent")
	allocs("hit", 0, func() { _, _ = c.Get(ctx, "a") })
	allocs("GetEntry", 0, func() { _, _ = c.GetEntry(ctx, "a") })
	allocs("absent hit", 0, func() { _, _ = c.Get(ctx, "absent") })
	allocs("Peek", 0, func() { c.Peek("a") })
	allocs("Set of a present key", 1, func() { _ = c.Set(ctx, "a", "2") })
	var keys []string
	for i := range 1000 {
		keys = append(keys, strconv.Itoa(i))
	}
	allocs("Set of a new key", 2, func() { _ = c.Set(ctx, keys[0], "2"); keys = keys[1:] })
	loads := open(t, cache.Config[string, string]{
		Load:   func(context.Context, string) (string, error) { return "v", nil },
		Policy: cache.Policy{TTL: time.Hour, StaleIfError: time.Hour},
	})
	allocs("load", 16, func() {
		_, _ = loads.Get(ctx, "a")
		_ = loads.Invalidate(ctx, "a")
	})
}

func TestAllocationsOfAStaleHit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		first := true
		c := open(t, config{
			Policy: cache.Policy{TTL: time.Second, Stale: time.Hour, LoadTimeout: time.Hour},
			Load: func(ctx context.Context, _ string) (string, error) {
				if first {
					first = false
					return "1", nil
				}
				select {
				case <-gate:
				case <-ctx.Done():
				}
				return "2", nil
			},
		})
		get(t, c, "a")
		time.Sleep(time.Second)
		get(t, c, "a")
		synctest.Wait()
		ctx := t.Context()
		require.Equal(t, 1, cache.Running(c))
		assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, "a") }))
		close(gate)
	})
}
