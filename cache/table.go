package cache

import (
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
)

// A table is L1: a bounded hash table that readers walk without a lock. Writers
// hold the mutex of the key's shard, but for some Sets of keys that are there, see
// overwrite. A shard is a table of its own with its share of the bound, so the
// bound of the whole holds at every moment.
type table[K comparable, V any] struct {
	shards []shard[K, V]
	mask   uint64 // len(shards)-1
	seed   maphash.Seed
	hashed func(K) uint64 // tests: instead of maphash
}

// tableConfig says what a table may hold. Both bounds may be set, one must be.
type tableConfig[K comparable, V any] struct {
	maxEntries int   // zero: none
	maxWeight  int64 // zero: none, and weights are not looked at

	// dead tells whether a box is past its whole life, so that the policy may drop
	// it. It is asked only if the box's soon is due. Nil: nothing dies.
	dead func(b *box[V], now int64) bool
	now  func() int64 // required with dead

	shards int            // zero: by the number of processors
	hash   func(K) uint64 // tests: instead of maphash with a random seed
	draw   func() uint64  // tests: instead of rand.Uint64
}

const (
	// minShard is the least that a shard holds. Smaller ones split the keys too
	// unevenly: the fullest evicts while others have room.
	minShard = 1024

	// spread is how many shards there are per processor, so that two writers seldom
	// meet.
	spread = 4
)

// newTable returns an empty table. Its memory grows with what it holds.
func newTable[K comparable, V any](c tableConfig[K, V]) *table[K, V] {
	if c.draw == nil {
		c.draw = rand.Uint64
	}
	n := c.shards
	if n == 0 {
		n = shardsFor(c)
	}
	t := &table[K, V]{shards: make([]shard[K, V], n), mask: uint64(n - 1), seed: maphash.MakeSeed(), hashed: c.hash}
	for i := range t.shards {
		share := c
		share.maxEntries = c.maxEntries / n
		if i < c.maxEntries%n {
			share.maxEntries++
		}
		t.shards[i].init(share)
	}
	return t
}

// shardsFor is one for weighted tables: an entry heavier than a shard's share must
// still fit.
func shardsFor[K comparable, V any](c tableConfig[K, V]) int {
	n := 1
	for c.maxWeight == 0 && 2*n <= spread*runtime.GOMAXPROCS(0) && c.maxEntries/(2*n) >= minShard {
		n *= 2
	}
	return n
}

// find returns the entry of key, or nil, and counts the read for the policy. No
// lock, no allocation.
func (t *table[K, V]) find(key K, hash uint64) *entry[K, V] {
	e := t.shards[hash&t.mask].slots.Load().find(key, hash)
	if e != nil {
		e.touch()
	}
	return e
}

// peek is find without any side effect.
func (t *table[K, V]) peek(key K) *entry[K, V] {
	hash := t.hash(key)
	return t.at(hash).slots.Load().find(key, hash)
}

// lock locks the shard of key. The caller unlocks s.mu.
func (t *table[K, V]) lock(key K) (s *shard[K, V], hash uint64) {
	hash = t.hash(key)
	s = t.at(hash)
	s.mu.Lock()
	return s, hash
}

// hash has a seed that differs between caches, so that nobody can choose keys that
// collide.
func (t *table[K, V]) hash(key K) uint64 {
	if t.hashed != nil {
		return t.hashed(key)
	}
	return maphash.Comparable(t.seed, key)
}

// at chooses the shard by low bits, while slots go by high ones.
func (t *table[K, V]) at(hash uint64) *shard[K, V] {
	return &t.shards[hash&t.mask]
}

// each calls yield for every entry until it returns false, without a lock. An
// entry that stays throughout is yielded once; one that comes, goes or comes back
// meanwhile may be missing.
func (t *table[K, V]) each(yield func(*entry[K, V]) bool) {
	for i := range t.shards {
		if !t.shards[i].each(yield) {
			return
		}
	}
}

