package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T1: what a load read before an invalidation is stored nowhere.
func TestInvalidateFencesARunningLoad(t *testing.T) {
	for _, invalidate := range map[string]func(*store, context.Context) error{
		"Invalidate":     func(c *store, ctx context.Context) error { return c.Invalidate(ctx, "a") },
		"Expire":         func(c *store, ctx context.Context) error { return c.Expire(ctx, "a") },
		"InvalidateTags": func(c *store, ctx context.Context) error { return c.InvalidateTags(ctx, "t") },
		"Clear":          func(c *store, ctx context.Context) error { return c.Clear(ctx) },
	} {
		for _, layered := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				src := newSource("a", "old")
				conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Tags: []string{"t"}}}
				c := open(t, conf)
				other := c
				if layered {
					cluster := cachetest.NewCluster(1)
					c, _ = node(t, cluster, conf)
					other, _ = node(t, cluster, conf)
				}
				release := src.block()
				waiting := async(t.Context(), c, "a")
				synctest.Wait()
				src.put("a", "new")
				require.NoError(t, invalidate(c, t.Context()))
				later := async(t.Context(), c, "a") // arrives before the old load ends
				synctest.Wait()
				release()
				assert.Equal(t, "old", (<-waiting).value, "it waited before")
				assert.Equal(t, "new", (<-later).value)
				assert.Equal(t, "new", get(t, c, "a"))
				assert.Equal(t, "new", get(t, other, "a"))
			})
		}
	}
}

// gated is a Remote whose calls wait at a gate, after their effect.
type gated struct {
	cache.Remote
	get, invalidate, put func()
}

func (g *gated) Get(ctx context.Context, q []cache.Query, lease time.Duration) ([]cache.Record, error) {
	r, err := g.Remote.Get(ctx, q, lease)
	if g.get != nil {
		g.get()
	}
	return r, err
}

func (g *gated) Put(ctx context.Context, f []cache.Fill) ([]bool, error) {
	r, err := g.Remote.Put(ctx, f)
	if g.put != nil {
		g.put()
	}
	return r, err
}

func (g *gated) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	if g.invalidate != nil {
		g.invalidate()
	}
	return g.Remote.Invalidate(ctx, m)
}

// T2: a read of the Remote is a flight like a load.
func TestInvalidateFencesARunningRemoteRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "old")
		cluster := cachetest.NewCluster(1)
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
		other, _ := node(t, cluster, conf)
		get(t, other, "a")
		n := cluster.Node()
		g := &gated{Remote: n}
		conf.Remote, conf.Bus = g, n
		c := open(t, conf)
		synctest.Wait()
		gate := make(chan struct{})
		g.get = func() { <-gate }
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		src.put("a", "new")
		require.NoError(t, other.Invalidate(t.Context(), "a"))
		synctest.Wait()
		close(gate)
		assert.Equal(t, "old", (<-waiting).value)
		assert.Equal(t, "new", get(t, c, "a"))
	})
}

// T4: a Set that begins after a load began wins.
func TestSetWinsOverAnEarlierLoad(t *testing.T) {
	for _, layered := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			src := newSource("a", "old")
			conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
			c := open(t, conf)
			other := c
			if layered {
				cluster := cachetest.NewCluster(1)
				c, _ = node(t, cluster, conf)
				other, _ = node(t, cluster, conf)
			}
			release := src.block()
			waiting := async(t.Context(), c, "a")
			synctest.Wait()
			require.NoError(t, c.Set(t.Context(), "a", "set"))
			release()
			assert.Equal(t, "old", (<-waiting).value)
			assert.Equal(t, "set", get(t, c, "a"))
			assert.Equal(t, "set", get(t, other, "a"))
			assert.Equal(t, int64(1), src.loads.Load())
		})
	}
}

// T6: the generation of a fill is that of before its load, not that of its end.
func TestGenerationIsThatBeforeTheLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Tags: []string{"t"}}}
		c, _ := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		release := src.block()
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		src.put("a", "new")
		require.NoError(t, other.InvalidateTags(t.Context(), "t"))
		require.NoError(t, c.Invalidate(t.Context(), "something")) // c now knows the counter
		synctest.Wait()
		release()
		assert.Equal(t, "old", (<-waiting).value)
		assert.Equal(t, "new", get(t, c, "a"))
		assert.Equal(t, "new", get(t, other, "a"))
	})
}

// T7: who has lost a lease is refused by its token, however little time has passed.
func TestLostLeaseIsRefusedByToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old")
		var events recorder
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
		other, _ := node(t, cluster, conf)
		conf.OnEvent = events.on
		c, n := node(t, cluster, conf)
		n.SetFaults(cachetest.Faults{Drop: 1}) // it does not hear of the invalidation
		release := src.block()
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		src.put("a", "new")
		require.NoError(t, other.Invalidate(t.Context(), "a"))
		release()
		assert.Equal(t, "old", (<-waiting).value)
		_, ok := c.Peek("a")
		assert.False(t, ok, "what the Remote refuses is not kept in L1 either")
		synctest.Wait() // the load may still be counting what it has answered
		assert.Equal(t, int64(1), c.Stats().FillsRejected)
		assert.Equal(t, 1, len(events.of(cache.EventFillRejected)))
		assert.Equal(t, "new", get(t, other, "a"))
	})
}

// T8: a load that was running at a gap may have read before what was missed.
func TestFlightFromBeforeAGapStoresASuspect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		c, n := node(t, cluster, config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}})
		other, _ := node(t, cluster, config{})
		release := src.block()
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		n.SetFaults(cachetest.Faults{Drop: 1})
		require.NoError(t, other.Invalidate(t.Context(), "something"))
		synctest.Wait()
		n.SetFaults(cachetest.Faults{})
		time.Sleep(1100 * time.Millisecond) // the heartbeat
		require.Equal(t, int64(1), c.Stats().BusGaps)
		release()
		assert.Equal(t, "1", (<-waiting).value)
		e, ok := c.Peek("a")
		assert.True(t, ok && e.Stale, "%+v", e)
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, int64(1), c.Stats().Revalidated)
	})
}

