package cache_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// sink is what Save writes to.
type sink struct {
	mu      sync.Mutex
	values  map[string]string
	batches []int
	err     error
}

func (s *sink) save(_ context.Context, values map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(values))
	if s.err != nil {
		return s.err
	}
	if s.values == nil {
		s.values = make(map[string]string)
	}
	maps.Copy(s.values, values)
	return nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) get(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

func TestSetSavesBeforeItTells(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		var out sink
		var events recorder
		c, _ := node(t, cluster, config{Save: out.save, OnEvent: events.on})
		other, _ := node(t, cluster, config{})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		assert.Equal(t, "1", out.get("a"))
		assert.Equal(t, "1", get(t, other, "a"))
		out.fail(errBroken)
		assert.ErrorIs(t, c.Set(t.Context(), "a", "2"), errBroken)
		synctest.Wait()
		for _, c := range []*store{c, other} {
			_, err := c.Lookup(t.Context(), "a")
			assert.True(t, err == cache.ErrNotFound, "the effect of Save is unknown")
		}
		assert.Equal(t, 1, len(events.of(cache.EventSaveFailed)))
		out.fail(nil)
		require.NoError(t, c.SetEntry(t.Context(), "a", cache.Entry[string]{Value: "3", TTL: -1}))
		assert.Equal(t, "3", out.get("a"))
		_, err := c.Lookup(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound, "saved and not stored")
	})
}

func TestSetDuringAnOutageIsPendingAndKeptHere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := cachetest.NewCluster(1)
		var out sink
		src := newSource("a", "1")
		c, _ := node(t, cluster, config{Save: out.save, Load: src.load})
		other, _ := node(t, cluster, config{Load: src.load})
		get(t, other, "a")
		cluster.Stop()
		src.put("a", "2")
		assert.ErrorIs(t, c.Set(t.Context(), "a", "2"), cache.ErrPending)
		e, err := c.GetEntry(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, cache.LayerLocal, e.Layer)
		cluster.Start()
		time.Sleep(time.Minute)
		assert.Equal(t, "2", get(t, other, "a"))
	})
}

func TestWriteBehindSavesTheLatestValues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out sink
		src := newSource("a", "source")
		c := open(t, config{
			Save: out.save, Load: src.load, MaxEntries: 1,
			WriteBehind: cache.WriteBehind{Delay: time.Second, MaxBatch: 10},
		})
		for _, v := range []string{"1", "2", "3"} {
			require.NoError(t, c.Set(t.Context(), "a", v))
		}
		require.NoError(t, c.Set(t.Context(), "b", "1"))
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		assert.Equal(t, "3", get(t, c, "a"), "an unsaved value survives Invalidate and eviction")
		many, err := c.GetMany(t.Context(), []string{"a", "b"})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "3", "b": "1"}, many)
		v, err := c.Refresh(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, "3", v)
		assert.Equal(t, int64(2), c.Stats().Unsaved)
		assert.Equal(t, "", out.get("a"))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "3", "b": "1"}, out.values)
		assert.Equal(t, []int{2}, out.batches)
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		assert.Equal(t, "source", get(t, c, "a"))
	})
}

func TestWriteBehindRetriesAndFlushWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		out := sink{err: errBroken}
		var events recorder
		c := open(t, config{Save: out.save, OnEvent: events.on, WriteBehind: cache.WriteBehind{Delay: time.Hour}})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := c.Flush(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errBroken)
		assert.True(t, len(events.of(cache.EventSaveFailed)) > 1)
		out.fail(nil)
		require.NoError(t, c.Flush(t.Context()))
		assert.Equal(t, "1", out.get("a"))
		assert.NoError(t, c.Flush(t.Context()))
	})
}

func TestWriteBehindWaitsWhereItIsFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out sink
		c := open(t, config{Save: out.save, WriteBehind: cache.WriteBehind{Delay: time.Second, MaxPending: 2}})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		require.NoError(t, c.Set(t.Context(), "b", "1"))
		require.NoError(t, c.Set(t.Context(), "a", "2"), "it is pending anyway")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, c.Set(ctx, "c", "1"), context.DeadlineExceeded)
		require.NoError(t, c.Set(t.Context(), "c", "2"))
		require.NoError(t, c.Flush(t.Context()))
		assert.Equal(t, map[string]string{"a": "2", "b": "1", "c": "2"}, out.values)
	})
}

