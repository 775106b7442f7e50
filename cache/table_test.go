package cache

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T50: the bound holds at every moment, with 8 writers. Who looks counts entries,
// not a counter that may be as wrong as they are.
func TestBoundHoldsAtEveryMoment(t *testing.T) {
	for name, c := range map[string]tableConfig[int, int]{
		"one shard":    {maxEntries: 1000},
		"eight shards": {maxEntries: 1000, shards: 8},
		"weight":       {maxWeight: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(c)
			bound := func(s *shard[int, int]) int64 { return max(int64(s.maxEntries), s.maxWeight) }
			var writers sync.WaitGroup
			var done atomic.Bool
			for w := range 8 {
				writers.Go(func() {
					for i := range 5000 {
						putIn(tab, i*8+w, i, 1)
					}
				})
			}
			go func() { writers.Wait(); done.Store(true) }()
			for !done.Load() {
				assert.True(t, tab.len() <= 1000 && tab.weight() <= 1000, "%d entries, %d heavy", tab.len(), tab.weight())
				for i := range tab.shards {
					s := &tab.shards[i]
					s.mu.Lock()
					n := int64(0)
					s.each(func(*entry[int, int]) bool { n++; return true })
					s.mu.Unlock()
					assert.True(t, n <= bound(s), "%d entries of %d", n, bound(s))
				}
			}
			require.NoError(t, walk(tab))
			require.Equal(t, int64(1000), tab.len(), "and no room is wasted")
		})
	}
}

