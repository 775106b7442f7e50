package cache_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T41: a Remote that does not answer costs a caller RemoteTimeout once, and when
// that has happened three times, nothing.
func TestDeadRemoteCostsOneTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1", "b", "2", "c", "3", "d", "4")
		var events recorder
		c, n := node(t, cluster, config{Load: src.load, OnEvent: events.on})
		n.Cut()
		for i, key := range []string{"a", "b", "c", "d"} {
			got := <-async(t.Context(), c, key)
			require.NoError(t, got.err)
			want := 250 * time.Millisecond
			if i == 3 {
				want = 0
			}
			assert.Equal(t, want, got.took, key)
		}
		assert.False(t, c.Stats().RemoteUp)
		begun := time.Now()
		err := c.Invalidate(t.Context(), "a")
		assert.ErrorIs(t, err, cache.ErrPending)
		assert.ErrorIs(t, err, cache.ErrRemote)
		assert.Equal(t, time.Duration(0), time.Since(begun))
		n.Heal()
		time.Sleep(time.Minute)
		assert.True(t, c.Stats().RemoteUp)
		health := events.of(cache.EventRemoteDown, cache.EventRemoteUp)
		require.Equal(t, 2, len(health))
		assert.Equal(t, cache.EventRemoteDown, health[0].Kind)
		assert.Equal(t, cache.Event{Kind: cache.EventRemoteUp, Count: 1}, health[1])
	})
}

func TestCallersOwnCancellationIsNoFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		c, n := node(t, cluster, config{Load: newSource().load})
		n.Cut()
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			err := c.Invalidate(ctx, "a")
			assert.ErrorIs(t, err, cache.ErrPending)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		assert.True(t, c.Stats().RemoteUp)
	})
}

// T42: a thousand misses are not a thousand loads at once.
func TestOutageLoadsBoundsTheSource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		var running, most atomic.Int64
		c, _ := node(t, cluster, config{OutageLoads: 8, Load: func(context.Context, string) (string, error) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(10 * time.Millisecond)
			running.Add(-1)
			return "v", nil
		}})
		cluster.Stop()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				_, err := c.Get(t.Context(), fmt.Sprint(i))
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, int64(8), most.Load())
	})
}

func TestOutagePolicies(t *testing.T) {
	for _, want := range []struct {
		policy          cache.Outage
		missing, copied string
		err             error
	}{
		{cache.OutageLoad, "new", "new", nil},
		{cache.OutageFail, "", "", cache.ErrRemote},
		{cache.OutageStale, "", "old", cache.ErrRemote},
	} {
		bubble(t, func(t *testing.T) {
			cluster := cachetest.NewCluster(1)
			src := newSource("a", "old")
			c, _ := node(t, cluster, config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Outage: want.policy}})
			get(t, c, "a")
			src.put("a", "new")
			src.put("b", "new")
			cluster.Stop()
			time.Sleep(10 * time.Second) // beyond MaxLag: the copy is suspect
			for range 3 {
				v, err := c.Get(t.Context(), "b")
				assert.Equal(t, want.missing, v)
				assert.ErrorIs(t, err, want.err)
				v, err = c.Get(t.Context(), "a")
				assert.Equal(t, want.copied, v)
				if want.copied == "" {
					assert.ErrorIs(t, err, want.err)
				}
			}
		})
	}
}

// T40: what is pending is replayed before anybody reads the Remote again.
func TestPendingIsReplayedBeforeTheRemoteIsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old", "b", "old")
		var events recorder
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Tags: []string{"t"}}}
		other, _ := node(t, cluster, conf)
		get(t, other, "a")
		get(t, other, "b")
		conf.OnEvent = events.on
		c, _ := node(t, cluster, conf)
		cluster.Stop()
		for range 3 {
			_, _ = c.Get(t.Context(), "x")
		}
		src.put("a", "new")
		src.put("b", "new")
		assert.ErrorIs(t, c.Invalidate(t.Context(), "a"), cache.ErrPending)
		assert.ErrorIs(t, c.InvalidateTags(t.Context(), "t"), cache.ErrPending)
		assert.Equal(t, int64(2), c.Stats().Pending)
		assert.Equal(t, "new", get(t, c, "b"))
		cluster.Start()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			assert.Equal(t, "new", get(t, c, "a"))
			assert.Equal(t, "new", get(t, c, "b"))
		}
		assert.Equal(t, []cache.Event{{Kind: cache.EventRemoteUp, Count: 2}}, events.of(cache.EventRemoteUp))
		assert.Equal(t, int64(0), c.Stats().Pending)
		assert.Equal(t, "new", get(t, other, "a"))
		assert.Equal(t, "new", get(t, other, "b"))
	})
}

