package cache_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var errBroken = errors.New("source is broken")

func TestManyCallersShareOneLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load})
		release := src.block()
		var calls []<-chan outcome
		for range 100 {
			calls = append(calls, async(t.Context(), c, "a"))
		}
		synctest.Wait()
		release()
		for _, call := range calls {
			assert.Equal(t, "1", (<-call).value)
		}
		assert.Equal(t, int64(1), src.loads.Load())
		assert.Equal(t, int64(99), c.Stats().Coalesced)
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, int64(1), src.loads.Load())
		assert.Equal(t, 0, cache.Running(c))
	})
}

// T5: evicting the old entry is no reason to throw away what is being loaded.
func TestEvictionDoesNotDetachTheLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, MaxEntries: 1, Policy: cache.Policy{TTL: time.Second, StaleIfError: time.Hour}})
		get(t, c, "a")
		time.Sleep(2 * time.Second)
		src.put("a", "2")
		release := src.block()
		call := async(t.Context(), c, "a")
		synctest.Wait()
		require.NoError(t, c.Set(t.Context(), "b", "x"))
		require.NoError(t, c.Set(t.Context(), "c", "x"))
		release()
		assert.Equal(t, "2", (<-call).value)
		assert.Equal(t, "2", get(t, c, "a"))
		assert.Equal(t, int64(2), src.loads.Load())
	})
}

// T16: what the zero value of something looks like is a value all the same.
func TestEveryValueIsAValue(t *testing.T) {
	for _, value := range []string{"", "*", "null", "\x00"} {
		c := open(t, config{Load: newSource("a", value).load})
		assert.Equal(t, value, get(t, c, "a"))
		assert.Equal(t, value, get(t, c, "a"))
		assert.Equal(t, int64(1), c.Stats().Loads)
	}
	c, err := cache.New(cache.Config[int, *int]{Load: func(context.Context, int) (*int, error) { return nil, nil }})
	require.NoError(t, err)
	for range 2 {
		v, err := c.Get(t.Context(), 1)
		assert.NoError(t, err)
		assert.True(t, v == nil)
	}
	assert.Equal(t, int64(1), c.Stats().Loads)
}

// T24: the first caller is a caller like any other.
func TestLeaderThatLeavesFailsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load})
		release := src.block()
		ctx, cancel := context.WithCancelCause(t.Context())
		leader := async(ctx, c, "a")
		synctest.Wait()
		waiter := async(t.Context(), c, "a")
		synctest.Wait()
		cause := errors.New("client hung up")
		cancel(cause)
		assert.ErrorIs(t, (<-leader).err, cause)
		synctest.Wait()
		release()
		assert.Equal(t, outcome{value: "1"}, <-waiter)
		assert.Equal(t, int64(1), src.loads.Load())
	})
}

// T25: who waits leaves at its own deadline.
func TestWaiterLeavesAtItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load})
		release := src.block()
		leader := async(t.Context(), c, "a")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := <-async(ctx, c, "a")
		assert.ErrorIs(t, late.err, context.DeadlineExceeded)
		assert.NotErrorIs(t, late.err, cache.ErrLoadTimeout)
		assert.Equal(t, time.Second, late.took)
		release()
		assert.Equal(t, "1", (<-leader).value)
	})
}

// T37: nobody wants it any more, so the load is cancelled and the slot is free.
func TestLastWaiterCancelsTheLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var cancelled atomic.Bool
		c := open(t, config{Load: func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			cancelled.Store(true)
			return "", ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := async(ctx, c, "a"), async(ctx, c, "a")
		synctest.Wait()
		assert.False(t, cancelled.Load())
		cancel()
		assert.ErrorIs(t, (<-first).err, context.Canceled)
		assert.ErrorIs(t, (<-second).err, context.Canceled)
		synctest.Wait()
		assert.True(t, cancelled.Load())
		assert.Equal(t, 0, cache.Running(c))
	})
}

// T32: a load may take longer than TTL: life counts from its end.
func TestLoadLongerThanTTLIsStillAHit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		src.delay = 3 * time.Second
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: time.Second}})
		get(t, c, "a")
		time.Sleep(900 * time.Millisecond)
		e, err := c.GetEntry(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, int64(1), src.loads.Load())
		assert.Equal(t, cache.LayerLocal, e.Layer)
		assert.Equal(t, 100*time.Millisecond, e.TTL)
		assert.Equal(t, 3900*time.Millisecond, e.Age)
	})
}