// T51: a value is visible to the next read, also for readers without a lock while
// others come, go and make the table grow.
func TestStableKeyIsNeverMissed(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 100000, shards: 2})
	const stable = 64
	for k := range stable {
		putIn(tab, k, 0, 0)
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for w := range 4 {
		writers.Go(func() {
			var out removed[int, int]
			for i := range 8000 {
				key := stable + w + 4*(i%5000)
				putIn(tab, key, i, 0)
				if v, ok := valueOf(tab, key); !ok || v != i {
					t.Errorf("key %d has %d, %t after a put of %d", key, v, ok, i)
				}
				if i%3 > 0 {
					dropFrom(tab, key, &out)
					if _, ok := valueOf(tab, key); ok {
						t.Errorf("key %d is there after it was dropped", key)
					}
				}
				putIn(tab, i%stable/4*4+w, i, 0)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				for k := range stable {
					if _, ok := valueOf(tab, k); !ok {
						t.Errorf("key %d was missed", k)
					}
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	require.NoError(t, walk(tab))
}

// T52: the weight of a value that changes in place counts, one above the bound is
// refused and takes the old value with it, and the sum does not overflow.
func TestWeights(t *testing.T) {
	tab := newTable(tableConfig[string, int]{maxWeight: 10})
	for _, k := range []string{"a", "b", "c"} {
		require.True(t, putIn(tab, k, 1, 3))
	}
	require.Equal(t, int64(9), tab.weight())
	putIn(tab, "a", 2, 4)
	require.Equal(t, int64(10), tab.weight())
	require.Equal(t, int64(3), tab.len())

	putIn(tab, "a", 3, 7) // no room for it: another leaves, never "a" itself
	require.Equal(t, int64(10), tab.weight())
	require.Equal(t, int64(2), tab.len())
	v, ok := valueOf(tab, "a")
	require.True(t, ok && v == 3)
	putIn(tab, "a", 4, 1)
	require.Equal(t, int64(4), tab.weight())

	out := removed[string, int]{keep: true}
	require.True(t, !putBox(tab, "a", &box[int]{value: 5, soon: never}, 11, &out), "too heavy")
	_, ok = valueOf(tab, "a")
	require.True(t, !ok, "the old value must not stay")
	require.Equal(t, 1, len(out.values))
	require.Equal(t, replaced, out.values[0].why)
	require.True(t, putIn(tab, "z", 1, 0), "weight 0 is fine")
	require.True(t, putIn(tab, "all", 1, 10), "as heavy as the bound is fine")
	require.Equal(t, int64(10), tab.weight())
	require.NoError(t, walk(tab))
}

func TestSumOfWeightsDoesNotOverflow(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxWeight: math.MaxInt64})
	for k := range 5 {
		require.True(t, putIn(tab, k, k, math.MaxInt64/2))
		require.True(t, putIn(tab, k, k, math.MaxInt64))
		require.True(t, putIn(tab, k, k, math.MaxInt64-1))
		require.True(t, tab.weight() > 0 && tab.len() == 1, "%d entries, %d heavy", tab.len(), tab.weight())
	}
	putIn(tab, 1, 1, math.MaxInt64/2)
	putIn(tab, 2, 2, math.MaxInt64/2)
	require.Equal(t, int64(2), tab.len())
	putIn(tab, 2, 3, math.MaxInt64) // the other one has to leave
	require.True(t, tab.weight() == math.MaxInt64 && tab.len() == 1, "%d entries, %d heavy", tab.len(), tab.weight())
	require.NoError(t, walk(tab))
}

// T53: a loop over somewhat more than fits keeps hits. LRU has none.
func TestLoopKeepsHits(t *testing.T) {
	const capacity = 1000
	tab := newTable(tableConfig[int, int]{maxEntries: capacity})
	hits, reads := 0, 0
	for round := range 40 {
		for k := range capacity * 11 / 10 {
			_, ok := valueOf(tab, k)
			if !ok {
				putIn(tab, k, k, 0)
			}
			if round >= 20 {
				reads++
				if ok {
					hits++
				}
			}
		}
	}
	ratio := float64(hits) / float64(reads)
	assert.True(t, ratio > 0.6, "%.2f of the reads hit", ratio)
	t.Logf("hit ratio %.3f", ratio)
}

// T54: iteration yields each key that stays once, with its present value, although
// the table grows and values change under it.
func TestIterationDuringGrowth(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 100000})
	for k := range 50 {
		putIn(tab, k, k, 0)
	}
	before := tab.shards[0].slots.Load()
	seen, changed := map[int]int{}, false
	tab.each(func(e *entry[int, int]) bool {
		if !changed {
			changed = true
			for k := range 5000 {
				putIn(tab, 1000+k, k, 0)
			}
			for k := range 50 {
				putIn(tab, k, -k, 0)
			}
			var out removed[int, int]
			for k := 40; k < 50; k++ {
				dropFrom(tab, k, &out)
			}
		} else if e.key < 50 {
			assert.Equal(t, -e.key, e.box.Load().value)
			assert.True(t, e.key < 40, "key %d is long gone", e.key)
		}
		seen[e.key]++
		return true
	})
	require.True(t, before != tab.shards[0].slots.Load(), "the table was to grow")
	for k := range 40 {
		assert.Equal(t, 1, seen[k], "key %d", k)
	}
	n := 0
	tab.each(func(*entry[int, int]) bool { n++; return n < 3 })
	assert.Equal(t, 3, n, "iteration stops when told")
}

// T55: every value is reported once, whatever made it leave and whoever did.
func TestEveryValueIsReportedOnce(t *testing.T) {
	tab := newTable(tableConfig[int, int]{maxEntries: 200, shards: 2})
	const writers, each = 4, 5000
	var all [writers]removed[int, int]
	var wg sync.WaitGroup
	for w := range writers {
		all[w].keep = true
		wg.Go(func() {
			for i := range each {
				key := i * 7 % 301
				putBox(tab, key, &box[int]{value: w*each + i, soon: never}, 0, &all[w])
				if i%5 == 0 {
					dropFrom(tab, key, &all[w])
				}
			}
		})
	}
	wg.Wait()
	last := removed[int, int]{keep: true}
	tab.clear(&last)
	left := map[int]int{}
	for _, out := range append(all[:], last) {
		for _, r := range out.values {
			left[r.box.value]++
		}
	}
	require.Equal(t, writers*each, len(left))
	for v, n := range left {
		require.Equal(t, 1, n, "value %d", v)
	}
	require.Equal(t, int64(0), tab.len())
	require.NoError(t, walk(tab))
}

// Who does not ask for values gets none; they are counted all the same.
func TestNobodyIsToldForNothing(t *testing.T) {
	var out removed[int, int]
	tab := newTable(tableConfig[int, int]{maxEntries: 2})
	for k := range 5 {
		putBox(tab, k, &box[int]{soon: never}, 0, &out)
	}
	putBox(tab, 4, &box[int]{soon: never}, 0, &out)
	dropFrom(tab, 4, &out)
	require.Equal(t, []int64{3, 0}, []int64{tab.gone(evicted), tab.gone(expired)})
	require.Equal(t, 0, len(out.values))
}

// T56: a table that nobody holds is collected, and so are values that left one.
func TestDroppedTablesAreCollected(t *testing.T) {
	tab := newTable(tableConfig[int, *[1 << 10]byte]{maxEntries: 4})
	put := func(key int) weak.Pointer[[1 << 10]byte] {
		v := new([1 << 10]byte)
		putIn(tab, key, v, 0)
		return weak.Make(v)
	}
	gone, replaced := put(1), put(2)
	putIn(tab, 2, new([1 << 10]byte), 0)
	var out removed[int, *[1 << 10]byte]
	dropFrom(tab, 1, &out)
	runtime.GC()
	assert.True(t, gone.Value() == nil, "a dropped value is kept")
	assert.True(t, replaced.Value() == nil, "a replaced value is kept")
	held := weak.Make(tab)
	runtime.KeepAlive(tab)
	runtime.GC()
	assert.True(t, held.Value() == nil, "the table is kept")
}

func TestAllocations(t *testing.T) {
	tab := newTable(tableConfig[string, string]{maxEntries: 5000, shards: 1})
	keys := make([]string, 20000)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
		putIn(tab, keys[i], "v", 0)
	}
	last := keys[len(keys)-1]
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { tab.find(last, tab.hash(last)); tab.peek("absent") }), "find")
	assert.Equal(t, 1.0, testing.AllocsPerRun(100, func() { putIn(tab, last, "w", 0) }), "put of a present key")
	i := 0
	assert.Equal(t, 1.0, testing.AllocsPerRun(1000, func() { putIn(tab, keys[i], "w", 0); i++ }), "put of a new key")
}