// T39: what does not fit any more becomes a Clear, and is not lost.
func TestOverflowOfPendingBecomesClear(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old")
		conf := config{Load: src.load}
		other, _ := node(t, cluster, conf)
		get(t, other, "a")
		c, _ := node(t, cluster, conf)
		cluster.Stop()
		src.put("a", "new")
		assert.ErrorIs(t, c.Invalidate(t.Context(), "a"), cache.ErrPending)
		var keys []string
		for i := range cache.MaxPending {
			keys = append(keys, fmt.Sprint("key", i))
		}
		assert.ErrorIs(t, c.Invalidate(t.Context(), keys...), cache.ErrPending)
		pending := c.Stats().Pending
		assert.True(t, pending < 1002, "%d: one Clear, and at most a message that came later", pending)
		cluster.Start()
		time.Sleep(time.Minute)
		assert.Equal(t, int64(0), c.Stats().Pending)
		assert.Equal(t, "new", get(t, other, "a"))
		assert.Equal(t, "new", get(t, c, "a"))
	})
}

// T44: an invalidation that took effect and timed out is done once more, which
// does no harm.
func TestLostReplyOfInvalidateIsReplayed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old")
		conf := config{Load: src.load}
		other, _ := node(t, cluster, conf)
		c, n := node(t, cluster, conf)
		get(t, c, "a")
		src.put("a", "new")
		n.SetFaults(cachetest.Faults{LoseReply: 1})
		assert.ErrorIs(t, c.Invalidate(t.Context(), "a"), cache.ErrPending)
		n.SetFaults(cachetest.Faults{})
		assert.Equal(t, "new", get(t, other, "a"))
		assert.Equal(t, "new", get(t, c, "a"), "past the Remote")
		time.Sleep(time.Second)
		assert.Equal(t, int64(0), c.Stats().Pending)
		assert.Equal(t, "new", get(t, other, "a"))
	})
}

// T43: a lease that was granted and never arrived holds others up for its life.
func TestLostReplyOfALeaseDelaysOthersByItsLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load}
		c, _ := node(t, cluster, conf)
		lost, n := node(t, cluster, conf)
		n.SetFaults(cachetest.Faults{LoseReply: 1})
		assert.Equal(t, "1", get(t, lost, "a"), "it loads without")
		got := <-async(t.Context(), c, "a")
		assert.Equal(t, "1", got.value)
		assert.True(t, got.took > 0 && got.took <= 1050*time.Millisecond, "%v", got.took)
		assert.True(t, c.Stats().LeaseWaits > 0)
	})
}

// T45: a node that starts while the servers are down works, and becomes coherent
// when they come back.
func TestNodeThatStartsDuringAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		cluster.Stop()
		c, _ := node(t, cluster, config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}})
		assert.Equal(t, "1", get(t, c, "a"))
		assert.False(t, c.Stats().Linked)
		cluster.Start()
		time.Sleep(time.Minute)
		assert.True(t, c.Stats().Linked)
		other, _ := node(t, cluster, config{Load: src.load})
		get(t, c, "a")
		src.put("a", "2")
		require.NoError(t, other.Invalidate(t.Context(), "a"))
		synctest.Wait()
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

// T49: the cache does not own what it talks through.
func TestCloseLeavesTheClientUsable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		first := open(t, config{Remote: n, Bus: n})
		second := open(t, config{Remote: n, Bus: n})
		require.NoError(t, first.Set(t.Context(), "a", "1"))
		require.NoError(t, first.Close())
		assert.Equal(t, "1", get(t, second, "a"))
		assert.NoError(t, second.Invalidate(t.Context(), "a"))
	})
}