func TestCloseSavesAndSaysWhatItCouldNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, broken := range []error{nil, errBroken} {
			out := sink{err: broken}
			c := open(t, config{Save: out.save, WriteBehind: cache.WriteBehind{Delay: time.Hour, MaxBatch: 2}})
			for _, key := range []string{"a", "b", "c"} {
				out.mu.Lock()
				out.err = nil
				out.mu.Unlock()
				require.NoError(t, c.Set(t.Context(), key, "1"))
				synctest.Wait()
			}
			out.fail(broken)
			err := c.Close()
			assert.ErrorIs(t, err, broken)
			if broken != nil {
				assert.True(t, strings.Contains(err.Error(), "1 values stayed unsaved"), err.Error())
			} else {
				assert.Equal(t, 3, len(out.values))
			}
			assert.ErrorIs(t, c.Set(t.Context(), "d", "1"), cache.ErrClosed)
		}
	})
}

func TestConfigErrorsNameTheField(t *testing.T) {
	bus := newScript()
	save := func(context.Context, map[string]string) error { return nil }
	for field, c := range map[string]config{
		"Config.MaxEntries":      {MaxEntries: -1},
		"Config.Weigh":           {MaxWeight: 1},
		"Config.MaxWeight":       {Weigh: func(string, string) int64 { return 1 }},
		"Config.Bus":             {Remote: cachetest.NewCluster(1).Node()},
		"Config.Save":            {WriteBehind: cache.WriteBehind{Delay: 1}},
		"Config.ClockStep":       {ClockStep: -1},
		"Config.RemoteTimeout":   {RemoteTimeout: -1},
		"Policy.Jitter":          {Policy: cache.Policy{Jitter: 1.1}},
		"Policy.Early":           {Policy: cache.Policy{Early: -1}},
		"Policy.Stale":           {Policy: cache.Policy{Stale: -1}},
		"Policy.LoadTimeout":     {Policy: cache.Policy{LoadTimeout: -1}},
		"Policy.Outage":          {Policy: cache.Policy{Outage: 3}},
		"WriteBehind.MaxBatch":   {Save: save, WriteBehind: cache.WriteBehind{MaxBatch: -1}},
		"WriteBehind.MaxPending": {Save: save, WriteBehind: cache.WriteBehind{MaxPending: -1}},
	} {
		_, err := cache.New(c)
		require.Error(t, err, field)
		assert.True(t, strings.HasPrefix(err.Error(), "cache: "+field), "%s: %v", field, err)
	}
	_, err := cache.New(cache.Config[float64, int]{Bus: bus})
	require.Error(t, err)
	assert.True(t, strings.HasPrefix(err.Error(), "cache: Config.Key"), err.Error())
}

func TestNegativeWeightIsAnError(t *testing.T) {
	c := open(t, config{MaxWeight: 10, Weigh: func(string, string) int64 { return -1 }, Load: newSource("a", "1").load})
	assert.Error(t, c.Set(t.Context(), "a", "1"))
	_, err := c.Get(t.Context(), "a")
	_, ok := errors.AsType[*cache.LoadError](err)
	assert.True(t, ok)
}

func TestTooHeavyIsDeliveredAndNotStored(t *testing.T) {
	c := open(t, config{MaxWeight: 10, Weigh: func(_, v string) int64 { return int64(len(v)) }, Load: newSource("a", "12345678901").load})
	require.NoError(t, c.Set(t.Context(), "a", "1"))
	require.NoError(t, c.Set(t.Context(), "a", "12345678901"))
	assert.Equal(t, int64(0), c.Stats().Entries, "the old copy is gone")
	for range 2 {
		assert.Equal(t, "12345678901", get(t, c, "a"))
	}
	assert.Equal(t, int64(2), c.Stats().Loads)
	require.NoError(t, c.Set(t.Context(), "b", ""))
	assert.Equal(t, "", get(t, c, "b"), "weight 0 is fine")
}

func TestAllYieldsFreshEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := open(t, config{Policy: cache.Policy{TTL: time.Second, Stale: time.Hour}})
		require.NoError(t, c.Set(t.Context(), "old", "1"))
		time.Sleep(time.Second)
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		require.NoError(t, c.Set(t.Context(), "b", "2"))
		assert.Equal(t, map[string]string{"a": "1", "b": "2"}, maps.Collect(c.All()))
	})
}