// T9: a message between the Put of a Set and its L1 store prevents the store.
func TestMessageDuringASetPreventsItsStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		other, _ := node(t, cluster, config{})
		n := cluster.Node()
		g := &gated{Remote: n}
		c := open(t, config{Remote: g, Bus: n})
		synctest.Wait()
		g.put = func() {
			require.NoError(t, other.Invalidate(t.Context(), "a"))
			synctest.Wait()
		}
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		_, ok := c.Peek("a")
		assert.False(t, ok)
	})
}

// T10: two Sets that overlap never leave L1 and L2 with different values.
func TestOverlappingSetsLeaveNothingInL1(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		g := &gated{Remote: n}
		c := open(t, config{Remote: g, Bus: n})
		synctest.Wait()
		nested := false
		g.put = func() {
			if !nested {
				nested = true
				require.NoError(t, c.Set(t.Context(), "a", "second"))
			}
		}
		require.NoError(t, c.Set(t.Context(), "a", "first"))
		_, ok := c.Peek("a")
		assert.False(t, ok)
		assert.Equal(t, "second", get(t, c, "a"), "the last Put")
		require.NoError(t, c.Set(t.Context(), "a", "third"))
		e, ok := c.Peek("a")
		assert.True(t, ok)
		assert.Equal(t, "third", e.Value)
		assert.Equal(t, 0, cache.Running(c))
	})
}

// brokenBus cannot publish.
type brokenBus struct {
	cache.Bus
	works atomic.Bool
}

func (b *brokenBus) Publish(ctx context.Context, m cache.Message) error {
	if !b.works.Load() {
		return errBroken
	}
	return b.Bus.Publish(ctx, m)
}

// silentRemote does not publish what it invalidates.
type silentRemote struct{ cache.Remote }

func (r silentRemote) Invalidate(ctx context.Context, m cache.Message) (cache.Message, error) {
	m, err := r.Remote.Invalidate(ctx, m)
	m.Seq = 0
	return m, err
}

// T11: half an invalidation is none.
func TestFailedPublishIsPending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		bus := &brokenBus{Bus: n}
		c := open(t, config{Remote: silentRemote{n}, Bus: bus})
		synctest.Wait()
		err := c.Invalidate(t.Context(), "a")
		assert.ErrorIs(t, err, cache.ErrPending)
		assert.ErrorIs(t, err, errBroken)
		assert.Equal(t, int64(1), c.Stats().Pending)
		bus.works.Store(true)
		time.Sleep(time.Second)
		assert.Equal(t, int64(0), c.Stats().Pending)
		assert.NoError(t, c.Invalidate(t.Context(), "a"))
	})
}

// T12: between dropping here and deleting there a Get may fetch it once more.
func TestRefillDuringInvalidateIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "old")
		n := cluster.Node()
		g := &gated{Remote: n}
		c := open(t, config{Load: src.load, Remote: g, Bus: n, Policy: cache.Policy{TTL: time.Hour}})
		synctest.Wait()
		get(t, c, "a")
		g.invalidate = func() {
			assert.Equal(t, "old", get(t, c, "a"))
			src.put("a", "new")
		}
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		_, ok := c.Peek("a")
		assert.False(t, ok)
		assert.Equal(t, "new", get(t, c, "a"))
	})
}

// T15: a node's own messages come back to it, and are no news.
func TestOwnEchoesDoNotEvict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		c, _ := node(t, cluster, config{})
		other, _ := node(t, cluster, config{})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		synctest.Wait()
		_, ok := c.Peek("a")
		assert.True(t, ok)
		require.NoError(t, other.Set(t.Context(), "a", "2"))
		synctest.Wait()
		_, ok = c.Peek("a")
		assert.False(t, ok)
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

// T34: a value takes the place of "absent", on all nodes.
func TestSetReplacesAbsentOnAllNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource()
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, NotFoundTTL: time.Hour}}
		c, _ := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		for _, n := range []*store{c, other} {
			_, err := n.Get(t.Context(), "a")
			assert.True(t, err == cache.ErrNotFound)
		}
		assert.Equal(t, int64(1), src.loads.Load(), "absence is shared as well")
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		synctest.Wait()
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, "1", get(t, other, "a"))
	})
}

// A value that the Remote may not have is not found there to be invalidated: L1
// keeps it for MaxLag at most.
func TestValueThatTheRemoteMayLackLivesForMaxLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		n := cachetest.NewCluster(1).Node()
		lost := &lostReply{Remote: n}
		c := open(t, config{Load: src.load, Remote: lost, Bus: n, MaxLag: 5 * time.Second, Policy: cache.Policy{TTL: time.Hour}})
		synctest.Wait()
		lost.on.Store(true)
		get(t, c, "a")
		lost.on.Store(false)
		src.put("a", "2") // without an invalidation
		time.Sleep(4 * time.Second)
		assert.Equal(t, "1", get(t, c, "a"))
		time.Sleep(2 * time.Second)
		e, ok := c.Peek("a")
		assert.False(t, ok, "%+v", e)
	})
}

// lostReply is a Remote that does what it says it could not.
type lostReply struct {
	cache.Remote
	on atomic.Bool
}

func (l *lostReply) Put(ctx context.Context, fills []cache.Fill) ([]bool, error) {
	stored, err := l.Remote.Put(ctx, fills)
	if l.on.Load() {
		return nil, errors.New("connection reset")
	}
	return stored, err
}
