package cache

import (
	"math/bits"
	"sync/atomic"
)

// slots is a hash table of fixed length with open addressing. Only the owner of
// the shard's mutex writes to it; readers need no lock. An entry never moves within
// it, so that a reader never misses one that stays. To grow, the shard makes a new
// one and leaves this as it is, for readers that still walk it.
type slots[K comparable, V any] struct {
	groups []group[K, V]
}

// A group is a cache line: seven places, and a word with a tag for each and the
// number of entries that found the group full and went on, as in Facebook's F14.
// Comparing tags first saves the cache miss of looking at other keys' entries,
// and the count tells a reader to stop without tombstones, so that a table of
// fixed size is never rebuilt.
type group[K comparable, V any] struct {
	word atomic.Uint64
	at   [perGroup]atomic.Pointer[entry[K, V]]
}

const (
	perGroup = 7

	tagBits  = 8
	lows     = 0x0001010101010101 // bit 0 of each tag
	highs    = lows << 7
	passed   = 1 << (perGroup * tagBits) // one in the count
	passMost = 0xff * passed             // the count sticks here
)

// tagOf is not zero, the tag of a free place. It has bits that neither home nor
// the choice of the shard depend on, unless the table is huge.
func tagOf(hash uint64) uint64 { return max(1, hash>>12&0xff) }

// matches has the high bit of each byte that equals tag, and perhaps of others: a
// false alarm costs a comparison.
func matches(word, tag uint64) uint64 {
	x := word&(passed-1) ^ tag*lows
	return (x - lows) &^ x & highs
}

func newSlots[K comparable, V any](groups int) *slots[K, V] {
	return &slots[K, V]{make([]group[K, V], groups)}
}

// home is the group where a hash is looked for first: multiply-shift, so that the
// length need not be a power of two.
func (s *slots[K, V]) home(hash uint64) int {
	i, _ := bits.Mul64(hash, uint64(len(s.groups)))
	return int(i)
}

// find returns the entry of key, or nil. It compares whole keys: equal hashes do
// not mix. Nearly always the first entry with the tag in the first group is it, or
// there is none: to see that takes no loop, whose variables would have to be saved
// while keys are compared.
func (s *slots[K, V]) find(key K, hash uint64) *entry[K, V] {
	g := &s.groups[s.home(hash)]
	word := g.word.Load()
	m := matches(word, tagOf(hash))
	if m == 0 && word < passed {
		return nil
	}
	if m != 0 {
		if e := g.at[bits.TrailingZeros64(m)/tagBits].Load(); e != nil && e.hash == hash && e.key == key {
			return e
		}
	}
	return s.walk(key, hash)
}

// walk is find that looks everywhere.
func (s *slots[K, V]) walk(key K, hash uint64) *entry[K, V] {
	tag, i := tagOf(hash), s.home(hash)
	for range s.groups {
		g := &s.groups[i]
		word := g.word.Load()
		for m := matches(word, tag); m != 0; m &= m - 1 {
			// Nil: taken away after the word was loaded.
			if e := g.at[bits.TrailingZeros64(m)/tagBits].Load(); e != nil && e.hash == hash && e.key == key {
				return e
			}
		}
		if word < passed {
			return nil
		}
		if i++; i == len(s.groups) {
			i = 0
		}
	}
	return nil
}

// insert puts e, whose key is not there, into the first free place from its home
// on. There must be one.
func (s *slots[K, V]) insert(e *entry[K, V]) {
	for i := s.home(e.hash); ; i++ {
		if i == len(s.groups) {
			i = 0
		}
		g := &s.groups[i]
		word := g.word.Load()
		if free := matches(word, 0); free != 0 {
			j := bits.TrailingZeros64(free) / tagBits
			g.at[j].Store(e)
			g.word.Store(word | tagOf(e.hash)<<(j*tagBits))
			return
		}
		if word < passMost {
			g.word.Store(word + passed)
		}
	}
}

// remove takes e, which is there, out.
func (s *slots[K, V]) remove(e *entry[K, V]) {
	for i := s.home(e.hash); ; i++ {
		if i == len(s.groups) {
			i = 0
		}
		g := &s.groups[i]
		word := g.word.Load()
		for j := range g.at {
			if g.at[j].Load() == e {
				g.word.Store(word &^ (0xff << (j * tagBits)))
				g.at[j].Store(nil)
				return
			}
		}
		if word < passMost {
			g.word.Store(word - passed)
		}
	}
}

// swap puts e where old, which is there and has the same key, stands.
func (s *slots[K, V]) swap(old, e *entry[K, V]) {
	for i := s.home(e.hash); ; i++ {
		if i == len(s.groups) {
			i = 0
		}
		g := &s.groups[i]
		for j := range g.at {
			if g.at[j].Load() == old {
				g.at[j].Store(e)
				return
			}
		}
	}
}

// grow copies the entries into a table twice as large as they need, or of the size
// that the bound asks for where that is less.
func (s *shard[K, V]) grow() *slots[K, V] {
	n := 2 * s.entries
	if s.maxEntries > 0 {
		n = min(n, s.maxEntries)
	}
	old, next := s.slots.Load(), newSlots[K, V](groupsFor(n))
	for i := range old.groups {
		for j := range old.groups[i].at {
			if e := old.groups[i].at[j].Load(); e != nil {
				next.insert(e)
			}
		}
	}
	s.slots.Store(next)
	return next
}

// groupsFor has 1/0.7 places for each of n entries, so that few groups are full:
// a reader that looks for what is not there seldom needs a second one.
func groupsFor(n int) int { return n*10/(7*perGroup) + 1 }

// roomy tells whether n entries fit in without long walks.
func (s *slots[K, V]) roomy(n int) bool { return groupsFor(n) <= len(s.groups) }

// each calls yield for every entry until it returns false, and tells whether it
// came to the end. It walks the slots that it found at the beginning, where nobody
// moves; once they have been replaced, it looks up what has become of their keys.
func (s *shard[K, V]) each(yield func(*entry[K, V]) bool) bool {
	first := s.slots.Load()
	for i := range first.groups {
		for j := range first.groups[i].at {
			e := first.groups[i].at[j].Load()
			if now := s.slots.Load(); e != nil && now != first {
				e = now.find(e.key, e.hash)
			}
			if e != nil && !yield(e) {
				return false
			}
		}
	}
	return true
}
