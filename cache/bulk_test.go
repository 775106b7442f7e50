package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// bulk counts how often each key is loaded by loadMany.
type bulk struct {
	mu    sync.Mutex
	calls int
	loads map[string]int
	gate  chan struct{}
}

func (b *bulk) loadMany(ctx context.Context, keys []string) (map[string]string, error) {
	b.mu.Lock()
	if b.loads == nil {
		b.loads = make(map[string]int)
	}
	b.calls++
	values := make(map[string]string)
	var err error
	for _, key := range keys {
		b.loads[key]++
		switch key {
		case "absent":
		case "broken":
			err = errBroken
		default:
			values[key] = "v" + key
		}
	}
	gate := b.gate
	b.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return values, err
}

func TestGetManyTakesTwoTrips(t *testing.T) {
	for _, each := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			cluster := cachetest.NewCluster(1)
			var src bulk
			conf := config{LoadMany: src.loadMany, Policy: cache.Policy{TTL: time.Hour, NotFoundTTL: time.Hour}}
			if each {
				conf.LoadMany, conf.Load = nil, func(ctx context.Context, key string) (string, error) {
					m, err := src.loadMany(ctx, []string{key})
					if v, ok := m[key]; ok {
						return v, nil
					}
					return "", errors.Join(err, cache.ErrNotFound)
				}
			}
			c, _ := node(t, cluster, conf)
			other, _ := node(t, cluster, conf)
			trips := func(c *store, n int64, keys ...string) {
				t.Helper()
				before := cluster.Trips()
				got, err := c.GetMany(t.Context(), keys)
				assert.NoError(t, err)
				assert.Equal(t, n, cluster.Trips()-before)
				for _, key := range keys {
					v, ok := got[key]
					assert.Equal(t, key != "absent", ok)
					assert.Equal(t, ok, v == "v"+key)
				}
			}
			trips(c, 2, "1", "2", "2", "absent")
			trips(c, 0, "2", "1", "absent")
			trips(other, 1, "1", "2", "absent")
			trips(other, 2, "1", "2", "3", "4", "absent")
			trips(c, 2, "3", "5")
			if !each {
				assert.Equal(t, 3, src.calls)
			}
			assert.Equal(t, map[string]int{"1": 1, "2": 1, "3": 1, "4": 1, "5": 1, "absent": 1}, src.loads)
		})
	}
}

func TestTripsOfOneKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		conf := config{Load: newSource("a", "1").load, Policy: cache.Policy{TTL: time.Hour}}
		c, _ := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		trips := func(what string, n int64, f func()) {
			t.Helper()
			before := cluster.Trips()
			f()
			assert.Equal(t, n, cluster.Trips()-before, what)
		}
		trips("miss", 2, func() { get(t, c, "a") })
		trips("hit in L1", 0, func() { get(t, c, "a") })
		trips("hit in L2", 1, func() { get(t, other, "a") })
		trips("Invalidate", 1, func() { assert.NoError(t, c.Invalidate(t.Context(), "a")) })
		trips("InvalidateTags", 1, func() { assert.NoError(t, c.InvalidateTags(t.Context(), "a")) })
		trips("Set", 2, func() { assert.NoError(t, c.Set(t.Context(), "a", "1")) })
	})
}

// T28: two calls that want the same key load it once.
func TestOverlappingGetManyLoadOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := bulk{gate: make(chan struct{})}
		c := open(t, config{LoadMany: src.loadMany})
		var wg sync.WaitGroup
		for _, keys := range [][]string{{"1", "2"}, {"2", "3"}, {"3", "1"}} {
			wg.Go(func() {
				got, err := c.GetMany(t.Context(), keys)
				assert.NoError(t, err)
				assert.Equal(t, 2, len(got))
			})
			synctest.Wait()
		}
		close(src.gate)
		wg.Wait()
		assert.Equal(t, map[string]int{"1": 1, "2": 1, "3": 1}, src.loads)
	})
}

// T29: who leaves leaves his own keys alone, and cancels them if nobody else wants
// one of them.
func TestCancelledGetManySparesOtherCallers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := bulk{gate: make(chan struct{})}
		c := open(t, config{LoadMany: src.loadMany})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := c.GetMany(ctx, []string{"1", "2"})
			first <- err
		}()
		synctest.Wait()
		second := async(t.Context(), c, "2")
		synctest.Wait()
		cancel()
		assert.ErrorIs(t, <-first, context.Canceled)
		synctest.Wait()
		assert.Equal(t, 1, cache.Running(c), "the slot of 1 is free")
		close(src.gate)
		assert.Equal(t, "v2", (<-second).value)
		assert.Equal(t, map[string]int{"1": 1, "2": 1}, src.loads)

		src.gate = make(chan struct{})
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			_, err := c.GetMany(ctx, []string{"5", "6"})
			first <- err
		}()
		synctest.Wait()
		cancel()
		<-first
		synctest.Wait() // the load ends by its ctx, or the bubble would never
		assert.Equal(t, 0, cache.Running(c))
	})
}

func TestOneFailingKeySpoilsNoOther(t *testing.T) {
	var src bulk
	c := open(t, config{LoadMany: src.loadMany})
	got, err := c.GetMany(t.Context(), []string{"1", "broken", "2"})
	assert.Equal(t, map[string]string{"1": "v1", "2": "v2"}, got)
	failure, ok := errors.AsType[*cache.LoadError](err)
	require.True(t, ok)
	assert.Equal(t, any("broken"), failure.Key)
	assert.ErrorIs(t, err, errBroken)
}

func TestGetManyLoadsSixteenAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		running, most := 0, 0
		var mu sync.Mutex
		c := open(t, config{Load: func(_ context.Context, key string) (string, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return key, nil
		}})
		var keys []string
		for i := range 64 {
			keys = append(keys, fmt.Sprint(i))
		}
		begun := time.Now()
		got, err := c.GetMany(t.Context(), keys)
		assert.NoError(t, err)
		assert.Equal(t, 64, len(got))
		assert.Equal(t, 16, most)
		assert.Equal(t, 4*time.Second, time.Since(begun))
		assert.True(t, slices.Contains(keys, got["7"]))
	})
}

// Leases of others are polled for beside the loads of one's own, or two nodes could
// wait for each other.
func TestGetManyLoadsItsOwnWhileOthersHoldTheRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		slow, quick := bulk{gate: make(chan struct{})}, bulk{}
		c, _ := node(t, cluster, config{LoadMany: slow.loadMany})
		other, _ := node(t, cluster, config{LoadMany: quick.loadMany})
		waiting := async(t.Context(), c, "1")
		synctest.Wait()
		done := make(chan map[string]string)
		go func() {
			got, err := other.GetMany(t.Context(), []string{"1", "2"})
			assert.NoError(t, err)
			done <- got
		}()
		time.Sleep(100 * time.Millisecond)
		e, ok := other.Peek("2")
		assert.True(t, ok)
		assert.Equal(t, "v2", e.Value)
		close(slow.gate)
		assert.Equal(t, "v1", (<-waiting).value)
		assert.Equal(t, 2, len(<-done))
		assert.Equal(t, map[string]int{"2": 1}, quick.loads)
	})
}
