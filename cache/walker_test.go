package cache

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// walk looks at every slot, queue and count of the table and reports what does
// not fit together. Nobody may write meanwhile, or the caller holds the locks.
func walk[K comparable, V any](t *table[K, V]) error {
	var all error
	for i := range t.shards {
		if err := walkShard(t, &t.shards[i]); err != nil {
			all = errors.Join(all, fmt.Errorf("shard %d: %w", i, err))
		}
	}
	return all
}

func walkShard[K comparable, V any](t *table[K, V], s *shard[K, V]) error {
	var all error
	bad := func(format string, args ...any) { all = errors.Join(all, fmt.Errorf(format, args...)) }
	seen := walkSlots(t, s, bad)
	if n := int(s.count.Load()); n != len(seen) || n != s.entries {
		bad("%d entries, count says %d and %d", len(seen), n, s.entries)
	}
	if s.maxEntries > 0 && len(seen) > s.maxEntries {
		bad("%d entries, at most %d", len(seen), s.maxEntries)
	}
	var weight int64
	queued := 0
	check := func(e *entry[K, V], i int, flag uint32, w int64) {
		switch {
		case e == nil:
			bad("no entry in cell %d of queue %x", i, flag)
			return
		case !seen[e]:
			bad("key %v is queued and not in the table", e.key)
		case e.pos != uint32(i)|flag:
			bad("key %v stands in cell %d of queue %x, says %x", e.key, i, flag, e.pos)
		}
		seen[e] = false // twice is an error as well
		weight += w
		queued++
	}
	w := &s.window
	for i := range w.n {
		c := w.cell(i)
		check(w.at[c], c, inWindow, w.weight(c))
	}
	if weight != w.total {
		bad("the window weighs %d, says %d", weight, w.total)
	}
	for i := range s.main.n {
		check(s.main.at[i], i, 0, s.main.weight(i))
	}
	if queued != len(seen) {
		bad("%d in queues, %d in the table", queued, len(seen))
	}
	if got := s.weight.Load(); got != weight || s.maxWeight > 0 && got > s.maxWeight {
		bad("weight is %d, says %d, at most %d", weight, got, s.maxWeight)
	}
	if extra := leftovers(s); extra > 0 {
		bad("%d cells beyond the queues keep an entry", extra)
	}
	return all
}

// walkSlots checks tags, counts and reachability, and returns the entries.
func walkSlots[K comparable, V any](t *table[K, V], s *shard[K, V], bad func(string, ...any)) map[*entry[K, V]]bool {
	at := s.slots.Load()
	seen, over := map[*entry[K, V]]bool{}, make([]uint64, len(at.groups))
	for i := range at.groups {
		g := &at.groups[i]
		for j := range g.at {
			e, tag := g.at[j].Load(), g.word.Load()>>(j*tagBits)&0xff
			if e == nil {
				if tag != 0 {
					bad("group %d has a tag for free place %d", i, j)
				}
				continue
			}
			seen[e] = true
			if e.hash != t.hash(e.key) || t.at(e.hash) != s {
				bad("key %v has another hash", e.key)
			}
			if tag != tagOf(e.hash) {
				bad("key %v has tag %x, not %x", e.key, tag, tagOf(e.hash))
			}
			if at.find(e.key, e.hash) != e {
				bad("key %v is not found", e.key)
			}
			if e.box.Load() == nil || e.loadHits()&^fused > maxHits || e.box.Load() == s.grave {
				bad("key %v has no box or %d hits", e.key, e.loadHits())
			}
			for k := at.home(e.hash); k != i; k = (k + 1) % len(at.groups) {
				over[k]++
			}
		}
	}
	for i, n := range over {
		if got := at.groups[i].word.Load() / passed; got != n && got != 0xff {
			bad("%d went past group %d, it says %d", n, i, got)
		}
	}
	return seen
}

// leftovers counts entries that cells keep from collection for nothing.
func leftovers[K comparable, V any](s *shard[K, V]) (n int) {
	for i, e := range s.main.at {
		if i >= s.main.n && e != nil {
			n++
		}
	}
	live := make(map[int]bool)
	for i := range s.window.n {
		live[s.window.cell(i)] = true
	}
	for i, e := range s.window.at {
		if !live[i] && e != nil {
			n++
		}
	}
	return n
}

