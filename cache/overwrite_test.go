package cache

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// apart returns a cache of plain values, and the entry of "a", which Sets replace
// without the lock: the first two gave it a box of its own.
func apart(t *testing.T, c Config[string, int]) (*Cache[string, int], *shard[string, int], *entry[string, int]) {
	t.Helper()
	n, err := New(c)
	require.NoError(t, err)
	require.NoError(t, n.Set(t.Context(), "a", 1))
	require.NoError(t, n.Set(t.Context(), "a", 2))
	hash := n.table.hash("a")
	s := n.table.at(hash)
	e := s.get("a", hash)
	require.True(t, !e.fused())
	return n, s, e
}

func peek(t *testing.T, c *Cache[string, int], key string) int {
	t.Helper()
	e, ok := c.Peek(key)
	require.True(t, ok, "%s is not there", key)
	return e.Value
}

func TestSetOfAPresentKeyTakesNoLock(t *testing.T) {
	c, s, e := apart(t, Config[string, int]{Policy: Policy{TTL: time.Hour}})
	s.mu.Lock() // whoever wants it waits for ever
	require.NoError(t, c.Set(t.Context(), "a", 3))
	s.mu.Unlock()
	assert.Equal(t, 3, peek(t, c, "a"))
	assert.True(t, s.get("a", c.table.hash("a")) == e)
	require.NoError(t, walk(c.table))
}

