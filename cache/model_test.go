package cache

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/require"
)

// A model is what a table must look like from outside: a map. What it cannot
// know is whom the policy evicts; that it takes from what the table reports, and
// checks that there was a reason.
type model struct {
	t     *testing.T
	table *table[int, int]
	live  map[int]stored
	now   int64
	next  int // every value is another

	maxEntries int
	maxWeight  int64
	gone       [reasons]int64
}

type stored struct {
	value  int
	soon   int64
	weight int64
}

// A shape is one configuration of the matrix bound x weights x collisions.
type shape struct {
	maxEntries int
	maxWeight  int64
	shards     int
	hash       func(int) uint64
}

func shapes() map[string]shape {
	same := func(int) uint64 { return 12 << 12 }
	few := func(k int) uint64 { return uint64(k%3) * 0x5555555555555555 }
	return map[string]shape{
		"one entry":              {maxEntries: 1},
		"two entries":            {maxEntries: 2},
		"seven entries":          {maxEntries: 7},
		"fifty entries":          {maxEntries: 50},
		"four shards":            {maxEntries: 41, shards: 4},
		"room for all":           {maxEntries: 500},
		"weight":                 {maxWeight: 100},
		"weight and entries":     {maxWeight: 100, maxEntries: 20},
		"weight one":             {maxWeight: 1},
		"equal hashes":           {maxEntries: 30, hash: same},
		"three hashes":           {maxEntries: 50, hash: few},
		"equal hashes, weighted": {maxWeight: 200, hash: same},
	}
}

func newModel(t *testing.T, s shape) *model {
	m := &model{t: t, live: map[int]stored{}, maxEntries: s.maxEntries, maxWeight: s.maxWeight}
	m.table = newTable(tableConfig[int, int]{
		maxEntries: s.maxEntries, maxWeight: s.maxWeight, shards: max(1, s.shards), hash: s.hash,
		now: func() int64 { return m.now }, dead: func(b *box[int], now int64) bool { return b.soon <= now },
	})
	return m
}

// step does the operation that three bytes say.
func (m *model) step(op, a, b byte) {
	key, out := int(a)%100, removed[int, int]{keep: true}
	switch op % 16 {
	default:
		m.read(key)
	case 0, 1, 2, 3, 4, 5:
		m.put(key, stored{weight: int64(b % 8), soon: never}, &out)
	case 6, 7:
		m.put(key, stored{weight: int64(b), soon: m.now + int64(b)}, &out)
	case 8:
		_, there := m.live[key]
		require.Equal(m.t, there, dropFrom(m.table, key, &out))
		m.settle(&out, false)
	case 9:
		m.now += int64(b)
	case 10:
		if b < 16 {
			m.table.clear(&out)
			m.settle(&out, false)
			require.Equal(m.t, 0, len(m.live))
		}
	}
	m.check()
}

func (m *model) read(key int) {
	want, there := m.live[key]
	got, found := valueOf(m.table, key)
	require.Equal(m.t, there, found, "key %d", key)
	require.Equal(m.t, want.value, got, "key %d", key)
}

func (m *model) put(key int, s stored, out *removed[int, int]) {
	m.next++
	s.value = m.next
	kept := putBox(m.table, key, &box[int]{value: s.value, soon: s.soon}, s.weight, out)
	require.Equal(m.t, m.maxWeight == 0 || s.weight <= m.maxWeight, kept)
	old, update := m.live[key]
	full := m.maxEntries > 0 && (len(m.live) >= m.least() && !update) ||
		m.maxWeight > 0 && m.weight()-old.weight+s.weight > m.maxWeight
	m.settle(out, full)
	_, still := m.live[key]
	require.True(m.t, !still, "the old value of %d was not reported", key)
	if kept {
		m.live[key] = s
		m.read(key) // T51
	}
}

// least is how many entries there are at least when a shard is full.
func (m *model) least() int { return m.maxEntries / len(m.table.shards) }

func (m *model) weight() (sum int64) {
	for _, s := range m.live {
		sum += s.weight
	}
	return sum
}

// settle takes out of the map what left the table: each value once (T55), those
// that expired only when due, and others for room only if there was none.
func (m *model) settle(out *removed[int, int], full bool) {
	var count [reasons]int64
	for _, r := range out.values {
		s, there := m.live[r.key]
		require.True(m.t, there && s.value == r.box.value, "key %d left with a value that was not there", r.key)
		require.True(m.t, r.why != expired || m.now >= s.soon, "key %d expired early", r.key)
		require.True(m.t, r.why != evicted || full, "key %d was evicted although there was room", r.key)
		delete(m.live, r.key)
		if r.why < reasons {
			count[r.why]++
		}
	}
	for why, n := range count {
		m.gone[why] += n
		require.Equal(m.t, m.gone[why], m.table.gone(reason(why)))
	}
}

func (m *model) check() {
	require.NoError(m.t, walk(m.table))
	require.Equal(m.t, int64(len(m.live)), m.table.len())
	seen := map[int]int{}
	m.table.each(func(e *entry[int, int]) bool {
		seen[e.key] = e.box.Load().value
		return true
	})
	require.Equal(m.t, len(m.live), len(seen))
	for key, s := range m.live {
		require.Equal(m.t, s.value, seen[key])
		require.Equal(m.t, s.value, m.table.peek(key).box.Load().value)
	}
	if m.maxWeight > 0 {
		require.Equal(m.t, m.weight(), m.table.weight())
	}
}

func TestTableIsAMapThatForgets(t *testing.T) {
	for name, s := range shapes() {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			random := rand.New(rand.NewPCG(seed, 1))
			m := newModel(t, s)
			for range 1500 {
				n := random.Uint32()
				m.step(byte(n), byte(n>>8), byte(n>>16))
			}
		})
	}
}

func FuzzTable(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 2, 0, 1, 3, 8, 1, 0})
	f.Add(uint8(6), []byte("put drop find clear and so on, whatever the bytes say"))
	names := make([]string, 0, len(shapes()))
	for name := range shapes() {
		names = append(names, name)
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, which uint8, program []byte) {
		m := newModel(t, shapes()[names[int(which)%len(names)]])
		for ; len(program) >= 3; program = program[3:] {
			m.step(program[0], program[1], program[2])
		}
	})
}

// T20: keys whose hashes are equal do not mix.
func TestEqualHashesDoNotMix(t *testing.T) {
	tab := newTable(tableConfig[string, string]{maxEntries: 1000, hash: func(string) uint64 { return 99 }})
	for i := range 500 {
		putIn(tab, fmt.Sprint(i), fmt.Sprint("v", i), 0)
	}
	for i := range 500 {
		v, ok := valueOf(tab, fmt.Sprint(i))
		require.True(t, ok)
		require.Equal(t, fmt.Sprint("v", i), v)
	}
	_, ok := valueOf(tab, "500")
	require.True(t, !ok)
	require.NoError(t, walk(tab))
}

// Two caches place the same keys differently, so that nobody can prepare keys
// that collide.
func TestSeedsDiffer(t *testing.T) {
	a, b := newTable(tableConfig[string, int]{maxEntries: 9}), newTable(tableConfig[string, int]{maxEntries: 9})
	require.True(t, a.hash("key") != b.hash("key"))
	a.seed = maphash.MakeSeed()
	require.Equal(t, a.hash("key"), a.hash("key"))
}
