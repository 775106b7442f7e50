package cache_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T30: however many read a stale value, one goroutine refreshes it.
func TestStaleReadsStartOneRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: time.Minute}})
		get(t, c, "a")
		time.Sleep(time.Second)
		src.put("a", "2")
		release := src.block()
		for range 100 {
			e, err := c.GetEntry(t.Context(), "a")
			require.NoError(t, err)
			assert.True(t, e.Stale)
			assert.Equal(t, "1", e.Value)
		}
		synctest.Wait()
		assert.Equal(t, int64(2), src.loads.Load())
		assert.Equal(t, int64(1), c.Stats().Refreshes)
		release()
		synctest.Wait()
		assert.Equal(t, "2", get(t, c, "a"))
		assert.Equal(t, int64(2), src.loads.Load())
	})
}

// T31: a refresh that fails leaves TTL and hard end where they are.
func TestFailedRefreshDoesNotRenewTheLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: 10 * time.Second}})
		get(t, c, "a")
		src.fail(errBroken)
		for range 10 {
			time.Sleep(time.Second)
			e, err := c.GetEntry(t.Context(), "a")
			require.NoError(t, err)
			assert.True(t, e.Stale)
			synctest.Wait()
		}
		loads := src.loads.Load()
		assert.True(t, loads > 5 && loads <= 11, "%d loads", loads)
		time.Sleep(time.Second)
		_, err := c.Get(t.Context(), "a")
		assert.ErrorIs(t, err, errBroken)
	})
}

// T3: a refresh in the background neither brings back what was deleted nor writes
// over what was set.
func TestRefreshIsFencedByInvalidateAndSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "old", "b", "old")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second, Stale: time.Minute}})
		get(t, c, "a")
		get(t, c, "b")
		time.Sleep(time.Second)
		release := src.block()
		get(t, c, "a")
		get(t, c, "b")
		synctest.Wait()
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		require.NoError(t, c.Set(t.Context(), "b", "new"))
		release()
		synctest.Wait()
		_, ok := c.Peek("a")
		assert.False(t, ok)
		e, _ := c.Peek("b")
		assert.Equal(t, "new", e.Value)
	})
}

func TestStaleIfErrorServesTheOldCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		var events recorder
		c := open(t, config{
			Load: src.load, OnEvent: events.on,
			Policy: cache.Policy{TTL: time.Second, StaleIfError: time.Minute, RetryAfter: 5 * time.Second},
		})
		get(t, c, "a")
		time.Sleep(2 * time.Second)
		src.fail(errBroken)
		for range 10 {
			e, err := c.GetEntry(t.Context(), "a")
			require.NoError(t, err)
			assert.Equal(t, "1", e.Value)
			assert.True(t, e.Stale)
			assert.Equal(t, -time.Second, e.TTL)
		}
		assert.Equal(t, int64(2), src.loads.Load(), "the next try comes after RetryAfter")
		got := events.of(cache.EventLoadFailed, cache.EventStaleServed)
		require.Equal(t, 2, len(got))
		assert.Equal(t, cache.EventLoadFailed, got[0].Kind)
		assert.ErrorIs(t, got[0].Err, errBroken)
		assert.Equal(t, cache.Event{Kind: cache.EventStaleServed, Key: "a", Count: 1}, got[1])
		time.Sleep(5 * time.Second)
		src.fail(nil)
		src.put("a", "2")
		assert.Equal(t, "2", get(t, c, "a"))
		src.fail(errBroken)
		time.Sleep(time.Minute + time.Second)
		_, err := c.Get(t.Context(), "a")
		assert.ErrorIs(t, err, errBroken, "past its life")
	})
}

// T33: a source that says "not found" is not one that fails.
func TestNotFoundWithinStaleIfErrorDeletes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second, StaleIfError: time.Hour}})
		get(t, c, "a")
		time.Sleep(time.Second)
		src.remove("a")
		_, err := c.Get(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound)
		src.fail(errBroken)
		_, err = c.Get(t.Context(), "a")
		assert.ErrorIs(t, err, errBroken, "the copy is gone")
	})
}

func TestSoftTimeoutTakesTheStaleValueAndTheLoadGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{
			TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 100 * time.Millisecond,
		}})
		get(t, c, "a")
		time.Sleep(time.Second)
		src.put("a", "2")
		release := src.block()
		got := <-async(t.Context(), c, "a")
		assert.Equal(t, outcome{"1", nil, 100 * time.Millisecond}, got)
		release()
		synctest.Wait()
		assert.Equal(t, "2", get(t, c, "a"))
		assert.Equal(t, int64(2), src.loads.Load())
	})
}

func TestExpireKeepsACopyForErrorsOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Minute, Stale: time.Minute, StaleIfError: time.Hour}})
		get(t, c, "a")
		require.NoError(t, c.Expire(t.Context(), "a"))
		src.fail(errBroken)
		e, err := c.GetEntry(t.Context(), "a")
		require.NoError(t, err)
		assert.True(t, e.Stale)
		src.fail(nil)
		src.put("a", "2")
		time.Sleep(time.Second)
		assert.Equal(t, "2", get(t, c, "a"))
		require.NoError(t, c.Expire(t.Context(), "a"))
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		src.fail(errBroken)
		_, err = c.Get(t.Context(), "a")
		assert.ErrorIs(t, err, errBroken)
	})
}