// NaN is not equal to itself: nobody could ever find it again.
func TestNaNIsNotStored(t *testing.T) {
	tab := newTable(tableConfig[float64, int]{maxEntries: 4})
	assert.True(t, !putIn(tab, math.NaN(), 1, 0))
	assert.True(t, putIn(tab, math.Inf(1), 1, 0))
	assert.Equal(t, int64(1), tab.len())
}

// Shards divide the bound without remainder, and small or weighted tables have
// one.
func TestShards(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for _, c := range []struct {
		config tableConfig[int, int]
		shards int
	}{
		{tableConfig[int, int]{maxEntries: 1}, 1},
		{tableConfig[int, int]{maxEntries: 2*minShard - 1}, 1},
		{tableConfig[int, int]{maxEntries: 2*minShard + 1}, 2},
		{tableConfig[int, int]{maxEntries: 1 << 20}, 8},
		{tableConfig[int, int]{maxEntries: 1 << 20, maxWeight: 5}, 1},
		{tableConfig[int, int]{maxWeight: 1 << 40}, 1},
	} {
		tab := newTable(c.config)
		assert.Equal(t, c.shards, len(tab.shards), "%d entries, weight %d", c.config.maxEntries, c.config.maxWeight)
		sum := 0
		for i := range tab.shards {
			sum += tab.shards[i].maxEntries
		}
		assert.Equal(t, c.config.maxEntries, sum)
	}
}