// A Set that looked for flights before one began is older than the load, which
// replaces it. Its value leaves once.
func TestSetBeforeALoadIsReplacedByIt(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	left := make(chan int, 9)
	c, s, e := apart(t, Config[string, int]{
		OnRemove: func(_ string, v int) { left <- v },
		Load: func(context.Context, string) (int, error) {
			close(begun)
			<-proceed
			return 100, nil
		},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Refresh(t.Context(), "a")
	}()
	<-begun
	old := e.box.Swap(&box[int]{value: 3, soon: never}) // the rest of that Set
	require.Equal(t, 2, old.value)
	close(proceed)
	<-done
	assert.Equal(t, 100, peek(t, c, "a"))
	assert.Equal(t, 1, <-left)
	assert.Equal(t, 3, <-left)
	assert.Equal(t, 0, len(left))
	assert.Equal(t, int64(0), s.flying.Load())
	require.NoError(t, walk(c.table))
}

// refreshing is a cache with "a" apart from its table, of which a Refresh is in the
// loader. land lets that return 100 and waits for its end.
func refreshing(t *testing.T) (c *Cache[string, int], s *shard[string, int], e *entry[string, int], land func()) {
	begun, proceed, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	c, s, e = apart(t, Config[string, int]{Load: func(context.Context, string) (int, error) {
		close(begun)
		<-proceed
		return 100, nil
	}})
	go func() {
		defer close(done)
		_, _ = c.Refresh(t.Context(), "a")
	}()
	<-begun
	return c, s, e, func() {
		close(proceed)
		<-done
	}
}

// T5: the value that a flight began with may go, and it is stored.
func TestEvictionOfWhatAFlightSawFencesNothing(t *testing.T) {
	c, s, e, land := refreshing(t)
	s.mu.Lock()
	s.remove(e, evicted, &removed[string, int]{})
	s.publish()
	s.mu.Unlock()
	land()
	assert.Equal(t, 100, peek(t, c, "a"))
}

// T4: while a flight is under way, a Set takes the lock and detaches it.
func TestSetFencesTheLoadThatItSees(t *testing.T) {
	c, s, _, land := refreshing(t)
	require.Equal(t, int64(1), s.flying.Load())
	require.NoError(t, c.Set(t.Context(), "a", 3))
	assert.Equal(t, int64(0), s.flying.Load(), "it is detached")
	land()
	assert.Equal(t, 3, peek(t, c, "a"))
}

// T4: Sets go without the lock again only once the load has stored what it read, or
// that would replace the value of a Set which came later. Who waits for that instant
// gets in between, some rounds at least, if the flight leaves its slot first.
func TestSetBehindALoadIsNotReplacedByIt(t *testing.T) {
	proceed := make(chan struct{})
	c, s, e := apart(t, Config[string, int]{Load: func(context.Context, string) (int, error) {
		<-proceed
		return 100, nil
	}})
	for round := range 1500 {
		var set sync.WaitGroup
		set.Go(func() {
			b := box[int]{value: round, soon: math.MaxInt64} // it ends no earlier than what the load has stored
			for s.flying.Load() == 0 {
				runtime.Gosched()
			}
			proceed <- struct{}{}
			for i := 1; s.flying.Load() != 0; i++ {
				if i%1000 == 0 {
					runtime.Gosched() // where there is one processor alone
				}
			}
			assert.True(t, s.overwrite(e, &b, c.epoch.Load(), &removed[string, int]{}))
		})
		_, err := c.Refresh(t.Context(), "a")
		require.NoError(t, err)
		set.Wait()
		require.Equal(t, round, peek(t, c, "a"))
	}
}

// What has left the table takes no value: nobody would find it, and nobody would
// be told that it left.
func TestBuriedEntriesTakeNoValue(t *testing.T) {
	for name, leave := range map[string]func(*Cache[string, int]) error{
		"invalidate": func(c *Cache[string, int]) error { return c.Invalidate(t.Context(), "a") },
		"clear":      func(c *Cache[string, int]) error { return c.Clear(t.Context()) },
	} {
		c, s, e := apart(t, Config[string, int]{})
		epoch := e.loadEpoch()
		require.NoError(t, leave(c))
		assert.False(t, s.overwrite(e, &box[int]{value: 3, soon: 2*never - 1}, epoch, &removed[string, int]{}), name)
	}
}

// A value that ends before the one that it replaces goes through the lock, where
// the sweep is told.
func TestShorterLivesGoThroughTheLock(t *testing.T) {
	c, s, e := apart(t, Config[string, int]{Policy: Policy{TTL: time.Minute}})
	require.NoError(t, c.SetEntry(t.Context(), "a", Entry[int]{Value: 3, TTL: time.Hour}))
	soon := c.plainSoon(c.clock.now())
	assert.False(t, s.overwrite(e, &box[int]{value: 4, soon: soon}, e.loadEpoch(), &removed[string, int]{}))
	require.NoError(t, c.Set(t.Context(), "a", 4))
	assert.Equal(t, 4, peek(t, c, "a"))
	assert.True(t, s.broom.due <= e.box.Load().soon)
	require.NoError(t, walk(c.table))
}

// A Set without the lock may come between the sweep's look at a value and its
// removal: the fresh value stays, and nobody is told that it left.
func TestSweepLeavesAValueThatCameAfterItsLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left []int
		c, s, e := apart(t, Config[string, int]{
			MaxEntries: 1000, Policy: Policy{TTL: time.Second}, OnRemove: func(_ string, v int) { left = append(left, v) },
		})
		fill := func(prefix string) {
			for i := range 200 {
				require.NoError(t, c.Set(t.Context(), prefix+strconv.Itoa(i), 0))
			}
		}
		fill("f")
		require.True(t, e.pos&inWindow == 0, "the sweep looks at main")
		time.Sleep(2 * time.Second)
		dead, met := s.dead, false
		s.dead = func(b *box[int], now int64) bool {
			if b.value == 2 && !met {
				met = true
				require.NoError(t, c.Set(t.Context(), "a", 3)) // the mutex is held
			}
			return dead(b, now)
		}
		fill("g")
		require.True(t, met)
		assert.Equal(t, 3, peek(t, c, "a"))
		assert.False(t, slices.Contains(left, 3))
		assert.True(t, slices.Contains(left, 2))
		require.NoError(t, walk(c.table))
	})
}

// Why a value left is decided when no Set can put another one in its place any
// more.
func TestEvictionJudgesTheValueThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, e := apart(t, Config[string, int]{MaxEntries: 1000, Policy: Policy{TTL: time.Second}})
		time.Sleep(2 * time.Second)
		s.broom.now = s.now()
		dead, judged := s.dead, false
		s.dead = func(b *box[int], now int64) bool {
			judged = true
			fresh := box[int]{value: 3, soon: c.plainSoon(now)}
			assert.False(t, s.overwrite(e, &fresh, e.loadEpoch(), &removed[string, int]{}))
			return dead(b, now)
		}
		out := removed[string, int]{keep: true}
		s.mu.Lock()
		weight := s.weightOf(e)
		s.unlink(e)
		s.leave(e, weight, &out)
		s.publish()
		s.mu.Unlock()
		require.True(t, judged)
		require.Equal(t, 1, len(out.values))
		assert.Equal(t, 2, out.values[0].box.value)
		assert.True(t, out.values[0].why == expired)
		require.NoError(t, walk(c.table))
	})
}

