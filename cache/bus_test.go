package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T38: whatever way a message gets lost, it is noticed within MaxLag.
func TestLostMessagesAreNoticedWithinMaxLag(t *testing.T) {
	const lag = 3 * time.Second
	for name, lose := range map[string]func(*cachetest.Cluster, *cachetest.Node, func()){
		"dropped": func(_ *cachetest.Cluster, n *cachetest.Node, change func()) {
			n.SetFaults(cachetest.Faults{Drop: 1})
			change()
			n.SetFaults(cachetest.Faults{})
		},
		"trimmed": func(c *cachetest.Cluster, _ *cachetest.Node, change func()) {
			c.Stop()
			synctest.Wait() // the subscriptions have ended
			c.Start()
			change()
			c.Trim(0)
		},
		"wiped": func(c *cachetest.Cluster, _ *cachetest.Node, change func()) {
			c.Stop()
			synctest.Wait()
			c.Start()
			c.Wipe()
			change()
		},
		"half open": func(_ *cachetest.Cluster, n *cachetest.Node, change func()) {
			n.SetFaults(cachetest.Faults{Drop: 1})
			change()
			n.Cut()
		},
	} {
		bubble(t, func(t *testing.T) {
			cluster := cachetest.NewCluster(1)
			src := newSource("a", "old")
			var events recorder
			conf := config{Load: src.load, MaxLag: lag, Policy: cache.Policy{TTL: time.Hour}}
			other, _ := node(t, cluster, conf)
			conf.OnEvent = events.on
			c, n := node(t, cluster, conf)
			get(t, c, "a")
			assert.Equal(t, 0, len(events.of(cache.EventBusGap)))
			lose(cluster, n, func() {
				src.put("a", "new")
				_ = other.Invalidate(t.Context(), "a")
				synctest.Wait()
			})
			time.Sleep(lag + time.Second) // a subscription may begin within the first second
			assert.True(t, len(events.of(cache.EventBusGap)) > 0, name)
			assert.True(t, c.Stats().BusGaps > 0, name)
			assert.Equal(t, "new", get(t, c, "a"), name)
		})
	}
}

// headless is a bus whose log was replaced by a shorter one.
func TestHeadBelowTheOwnPositionIsAGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newScript()
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Bus: bus})
		bus.deliver(cache.Message{Seq: 100})
		get(t, c, "a")
		bus.deliver(cache.Message{Seq: 100})
		assert.Equal(t, int64(0), c.Stats().BusGaps)
		bus.deliver(cache.Message{Seq: 7})
		assert.Equal(t, int64(1), c.Stats().BusGaps)
		get(t, c, "a")
		assert.Equal(t, int64(2), src.loads.Load())
		for _, m := range []cache.Message{
			{Seq: 8, Keys: []string{"x"}},
			{Seq: 8, Keys: []string{"x"}}, // twice
			{Seq: 9, Keys: []string{"x"}},
			{Seq: 9},
		} {
			bus.deliver(m)
		}
		assert.Equal(t, int64(1), c.Stats().BusGaps)
		bus.deliver(cache.Message{Seq: 11, Keys: []string{"x"}})
		assert.Equal(t, int64(2), c.Stats().BusGaps)
		bus.deliver(cache.Message{Seq: 10, Keys: []string{"x"}})
		assert.Equal(t, int64(3), c.Stats().BusGaps)
	})
}

func TestSuspectsAreCheckedByOneConditionalRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1", "b", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
		c, n := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		get(t, c, "a")
		get(t, c, "b")
		n.SetFaults(cachetest.Faults{Drop: 1})
		src.put("b", "2")
		require.NoError(t, other.Invalidate(t.Context(), "b"))
		synctest.Wait()
		n.SetFaults(cachetest.Faults{})
		time.Sleep(1100 * time.Millisecond)
		e, _ := c.Peek("a")
		assert.True(t, e.Stale, "suspect")
		trips, loads := cluster.Trips(), src.loads.Load()
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, trips+1, cluster.Trips())
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, trips+1, cluster.Trips(), "trusted again")
		assert.Equal(t, int64(1), c.Stats().Revalidated)
		assert.Equal(t, "2", get(t, c, "b"))
		assert.Equal(t, loads+1, src.loads.Load())
	})
}

func TestResumeWithoutAGapIsFree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1", "b", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
		c, n := node(t, cluster, conf)
		other, _ := node(t, cluster, conf)
		get(t, c, "a")
		get(t, c, "b")
		n.Cut()
		src.put("b", "2")
		require.NoError(t, other.Invalidate(t.Context(), "b"))
		time.Sleep(time.Second)
		assert.Equal(t, "1", get(t, c, "b"), "trusted for MaxLag")
		n.Heal()
		time.Sleep(2 * time.Second)
		trips := cluster.Trips()
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, trips, cluster.Trips())
		assert.Equal(t, int64(0), c.Stats().BusGaps)
		assert.Equal(t, "2", get(t, c, "b"))
	})
}

func TestTrustComesBackAfterALongSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour}}
		c, n := node(t, cluster, conf)
		get(t, c, "a")
		n.Cut()
		time.Sleep(time.Minute)
		e, _ := c.Peek("a")
		assert.True(t, e.Stale)
		assert.False(t, c.Stats().Linked)
		n.Heal()
		time.Sleep(15 * time.Second)
		e, _ = c.Peek("a")
		assert.False(t, e.Stale, "nothing was missed")
		assert.True(t, c.Stats().Linked)
	})
}

// handBus is a bus whose messages the test delivers.
type handBus struct{ subscribed chan func(cache.Message) }

func (handBus) Publish(context.Context, cache.Message) error { return nil }

func (b handBus) Subscribe(ctx context.Context, _ uint64, deliver func(cache.Message)) error {
	b.subscribed <- deliver
	<-ctx.Done()
	return ctx.Err()
}

// T38: a link that comes back without a gap has what was sent meanwhile still to
// deliver. Until it has caught up, nothing of before is trusted.
func TestResumedLinkIsNotTrustedBeforeItHasCaughtUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := handBus{make(chan func(cache.Message))}
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Bus: bus, MaxLag: 3 * time.Second, Policy: cache.Policy{TTL: time.Hour}})
		deliver := <-bus.subscribed
		deliver(cache.Message{Seq: 7})
		deliver(cache.Message{Seq: 7})
		require.Equal(t, "1", get(t, c, "a"))
		src.put("a", "2")
		time.Sleep(time.Minute) // silence: the subscription was ended

		deliver = <-bus.subscribed
		deliver(cache.Message{Seq: 7})
		e, _ := c.Peek("a")
		assert.True(t, e.Stale, "what came since 7 is on its way")
		assert.False(t, c.Stats().Linked)
		deliver(cache.Message{Seq: 8, Keys: []string{"a"}})
		deliver(cache.Message{Seq: 8})
		assert.True(t, c.Stats().Linked)
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

// Where the Remote stays while the bus is gone, each use is checked.
func TestCutBusMeansOneTripPerUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		busNode := cluster.Node()
		c := open(t, config{Load: src.load, Remote: cluster.Node(), Bus: busNode, Policy: cache.Policy{TTL: time.Hour}})
		other, _ := node(t, cluster, config{Load: src.load})
		get(t, c, "a")
		busNode.Cut()
		time.Sleep(10 * time.Second)
		for range 3 {
			get(t, c, "a")
		}
		assert.Equal(t, int64(3), c.Stats().Revalidated)
		src.put("a", "2")
		require.NoError(t, other.Invalidate(t.Context(), "a"))
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

func TestNegativeMaxLagTrustsNothingOnceCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		c, _ := node(t, cluster, config{Load: src.load, MaxLag: -1, Policy: cache.Policy{TTL: time.Hour}})
		get(t, c, "a")
		e, _ := c.Peek("a")
		assert.False(t, e.Stale)
		cluster.Stop()
		synctest.Wait()
		e, _ = c.Peek("a")
		assert.True(t, e.Stale)
	})
}

func TestBusWithoutRemoteTellsOtherNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		src := newSource("a", "1")
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Hour, Tags: []string{"t"}}}
		conf.Bus = cluster.Node()
		c := open(t, conf)
		conf.Bus = cluster.Node()
		other := open(t, conf)
		synctest.Wait()
		want := "1"
		for i, change := range []func() error{
			func() error { return nil },
			func() error { return other.Invalidate(t.Context(), "a") },
			func() error { return other.InvalidateTags(t.Context(), "t") },
			func() error { return other.Clear(t.Context()) },
			func() error { return other.Expire(t.Context(), "a") },
		} {
			require.NoError(t, change())
			synctest.Wait()
			assert.Equal(t, want, get(t, c, "a"), i)
			want += "!"
			src.put("a", want)
			assert.Equal(t, want[:len(want)-1], get(t, c, "a"))
		}
	})
}

type id struct{ region, number string }

// With keys of one's own, messages find their entries by name, and the index of
// names does not outgrow L1.
func TestMessagesFindKeysOfAnyType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		make := func() *cache.Cache[id, int] {
			n := cluster.Node()
			c, err := cache.New(cache.Config[id, int]{
				Remote: n, Bus: n, MaxEntries: 100, Key: func(k id) string { return k.region + "/" + k.number },
			})
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		c, other := make(), make()
		synctest.Wait()
		var keys []id
		for i := range 5000 {
			k := id{"eu", string(rune('a'+i%26)) + time.Duration(i).String()}
			require.NoError(t, c.Set(t.Context(), k, i))
			keys = append(keys, k)
		}
		assert.True(t, cache.Indexed(c) < 2500, "%d names", cache.Indexed(c))
		require.NoError(t, other.Invalidate(t.Context(), keys...))
		synctest.Wait()
		assert.Equal(t, int64(0), c.Stats().Entries)
	})
}
