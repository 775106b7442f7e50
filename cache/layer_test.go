package cache_test

import (
	"context"
	"encoding"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T18: lives of layers do not add up.
func TestL1NeverOutlivesL2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: 10 * time.Second, LocalTTL: 8 * time.Second}}
		c, _ := node(t, cluster, conf)
		other, n := node(t, cluster, conf)
		get(t, c, "a")
		time.Sleep(5 * time.Second)
		e, _ := c.Peek("a")
		assert.Equal(t, 3*time.Second, e.TTL, "LocalTTL")
		n.SetFaults(cachetest.Faults{Latency: 200 * time.Millisecond})
		get(t, other, "a")
		e, ok := other.Peek("a")
		require.True(t, ok)
		assert.True(t, e.TTL <= 5*time.Second, "%v", e.TTL)
		assert.True(t, e.Age >= 5*time.Second, "%v", e.Age)
		time.Sleep(3 * time.Second)
		_, ok = c.Peek("a")
		assert.False(t, ok)
		v, err := c.GetEntry(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, cache.LayerRemote, v.Layer)
		assert.True(t, v.TTL < 2*time.Second)
		assert.Equal(t, int64(1), src.loads.Load())
	})
}

// T19: what cannot be read is a miss, once, and is written over.
func TestUndecodableRecordIsOneMiss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		c, _ := node(t, cluster, config{Load: src.load, Schema: 1})
		get(t, c, "a")
		var events recorder
		next, _ := node(t, cluster, config{Load: src.load, Schema: 2, OnEvent: events.on})
		assert.Equal(t, "1", get(t, next, "a"))
		assert.Equal(t, int64(2), src.loads.Load())
		assert.Equal(t, int64(1), next.Stats().Undecodable)
		assert.Equal(t, 1, len(events.of(cache.EventUndecodable)))
		third, _ := node(t, cluster, config{Load: src.load, Schema: 2})
		get(t, third, "a")
		assert.Equal(t, int64(2), src.loads.Load(), "it was overwritten")
	})
}

// T26: between publishing a value and freeing the slot nobody begins a second load.
func TestNobodyLoadsBetweenPublishAndRelease(t *testing.T) {
	for range 200 {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load})
		done := make(chan struct{})
		for range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				for range 20 {
					_, _ = c.Get(context.Background(), "a")
				}
			}()
		}
		for range 8 {
			<-done
		}
		require.Equal(t, int64(1), src.loads.Load())
	}
}

func TestOneLoadPerCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		src.delay = 3 * time.Second // the lease is extended
		var calls []<-chan outcome
		for range 8 {
			c, _ := node(t, cluster, config{Load: src.load})
			calls = append(calls, async(t.Context(), c, "a"))
		}
		for _, call := range calls {
			got := <-call
			assert.Equal(t, "1", got.value)
			assert.True(t, got.took <= 3050*time.Millisecond, "%v", got.took)
		}
		assert.Equal(t, int64(1), src.loads.Load())
	})
}

func TestOneRefreshPerCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: time.Minute}}
		var caches []*store
		for range 4 {
			c, _ := node(t, cluster, conf)
			get(t, c, "a")
			caches = append(caches, c)
		}
		time.Sleep(2 * time.Second)
		src.put("a", "2")
		src.delay = time.Second
		late, _ := node(t, cluster, conf) // it finds a stale record in L2
		for _, c := range append(caches, late) {
			e, err := c.GetEntry(t.Context(), "a")
			require.NoError(t, err)
			assert.True(t, e.Stale)
		}
		synctest.Wait()
		assert.Equal(t, int64(2), src.loads.Load())
		time.Sleep(1500 * time.Millisecond)
		for _, c := range append(caches, late) {
			get(t, c, "a")
			synctest.Wait()
			assert.Equal(t, "2", get(t, c, "a"))
		}
	})
}

func TestRefreshLoadsPastBothLayers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		c, _ := node(t, cluster, config{Load: src.load})
		other, _ := node(t, cluster, config{Load: src.load})
		get(t, c, "a")
		src.put("a", "2")
		v, err := c.Refresh(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, "2", v)
		assert.Equal(t, "2", get(t, c, "a"))
		assert.Equal(t, "2", get(t, other, "a"))
	})
}

func TestLookupDoesNotLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		c, _ := node(t, cluster, config{Load: src.load})
		other, _ := node(t, cluster, config{Load: src.load})
		e, err := c.Lookup(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound)
		assert.Equal(t, cache.LayerSource, e.Layer)
		release := src.block()
		call := async(t.Context(), c, "a")
		synctest.Wait()
		_, err = c.Lookup(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound, "it does not wait for the load either")
		release()
		<-call
		e, err = other.Lookup(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, cache.LayerRemote, e.Layer)
		assert.True(t, e.Version != 0)
		e, _ = other.Lookup(t.Context(), "a")
		assert.Equal(t, cache.LayerLocal, e.Layer)
		assert.Equal(t, int64(1), src.loads.Load())
	})
}

// stamp marshals itself; only the pointer can unmarshal.
type stamp struct{ n int }

func (s stamp) MarshalBinary() ([]byte, error) { return fmt.Append(nil, s.n), nil }

func (s *stamp) UnmarshalBinary(data []byte) error {
	_, err := fmt.Sscan(string(data), &s.n)
	return err
}

var _ encoding.BinaryUnmarshaler = (*stamp)(nil)

func roundTrip[V any](t *testing.T, values ...V) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		var caches []*cache.Cache[int, V]
		for range 2 {
			n := cluster.Node()
			c, err := cache.New(cache.Config[int, V]{Remote: n, Bus: n})
			require.NoError(t, err)
			defer c.Close()
			caches = append(caches, c)
		}
		synctest.Wait()
		for i, v := range values {
			require.NoError(t, caches[0].Set(t.Context(), i, v))
			synctest.Wait()
			got, err := caches[1].Get(t.Context(), i)
			require.NoError(t, err)
			assert.Equal(t, v, got)
		}
	})
}

// T16, through L2: the default codecs bring back every value, nil pointers too.
func TestDefaultCodecsBringBackEveryValue(t *testing.T) {
	roundTrip(t, "", "*", "null", "\x00\xff")
	roundTrip(t, []byte{}, []byte("*"))
	roundTrip(t, 0, -1, math.MaxInt)
	roundTrip(t, struct{ A, B int }{}, struct{ A, B int }{1, 2})
	roundTrip(t, stamp{}, stamp{7})
	roundTrip(t, nil, &stamp{}, &stamp{7})
	roundTrip(t, nil, new(int))
	roundTrip[map[string]int](t, nil, map[string]int{"a": 1})
}

func TestShortLivesAreRoundedUpInL2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: 300 * time.Microsecond}}
		c, _ := node(t, cluster, conf)
		get(t, c, "a")
		other, _ := node(t, cluster, conf)
		get(t, other, "a")
		assert.Equal(t, int64(1), src.loads.Load())
		time.Sleep(time.Millisecond)
		get(t, other, "a")
		assert.Equal(t, int64(2), src.loads.Load())
	})
}