// A TTL that reaches beyond the end of the clock is none, and the age is known.
func TestHugeTTLKeepsTheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config[string, int]{Policy: Policy{TTL: math.MaxInt64}})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, c.Set(t.Context(), "a", 1))
		time.Sleep(time.Minute)
		e, err := c.GetEntry(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, time.Minute, e.Age)
	})
}

// T55, T1: whatever Sets, loads, invalidations, expiry and evictions meet, each value
// leaves once, and none comes back.
func TestEachValueLeavesOnceWithoutTheLock(t *testing.T) {
	for _, ttl := range []time.Duration{0, 50 * time.Microsecond} {
		const writers, each = 8, 4000
		const loaded = writers * each // values from here on are loads', and may never have come in
		var left [2 * loaded]atomic.Int32
		var sets, loads atomic.Int64
		c, err := New(Config[int, int]{
			MaxEntries: 8, Policy: Policy{TTL: ttl},
			OnRemove: func(_, v int) { left[v].Add(1) },
			Load: func(context.Context, int) (int, error) {
				v := loaded + int(loads.Add(1))
				if v%9 == 0 {
					return 0, ErrNotFound
				}
				return v, nil
			},
		})
		require.NoError(t, err)
		var running sync.WaitGroup
		for w := range writers {
			running.Go(func() {
				for i := range each {
					switch key := (i + w) * 7 % 10; {
					case i%64 == w:
						_ = c.Invalidate(t.Context(), key)
					case i%512 == 100+w:
						_ = c.Clear(t.Context())
					case i%16 == w:
						_, _ = c.Refresh(t.Context(), key)
					default:
						_ = c.Set(t.Context(), key, int(sets.Add(1)-1))
					}
				}
			})
		}
		running.Wait()
		require.NoError(t, c.Close()) // all have been told
		require.NoError(t, walk(c.table))
		c.table.each(func(e *entry[int, int]) bool {
			left[e.box.Load().value].Add(1)
			return true
		})
		for v := range left {
			if n := left[v].Load(); n > 1 || n == 0 && v < int(sets.Load()) {
				t.Fatalf("value %d left or is there %d times", v, n)
			}
		}
	}
}

// What has no box of its own keeps its first value alive, and what is of another
// epoch would stay untrusted.
func TestSetsThatNeedTheLockTakeIt(t *testing.T) {
	c, s, e := apart(t, Config[string, int]{})
	var out removed[string, int]
	next := box[int]{value: 3, soon: 2*never - 1}
	assert.False(t, s.overwrite(e, &next, e.loadEpoch()+2, &out))
	require.NoError(t, c.Set(t.Context(), "b", 1))
	hash := c.table.hash("b")
	s = c.table.at(hash)
	first := s.get("b", hash)
	assert.False(t, s.overwrite(first, &next, first.loadEpoch(), &out))
}

// T55: a Set under the lock, of an entry with a life of its own, and one without it
// meet at one key: neither loses the other's value, nor reports it twice.
func TestSetsWithAndWithoutTheLockPassEachValueOn(t *testing.T) {
	const each = 50_000
	var left [2 * each]atomic.Int32
	c, err := New(Config[int, int]{MaxEntries: 8, OnRemove: func(_, v int) { left[v].Add(1) }})
	require.NoError(t, err)
	require.NoError(t, c.Set(t.Context(), 1, 0))
	require.NoError(t, c.Set(t.Context(), 1, each)) // the entry has a box of its own
	var running sync.WaitGroup
	running.Go(func() {
		for v := 1; v < each; v++ {
			_ = c.Set(t.Context(), 1, v)
		}
	})
	running.Go(func() {
		for v := each + 1; v < 2*each; v++ {
			_ = c.SetEntry(t.Context(), 1, Entry[int]{Value: v, TTL: time.Nanosecond})
		}
	})
	running.Wait()
	if e := c.table.peek(1); e != nil { // expiry may have taken it
		left[e.box.Load().value].Add(1)
	}
	require.NoError(t, c.Close())
	for v := range left {
		if n := left[v].Load(); n != 1 {
			t.Fatalf("value %d left or is there %d times", v, n)
		}
	}
}