// The walker must see each kind of damage, or its silence says nothing.
func TestWalkerSeesDamage(t *testing.T) {
	type (
		table_ = table[int, int]
		shard_ = shard[int, int]
	)
	damage := map[string]func(t *table_, s *shard_){
		"a count too high":          func(_ *table_, s *shard_) { s.count.Add(1) },
		"a weight too high":         func(_ *table_, s *shard_) { s.weight.Add(1) },
		"a window too heavy":        func(_ *table_, s *shard_) { s.window.total++ },
		"above the bound":           func(_ *table_, s *shard_) { s.maxEntries = 3 },
		"above the weight":          func(_ *table_, s *shard_) { s.maxWeight = 3 },
		"a wrong position":          func(_ *table_, s *shard_) { s.main.at[0].pos++ },
		"a wrong queue":             func(_ *table_, s *shard_) { s.main.at[0].pos |= inWindow },
		"one queued twice":          func(_ *table_, s *shard_) { s.main.at[0] = s.main.at[1] },
		"one not queued":            func(_ *table_, s *shard_) { s.main.n-- },
		"an empty cell":             func(_ *table_, s *shard_) { s.main.at[0] = nil },
		"a dead entry behind main":  func(_ *table_, s *shard_) { s.main.cells = s.main.grown(99, true); s.main.at[98] = s.main.at[0] },
		"one gone from the table":   func(_ *table_, s *shard_) { s.slots.Load().remove(s.main.at[0]) },
		"one only in the table":     func(_ *table_, s *shard_) { s.slots.Load().insert(stray(7000)) },
		"a tag without an entry":    func(_ *table_, s *shard_) { freeGroup(s).word.Add(1 << 48) },
		"a count of passers":        func(_ *table_, s *shard_) { s.slots.Load().groups[0].word.Add(passed) },
		"another hash":              func(_ *table_, s *shard_) { s.main.at[0].hash++ },
		"a tag that is another's":   func(t *table_, s *shard_) { g, j := placeOf(s, s.main.at[0]); g.word.Add(1 << (j * tagBits)) },
		"no box":                    func(_ *table_, s *shard_) { s.main.at[0].box.Store(nil) },
		"more hits than there are":  func(_ *table_, s *shard_) { s.main.at[0].hits = maxHits + 1 },
		"a dead entry in window":    func(_ *table_, s *shard_) { s.window.at = append(s.window.at, s.main.at[0]) },
		"an entry of another shard": func(t *table_, _ *shard_) { t.mask = 0; t.hashed = func(k int) uint64 { return uint64(k) } },
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			tab := newTable(tableConfig[int, int]{maxEntries: 100, maxWeight: 1000, hash: func(k int) uint64 { return uint64(k) * 0x9e3779b97f4a7c15 }})
			for k := range 60 {
				putIn(tab, k, k, 2)
			}
			require.NoError(t, walk(tab))
			harm(tab, &tab.shards[0])
			assert.Error(t, walk(tab))
		})
	}
}

func stray(key int) *entry[int, int] {
	e := &entry[int, int]{key: key, hash: uint64(key) * 0x9e3779b97f4a7c15}
	e.box.Store(&box[int]{})
	return e
}

// freeGroup returns a group whose last place is free.
func freeGroup(s *shard[int, int]) *group[int, int] {
	for i := range s.slots.Load().groups {
		if g := &s.slots.Load().groups[i]; g.at[6].Load() == nil {
			return g
		}
	}
	panic("all groups are full")
}

func placeOf(s *shard[int, int], e *entry[int, int]) (*group[int, int], int) {
	for i := range s.slots.Load().groups {
		g := &s.slots.Load().groups[i]
		for j := range g.at {
			if g.at[j].Load() == e {
				return g, j
			}
		}
	}
	panic("not there")
}

// putIn stores a value that never expires.
func putIn[K comparable, V any](t *table[K, V], key K, value V, weight int64) bool {
	var out removed[K, V]
	return putBox(t, key, &box[V]{value: value, soon: never}, weight, &out)
}

func putBox[K comparable, V any](t *table[K, V], key K, b *box[V], weight int64, out *removed[K, V]) bool {
	s, hash := t.lock(key)
	defer s.mu.Unlock()
	return s.put(key, hash, b, 0, weight, out)
}

func dropFrom[K comparable, V any](t *table[K, V], key K, out *removed[K, V]) bool {
	s, hash := t.lock(key)
	defer s.mu.Unlock()
	return s.drop(key, hash, out)
}

// valueOf is what a reader finds.
func valueOf[K comparable, V any](t *table[K, V], key K) (v V, ok bool) {
	if e := t.find(key, t.hash(key)); e != nil {
		return e.box.Load().value, true
	}
	return v, false
}
