package cache_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// atGate makes reads of the Remote wait, after their effect, from when the returned
// function was called until it is called again.
func atGate(g *gated) (toggle func()) {
	var mu sync.Mutex
	var gate chan struct{}
	g.get = func() {
		mu.Lock()
		closed := gate
		mu.Unlock()
		if closed != nil {
			<-closed
		}
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if gate == nil {
			gate = make(chan struct{})
			return
		}
		close(gate)
		gate = nil
	}
}

// A refresh that leaves the load to another node has nothing for a caller who may
// not take a stale value any more.
func TestGetThatJoinsARefreshDoesNotTakeWhatThatGaveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		cluster := cachetest.NewCluster(1)
		n := cluster.Node()
		g := &gated{Remote: n}
		toggle := atGate(g)
		c := open(t, config{
			Load: src.load, Remote: g, Bus: n, RemoteTimeout: time.Minute,
			Policy: cache.Policy{TTL: time.Second, Stale: time.Second},
		})
		synctest.Wait()
		get(t, c, "a")
		time.Sleep(1500 * time.Millisecond)
		records, err := cluster.Node().Get(t.Context(), []cache.Query{{Key: "a"}}, 2*time.Second)
		require.NoError(t, err)
		require.True(t, records[0].Token != 0)
		src.put("a", "2")
		toggle()
		assert.Equal(t, "1", get(t, c, "a"), "stale, and a refresh begins")
		synctest.Wait()
		time.Sleep(time.Second) // past Stale
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		toggle()
		assert.Equal(t, "2", (<-waiting).value)
	})
}

// The refresh of a stale record may be fenced before it has begun. Who has joined
// it by then loads anew.
func TestRefreshOfAStaleRecordIsFencedBeforeItBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1", "b", "1")
		var c *store
		joined := make(chan string, 1)
		conf := config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: time.Hour}, MaxEntries: 1}
		conf.OnRemove = func(key, _ string) {
			if key != "b" {
				return
			}
			// It makes room for the stale record of a, whose refresh comes next.
			go func() {
				v, _ := c.Refresh(t.Context(), "a")
				joined <- v
			}()
			time.Sleep(time.Millisecond)
			src.put("a", "2")
			assert.NoError(t, c.Invalidate(t.Context(), "a"))
		}
		c, _ = node(t, cachetest.NewCluster(1), conf)
		get(t, c, "a")
		get(t, c, "b")
		time.Sleep(2 * time.Second)
		assert.Equal(t, "1", get(t, c, "a"), "stale")
		assert.Equal(t, "2", <-joined)
	})
}

// Refresh asks the source, also if it joins a Get that finds "absent" in L2.
func TestRefreshDoesNotTakeAnAbsentMarker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource()
		cluster := cachetest.NewCluster(1)
		conf := config{Load: src.load, RemoteTimeout: time.Minute, Policy: cache.Policy{NotFoundTTL: time.Hour}}
		other, _ := node(t, cluster, conf)
		_, err := other.Get(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound)
		n := cluster.Node()
		g := &gated{Remote: n}
		toggle := atGate(g)
		conf.Remote, conf.Bus = g, n
		c := open(t, conf)
		synctest.Wait()
		src.put("a", "1")
		toggle()
		reading := async(t.Context(), c, "a")
		synctest.Wait()
		refreshed := make(chan string)
		go func() {
			v, _ := c.Refresh(t.Context(), "a")
			refreshed <- v
		}()
		synctest.Wait()
		toggle()
		assert.True(t, (<-reading).err == cache.ErrNotFound)
		assert.Equal(t, "1", <-refreshed)
	})
}

// T31 over L2: the copy there replaces the one in L1 as what a refresh renews, and
// that must be tried again all the same.
func TestFailedRefreshOverTheRemoteIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c, _ := node(t, cachetest.NewCluster(1), config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: time.Hour}})
		get(t, c, "a")
		time.Sleep(time.Second)
		src.fail(errBroken)
		get(t, c, "a")
		synctest.Wait()
		loads := src.loads.Load()
		get(t, c, "a")
		synctest.Wait()
		assert.Equal(t, loads, src.loads.Load(), "not before RetryAfter")
		src.fail(nil)
		src.put("a", "2")
		time.Sleep(time.Second)
		get(t, c, "a")
		synctest.Wait()
		assert.Equal(t, "2", get(t, c, "a"))
	})
}

// T41: also where the node has never been in step and would ask for the counter.
func TestSetWaitsForADeadRemoteOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := cachetest.NewCluster(1).Node()
		n.Cut()
		c := open(t, config{Remote: n, Bus: n})
		begun := time.Now()
		assert.ErrorIs(t, c.Set(t.Context(), "a", "1"), cache.ErrPending)
		assert.Equal(t, 250*time.Millisecond, time.Since(begun))
		assert.Equal(t, "1", get(t, c, "a"))
	})
}

func TestClearGivesMemoryBackOnAllNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		c, _ := node(t, cluster, config{})
		other, _ := node(t, cluster, config{})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		assert.Equal(t, int64(1), c.Stats().Entries)
		require.NoError(t, other.Clear(t.Context()))
		synctest.Wait()
		assert.Equal(t, int64(0), c.Stats().Entries)
	})
}

// T1: not even as a stale copy.
func TestClearLeavesNothingOfARunningLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "old")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second, StaleIfError: time.Hour}})
		release := src.block()
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		require.NoError(t, c.Clear(t.Context()))
		release()
		assert.Equal(t, "old", (<-waiting).value)
		assert.Equal(t, int64(0), c.Stats().Entries)
		src.fail(errBroken)
		_, err := c.Get(t.Context(), "a")
		assert.ErrorIs(t, err, errBroken)
	})
}

// T1: an answer "absent" names no tags but those of the Policy.
func TestInvalidateTagsFencesARunningLoadOfNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource()
		c := open(t, config{Load: src.load, Policy: cache.Policy{Tags: []string{"t"}}})
		release := src.block()
		waiting := async(t.Context(), c, "a")
		synctest.Wait()
		src.put("a", "1")
		require.NoError(t, c.InvalidateTags(t.Context(), "t"))
		later := async(t.Context(), c, "a")
		synctest.Wait()
		release()
		assert.True(t, (<-waiting).err == cache.ErrNotFound)
		assert.Equal(t, "1", (<-later).value)
	})
}

// A loader that exits takes along the goroutine that has handed on the keys whose
// leases others hold, and not those keys.
func TestGoexitDoesNotEndKeysThatWaitForALease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		c, _ := node(t, cluster, config{Load: func(context.Context, string) (string, error) {
			time.Sleep(20 * time.Millisecond)
			runtime.Goexit()
			return "", nil
		}})
		other, _ := node(t, cluster, config{Load: func(context.Context, string) (string, error) {
			time.Sleep(100 * time.Millisecond)
			return "loaded", nil
		}})
		held := async(t.Context(), other, "b")
		time.Sleep(time.Millisecond)
		values, err := c.GetMany(t.Context(), []string{"a", "b"})
		_, ok := errors.AsType[*cache.LoadError](err)
		assert.True(t, ok, "of the key whose loader has exited: %v", err)
		assert.Equal(t, map[string]string{"b": "loaded"}, values)
		assert.NoError(t, (<-held).err)
	})
}