// len and weight are exact if nobody writes, and never above the bounds.
func (t *table[K, V]) len() (n int64) {
	for i := range t.shards {
		n += t.shards[i].count.Load()
	}
	return n
}

func (t *table[K, V]) weight() (n int64) {
	for i := range t.shards {
		n += t.shards[i].weight.Load()
	}
	return n
}

func (t *table[K, V]) misses() (n int64) {
	for i := range t.shards {
		n += t.shards[i].misses.Load()
	}
	return n
}

// gone is how many values have left for a reason.
func (t *table[K, V]) gone(why reason) (n int64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.gone[why]
		s.mu.Unlock()
	}
	return n
}

// clear drops all entries, shard by shard.
func (t *table[K, V]) clear(out *removed[K, V]) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.clear(out)
		s.mu.Unlock()
	}
}

// A shard is a part of the table that has its own lock and its own bound.
type shard[K comparable, V any] struct {
	// slots is what readers need. It shares no cache line with the words below, which
	// writers change all the time: also where the allocator puts 8 bytes in front of
	// all shards, as it does up to 32 KB.
	slots atomic.Pointer[slots[K, V]]
	_     [56]byte

	// What Sets without mu read, and hardly anybody writes, under mu. flying is the
	// length of flights. unlike tells whether there was a box with a meta: all others
	// live equally long.
	flying atomic.Int64
	unlike atomic.Bool
	_      [52]byte

	// A Set that swaps a box under mu writes one line, up to the broom's clock. The
	// fields that an insert writes fill three more: any line that writers change has to
	// come from the other processor every other time.
	mu      sync.Mutex
	flights map[K]*flight[K, V] // of the layers above
	policy[K, V]

	entries int
	gone    [reasons]int64 // values that left, by reason
	grave   *box[V]

	// Guarded by mu as well; these may be read without it. count is entries as of
	// the last time that mu was unlocked.
	count, weight atomic.Int64

	// misses is counted by readers, and not in one place of the whole cache: who
	// misses mostly comes back to this shard to store what was missing.
	misses atomic.Int64

	sets map[K]*setting // of the layers above
	_    [128]byte      // a whole number of lines
}

func (s *shard[K, V]) init(c tableConfig[K, V]) {
	s.flights, s.sets = make(map[K]*flight[K, V]), make(map[K]*setting)
	s.policy.init(c)
	s.grave = grave[V]()
	s.slots.Store(newSlots[K, V](1))
}

// get returns the entry of key, or nil. It does not count as a read.
func (s *shard[K, V]) get(key K, hash uint64) *entry[K, V] {
	return s.slots.Load().find(key, hash)
}

// put stores a copy of b under key in place of what is there, and first makes room
// for it.
// It returns false, and removes the old value, if the key is not equal to itself
// or the weight is above the bound. What left stands in out.
func (s *shard[K, V]) put(key K, hash uint64, b *box[V], epoch uint64, weight int64, out *removed[K, V]) (stored bool) {
	if s.maxWeight == 0 {
		weight = 0
	}
	defer s.publish()
	e := s.get(key, hash)
	s.broom.note(b.soon)
	if b.meta != nil && !s.unlike.Load() {
		s.unlike.Store(true)
	}
	if weight > s.maxWeight || key != key { //nolint:staticcheck // NaN could never be found again
		if e != nil {
			s.remove(e, replaced, out)
		}
		return false
	}
	if e != nil {
		s.replace(e, b, epoch, weight, out)
		return true
	}
	s.add(newCell(key, hash, b, epoch), weight, out)
	return true
}

// add makes room for a cell whose key is not there, and puts it in. Its box is
// noted.
func (s *shard[K, V]) add(c *cell[K, V], weight int64, out *removed[K, V]) {
	s.sweep(out)
	s.makeRoom(1, weight, out)
	s.account(1, weight)
	s.admit(&c.entry, weight)
	at := s.slots.Load()
	if !at.roomy(s.entries) {
		at = s.grow()
	}
	at.insert(&c.entry)
}