func TestAbsenceIsCachedForNotFoundTTL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource()
		c := open(t, config{Load: src.load, Policy: cache.Policy{NotFoundTTL: time.Second}})
		for range 3 {
			_, err := c.Get(t.Context(), "a")
			assert.True(t, err == cache.ErrNotFound)
		}
		assert.Equal(t, int64(1), src.loads.Load())
		e, err := c.Lookup(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound)
		assert.Equal(t, cache.LayerLocal, e.Layer)
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		assert.Equal(t, "1", get(t, c, "a"))
		require.NoError(t, c.Invalidate(t.Context(), "a"))
		_, _ = c.Get(t.Context(), "a")
		time.Sleep(time.Second)
		_, _ = c.Get(t.Context(), "a")
		assert.Equal(t, int64(3), src.loads.Load())
	})
}

// T35: jitter is for loads as well, or all that was loaded at once dies at once.
func TestJitterShortensLoadsAndSets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: 100 * time.Second, Jitter: 0.5}})
		for _, u := range []float64{0, 0.5, 0.999} {
			cache.SetDraw(c, func() float64 { return u })
			want := 100*time.Second - time.Duration(u*float64(50*time.Second))
			get(t, c, "a")
			e, _ := c.Peek("a")
			assert.Equal(t, want, e.TTL)
			require.NoError(t, c.Set(t.Context(), "a", "2"))
			e, _ = c.Peek("a")
			assert.Equal(t, want, e.TTL)
			require.NoError(t, c.Invalidate(t.Context(), "a"))
		}
	})
}

// T36: a draw of 0 must not become a refresh of everything, nor one that never is.
func TestEarlyRefreshFollowsTheDraw(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		src.delay = time.Second
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: 100 * time.Second, Early: 1}})
		get(t, c, "a")
		time.Sleep(95 * time.Second) // 5 s left, d = 1 s: probability e^-5
		for u, want := range map[float64]int64{0: 0, 1 - math.Exp(-4.99): 0} {
			cache.SetDraw(c, func() float64 { return u })
			get(t, c, "a")
			assert.Equal(t, want, c.Stats().EarlyRefreshes)
		}
		cache.SetDraw(c, func() float64 { return 1 - math.Exp(-5.01) })
		get(t, c, "a")
		assert.Equal(t, int64(1), c.Stats().EarlyRefreshes)
		time.Sleep(time.Second)
		synctest.Wait()
		e, _ := c.Peek("a")
		assert.Equal(t, 100*time.Second, e.TTL)
	})
}

// XFetch draws from an exponential distribution: with r left, a load of d and
// beta 1 the share of reads that refresh is exp(-r/d).
func TestEarlyRefreshesHaveTheirShare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		src.delay = time.Second
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: 100 * time.Second, Early: 1}})
		const rounds = 4000
		for range rounds {
			require.NoError(t, c.Invalidate(t.Context(), "a"))
			get(t, c, "a")
			time.Sleep(99 * time.Second)
			get(t, c, "a")
			synctest.Wait()
			time.Sleep(time.Second)
		}
		assert.InDelta(t, math.Exp(-1), float64(c.Stats().EarlyRefreshes)/rounds, 0.03)
	})
}

// T22: a life that is made shorter ends earlier.
func TestShorterTTLTakesEffect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := open(t, config{Policy: cache.Policy{TTL: time.Hour}})
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		require.NoError(t, c.SetEntry(t.Context(), "a", cache.Entry[string]{Value: "2", TTL: time.Second}))
		time.Sleep(time.Second)
		_, err := c.Get(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound)
		require.NoError(t, c.Set(t.Context(), "a", "1"))
		require.NoError(t, c.SetEntry(t.Context(), "a", cache.Entry[string]{Value: "3", TTL: -time.Second}))
		_, err = c.Get(t.Context(), "a")
		assert.True(t, err == cache.ErrNotFound, "a deadline in the past is no hit")
	})
}

// T21: at one instant a value is fresh or it is not, whoever looks.
func TestExpiryIsOneDecision(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, ClockStep: 10 * time.Millisecond, Policy: cache.Policy{TTL: time.Second, Stale: time.Second}})
		get(t, c, "a")
		for range 150 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait() // until the clock has stepped, which is due at the same instant
			p, ok := c.Peek("a")
			require.True(t, ok)
			e, err := c.GetEntry(t.Context(), "a")
			require.NoError(t, err)
			assert.Equal(t, p.Stale, e.Stale)
			assert.Equal(t, p.TTL <= 0, p.Stale)
			if p.Stale {
				break
			}
		}
	})
}

func TestLoadEntrySetsTTLAndRenews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		loads := 0
		c := open(t, config{
			Policy: cache.Policy{StaleIfError: time.Hour},
			LoadEntry: func(_ context.Context, _ string, old *cache.Entry[string]) (cache.Entry[string], error) {
				loads++
				if old != nil {
					return *old, nil
				}
				return cache.Entry[string]{Value: "1", TTL: time.Minute, Tags: []string{"t"}}, nil
			},
		})
		for range 3 {
			get(t, c, "a")
			e, _ := c.Peek("a")
			assert.Equal(t, time.Minute, e.TTL)
			time.Sleep(2 * time.Minute)
		}
		assert.Equal(t, 3, loads)
	})
}
