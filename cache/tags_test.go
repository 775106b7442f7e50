package cache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// tagged is a loader of values with tags that nobody knows before.
func tagged(loads *int, tags ...string) func(context.Context, string, *cache.Entry[string]) (cache.Entry[string], error) {
	return func(context.Context, string, *cache.Entry[string]) (cache.Entry[string], error) {
		*loads++
		return cache.Entry[string]{Value: fmt.Sprint(*loads), Tags: tags}, nil
	}
}

// T13: tags of the policy, of the entry and of the loader are all tags.
func TestAllTagsCount(t *testing.T) {
	for _, layered := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			loads := 0
			conf := config{LoadEntry: tagged(&loads, "own"), Policy: cache.Policy{TTL: time.Hour, Tags: []string{"all"}}}
			c := open(t, conf)
			other := c
			if layered {
				cluster := cachetest.NewCluster(1)
				c, _ = node(t, cluster, conf)
				other, _ = node(t, cluster, conf)
			}
			assert.Equal(t, "1", get(t, c, "a"))
			assert.Equal(t, "1", get(t, other, "a"))
			for i, tag := range []string{"own", "all"} {
				require.NoError(t, other.InvalidateTags(t.Context(), "unrelated", tag))
				synctest.Wait()
				want := fmt.Sprint(i + 2)
				assert.Equal(t, want, get(t, c, "a"))
				assert.Equal(t, want, get(t, other, "a"))
			}
			require.NoError(t, c.SetEntry(t.Context(), "b", cache.Entry[string]{Value: "x", Tags: []string{"set"}}))
			require.NoError(t, other.InvalidateTags(t.Context(), "set"))
			synctest.Wait()
			assert.Equal(t, "4", get(t, c, "b"))
			e, _ := c.Peek("a")
			assert.Equal(t, []string{"all", "own"}, e.Tags)
		})
	}
}

// T14: of two invalidations of a tag the later stamp stays, in whatever order
// they are heard of.
func TestStampsNeverGoBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Tags: []string{"t"}}}
		n := cluster.Node()
		g := &gated{Remote: n}
		conf.Remote, conf.Bus = g, n
		c := open(t, conf)
		synctest.Wait()
		replies := make(chan struct{})
		g.Remote = slowInvalidate{n, replies}
		done := make(chan error)
		go func() { done <- c.InvalidateTags(t.Context(), "t") }()
		synctest.Wait() // it has taken effect, the reply is on its way
		g.Remote = n
		require.NoError(t, c.InvalidateTags(t.Context(), "t"))
		get(t, c, "a")
		release := src.block()
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		require.NoError(t, c.InvalidateTags(t.Context(), "t"))
		close(replies)
		require.NoError(t, <-done)
		release()
		<-waiting
		_, ok := c.Peek("a")
		assert.False(t, ok, "the oldest stamp must not hide the latest")
	})
}

type slowInvalidate struct {
	cache.Remote
	replies chan struct{}
}

func (s slowInvalidate) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	m, err := s.Remote.Invalidate(ctx, m)
	<-s.replies
	return m, err
}

func TestCostOfATaggedHitIsNoAllocation(t *testing.T) {
	c := open(t, config{Load: newSource("a", "1").load, Policy: cache.Policy{Tags: []string{"t"}}})
	get(t, c, "a")
	ctx := t.Context()
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, "a") }))
}

// A node that links later does not know the stamps of before: it asks.
func TestLateNodeAsksForOlderStamps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		loads := 0
		conf := config{LoadEntry: tagged(&loads, "t"), Policy: cache.Policy{TTL: time.Hour}}
		c, _ := node(t, cluster, conf)
		get(t, c, "a")
		require.NoError(t, c.InvalidateTags(t.Context(), "other"))
		late, _ := node(t, cluster, conf)
		trips := cluster.Trips()
		assert.Equal(t, "1", get(t, late, "a"))
		assert.Equal(t, trips+2, cluster.Trips(), "one more trip, once")
		require.NoError(t, c.InvalidateTags(t.Context(), "t"))
		later, _ := node(t, cluster, conf)
		assert.Equal(t, "2", get(t, later, "a"))
	})
}

func TestForgottenStampsAreAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		loads := 0
		conf := config{LoadEntry: tagged(&loads, "t"), Policy: cache.Policy{TTL: time.Hour}}
		c, _ := node(t, cluster, conf)
		get(t, c, "a")
		var tags []string
		for i := range cache.MaxStamps + 1 {
			tags = append(tags, fmt.Sprint("tag", i))
		}
		require.NoError(t, c.InvalidateTags(t.Context(), tags...))
		assert.Equal(t, "1", get(t, c, "a"), "its own tag is not stamped")
		assert.Equal(t, int64(1), c.Stats().Revalidated)
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, int64(1), c.Stats().Revalidated)
		require.NoError(t, c.InvalidateTags(t.Context(), "t"))
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

func TestClearReachesAllNodesAndL2(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load}
		c, _ := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		get(t, c, "a")
		get(t, other, "a")
		src.put("a", "2")
		require.NoError(t, c.Clear(t.Context()))
		synctest.Wait()
		assert.Equal(t, int64(0), c.Stats().Entries)
		assert.Equal(t, "2", get(t, other, "a"))
		assert.Equal(t, "2", get(t, c, "a"))
		third, _ := node(t, cluster, conf)
		assert.Equal(t, "2", get(t, third, "a"))
		assert.Equal(t, int64(2), src.loads.Load())
	})
}