// T17: half a second is half a second.
func TestShortTTLIsNotRounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1")
		c := open(t, config{Load: src.load, Policy: cache.Policy{TTL: 500 * time.Millisecond}})
		get(t, c, "a")
		time.Sleep(499 * time.Millisecond)
		get(t, c, "a")
		assert.Equal(t, int64(1), src.loads.Load())
		time.Sleep(time.Millisecond) // the deadline itself is past it
		get(t, c, "a")
		assert.Equal(t, int64(2), src.loads.Load())
	})
}

func TestLoadTimeoutReleasesCallersOfALoaderThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		c := open(t, config{
			Policy: cache.Policy{LoadTimeout: time.Second},
			Load: func(context.Context, string) (string, error) {
				<-release // and not ctx
				return "late", nil
			},
		})
		got := <-async(t.Context(), c, "a")
		assert.Equal(t, time.Second, got.took)
		assert.ErrorIs(t, got.err, cache.ErrLoadTimeout)
		assert.ErrorIs(t, got.err, context.DeadlineExceeded)
		failure, ok := errors.AsType[*cache.LoadError](got.err)
		require.True(t, ok)
		assert.Equal(t, any("a"), failure.Key)
		assert.Equal(t, time.Second, failure.Elapsed)
		close(release)
		synctest.Wait()
		assert.Equal(t, "late", get(t, c, "a"), "what comes late may be kept")
		assert.Equal(t, int64(1), c.Stats().LoadErrors)
	})
}

func TestLoadErrorReachesTheCause(t *testing.T) {
	src := newSource()
	src.fail(errBroken)
	c := open(t, config{Load: src.load})
	_, err := c.Get(t.Context(), "a")
	assert.ErrorIs(t, err, errBroken)
	assert.NotErrorIs(t, err, cache.ErrLoadTimeout)
	src.fail(nil)
	src.put("a", "1")
	assert.Equal(t, "1", get(t, c, "a"), "a failure is not kept")
}

// The key of a flight that equals nothing cannot be found again, so it must not
// get into a map.
func TestKeysThatEqualNothingAreNeverStored(t *testing.T) {
	loads := 0
	c, err := cache.New(cache.Config[float64, int]{Load: func(context.Context, float64) (int, error) { loads++; return loads, nil }})
	require.NoError(t, err)
	for i := range 3 {
		v, err := c.Get(t.Context(), math.NaN())
		assert.NoError(t, err)
		assert.Equal(t, i+1, v)
		assert.NoError(t, c.Set(t.Context(), math.NaN(), 1))
	}
	assert.Equal(t, int64(0), c.Stats().Entries)
	assert.Equal(t, 0, cache.Running(c))
}

func TestWithoutALoaderAMissIsNotFound(t *testing.T) {
	c := open(t, config{})
	_, err := c.Get(t.Context(), "a")
	assert.True(t, err == cache.ErrNotFound)
	require.NoError(t, c.Set(t.Context(), "a", "1"))
	assert.Equal(t, "1", get(t, c, "a"))
	v, err := c.GetOrLoad(t.Context(), "b", func(context.Context, string) (string, error) { return "own", nil })
	assert.NoError(t, err)
	assert.Equal(t, "own", v)
	assert.Equal(t, "own", get(t, c, "b"))
}

func TestCloseEndsLoadsAndCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1", "b", "2")
		c := open(t, config{Load: src.load})
		get(t, c, "b")
		defer src.block()()
		call := async(t.Context(), c, "a")
		synctest.Wait()
		assert.NoError(t, c.Close())
		assert.True(t, (<-call).err == cache.ErrClosed)
		_, err := c.Get(t.Context(), "b")
		assert.True(t, err == cache.ErrClosed)
		assert.True(t, c.Set(t.Context(), "b", "x") == cache.ErrClosed)
		assert.True(t, c.Invalidate(t.Context(), "b") == cache.ErrClosed)
		_, err = c.GetMany(t.Context(), []string{"a"})
		assert.True(t, err == cache.ErrClosed)
		assert.NoError(t, c.Close())
	})
}
