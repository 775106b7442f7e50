package cache

import (
	"math/bits"
	"sync/atomic"
)

// slots is an array of open addressing with linear probing. Its length is fixed;
// a rebuild makes a new one and leaves this as it is, for readers that still walk
// it. An entry never moves within it, so a reader never misses one that stays:
// between an entry's home and its place no slot is nil at any time.
type slots[K comparable, V any] struct {
	at []atomic.Pointer[entry[K, V]]
}

// minSlots is the length of an empty table.
const minSlots = 8

func newSlots[K comparable, V any](n int) *slots[K, V] {
	return &slots[K, V]{make([]atomic.Pointer[entry[K, V]], n)}
}

// home is where a hash would stand if nobody else did: multiply-shift, so that
// the length need not be a power of two.
func (s *slots[K, V]) home(hash uint64) int {
	i, _ := bits.Mul64(hash, uint64(len(s.at)))
	return int(i)
}

// find compares whole keys: equal hashes do not mix (T20). A tombstone is an entry
// whose hash nobody has.
func (s *slots[K, V]) find(key K, hash uint64) *entry[K, V] {
	at := s.at
	for i := s.home(hash); ; i++ {
		if i >= len(at) {
			i = 0
		}
		e := at[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == hash && e.key == key {
			return e
		}
	}
}

// occupy puts e, whose key is not in the table, into the first free slot, be it a
// tombstone.
func (s *shard[K, V]) occupy(e *entry[K, V]) {
	table := s.slots.Load()
	if s.used >= s.usable {
		table = s.rebuild()
	}
	for i := table.home(e.hash); ; i++ {
		if i >= len(table.at) {
			i = 0
		}
		switch table.at[i].Load() {
		case nil:
			s.used++
			fallthrough
		case s.grave:
			table.at[i].Store(e)
			return
		}
	}
}

// vacate leaves a tombstone where e stands. At the end of a run of slots nobody
// needs to walk past it, so there it, and tombstones before it, become nil.
func (s *shard[K, V]) vacate(e *entry[K, V]) {
	at := s.slots.Load().at
	i := s.slots.Load().home(e.hash)
	for at[i].Load() != e {
		if i++; i >= len(at) {
			i = 0
		}
	}
	at[i].Store(s.grave)
	if at[(i+1)%len(at)].Load() != nil {
		return
	}
	for at[i].Load() == s.grave {
		at[i].Store(nil)
		s.used--
		if i--; i < 0 {
			i = len(at) - 1
		}
	}
}

// rebuild copies the entries into a new array without tombstones, twice as large
// as they need, or of capacity/0.7 slots where that is less. Hence the array grows
// with the table, and at full size nothing of it is wasted.
func (s *shard[K, V]) rebuild() *slots[K, V] {
	n := slotsFor(2 * int(s.count.Load()))
	full := s.maxEntries > 0 && n >= slotsFor(s.maxEntries)
	if full {
		n = slotsFor(s.maxEntries)
	}
	old, table := s.slots.Load(), s.empty(n)
	if full {
		s.usable = n * 7 / 8
	}
	for i := range old.at {
		e := old.at[i].Load()
		if e == nil || e == s.grave {
			continue
		}
		j := table.home(e.hash)
		for table.at[j].Load() != nil {
			if j++; j >= n {
				j = 0
			}
		}
		table.at[j].Store(e)
		s.used++
	}
	s.slots.Store(table)
	return table
}

// empty returns an array of n slots for s to use up to seven tenths of, so that
// one that can still grow does so before walks get long.
func (s *shard[K, V]) empty(n int) *slots[K, V] {
	s.used, s.usable = 0, n*7/10
	return newSlots[K, V](n)
}

// slotsFor is 1/0.7 slots for each of n entries.
func slotsFor(n int) int { return max(minSlots, n+n*3/7+1) }