// replace swaps the box. Only if it has become heavier than there is room for,
// others are evicted first, and never the entry itself.
func (s *shard[K, V]) replace(e *entry[K, V], b *box[V], epoch uint64, weight int64, out *removed[K, V]) {
	if s.maxWeight > 0 {
		old := s.weightOf(e)
		if weight-old > s.maxWeight-s.weight.Load() {
			s.unlink(e)
			s.makeRoom(0, weight-old, out)
			s.admit(e, weight)
		} else {
			s.setWeight(e, weight)
		}
		s.account(0, weight-old)
	}
	next := new(box[V])
	*next = *b
	if e.fused() {
		out.add(e.key, e.box.Load(), replaced)
		s.split(e, next, epoch)
		return
	}
	out.add(e.key, e.box.Swap(next), replaced)
	if e.loadEpoch() != epoch { // a load is nothing, a store some 6 ns
		atomic.StoreUint64(&e.epoch, epoch)
	}
}

// split puts an entry of its own in the place of a cell.
func (s *shard[K, V]) split(old *entry[K, V], b *box[V], epoch uint64) {
	e := &entry[K, V]{epoch: epoch, hash: old.hash, key: old.key, hits: old.loadHits() &^ fused, pos: old.pos}
	e.box.Store(b)
	if e.pos&inWindow != 0 {
		s.window.at[e.pos&place] = e
	} else {
		s.main.at[e.pos&place] = e
	}
	s.slots.Load().swap(old, e)
}

// drop removes the entry of key, if there is one.
func (s *shard[K, V]) drop(key K, hash uint64, out *removed[K, V]) bool {
	e := s.get(key, hash)
	if e == nil {
		return false
	}
	s.remove(e, dropped, out)
	s.publish()
	return true
}

// remove takes e out of the queues and out of the table.
func (s *shard[K, V]) remove(e *entry[K, V], why reason, out *removed[K, V]) {
	s.dequeue(e)
	s.discard(e, s.bury(e), why, out)
}

// dequeue takes e out of its queue and out of the counts.
func (s *shard[K, V]) dequeue(e *entry[K, V]) {
	s.account(-1, -s.weightOf(e))
	s.unlink(e)
}

// discard takes e, which is in no queue any more and buried, out of the table.
func (s *shard[K, V]) discard(e *entry[K, V], last *box[V], why reason, out *removed[K, V]) {
	s.slots.Load().remove(e)
	s.lose(e, last, why, out)
}

// lose accounts for the last box of e.
func (s *shard[K, V]) lose(e *entry[K, V], last *box[V], why reason, out *removed[K, V]) {
	if why < reasons {
		s.gone[why]++
	}
	out.add(e.key, last, why)
}

// bury returns the last box of e, which nobody will replace any more.
func (s *shard[K, V]) bury(e *entry[K, V]) *box[V] {
	if e.fused() {
		return e.box.Load()
	}
	return e.box.Swap(s.grave)
}

func (s *shard[K, V]) account(entries int, weight int64) {
	s.entries += entries
	if weight != 0 {
		s.weight.Store(s.weight.Load() + weight)
	}
}

// publish tells readers of count. An insert that evicts has nothing to tell, and
// an atomic store costs as much as a dozen additions.
func (s *shard[K, V]) publish() {
	if n := int64(s.entries); n != s.count.Load() {
		s.count.Store(n)
	}
}

// clear drops all entries.
func (s *shard[K, V]) clear(out *removed[K, V]) {
	s.each(func(e *entry[K, V]) bool {
		s.lose(e, s.bury(e), dropped, out)
		return true
	})
	s.slots.Store(newSlots[K, V](1))
	s.entries = 0
	s.publish()
	s.weight.Store(0)
	s.policy.clear()
}
