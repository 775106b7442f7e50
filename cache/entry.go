package cache

import "sync/atomic"

// A box is one stored value. It never changes once it is published, so a reader
// that has loaded it needs no lock.
type box[V any] struct {
	value V

	// soon is the earliest instant, in ns on the cache's clock, at which anything
	// but "return value" may be due: expiry, a refresh, a check. The hit path
	// compares this one number. From never on there is no deadline.
	soon int64

	// meta holds what the hit path does not need. Nil: there is nothing to say.
	meta *meta
}

// never and all that is above it is no deadline: a box that has none keeps the
// instant of its birth in the difference. It is 146 years away.
const never = 1 << 62

// An entry is a key's place in the table. It stays when the value changes: an
// update swaps the box, one allocation and no work for the policy. One object for
// both would make hits a tenth faster and mixed loads a sixth slower.
//
// For string keys it has 48 bytes, a size class of its own. That is why the
// weight, which most caches do not use, stands beside the entry in its queue.
type entry[K comparable, V any] struct {
	// epoch is the state of the bus that the box is trusted under. Writers store
	// box, then epoch; readers load epoch, then box. So a new epoch never blesses
	// an old box.
	//
	// It is no atomic.Uint64, and hits no atomic.Uint32, since those cannot be set
	// before anybody sees them without an exchange, some 6 ns for each. It comes first,
	// where 32-bit platforms align it.
	epoch uint64
	hash  uint64
	key   K
	box   atomic.Pointer[box[V]]

	// hits counts reads since the policy last looked, up to maxHits. Readers add
	// to it without a read-modify-write: a lost count is cheaper than a bus lock.
	// The bit fused never changes.
	hits uint32

	// pos is the entry's place in its queue, with inWindow set if that is the
	// window. Guarded by the shard's mutex.
	pos uint32
}

// A cell is an entry and its first box in one object, since most values are
// stored once and read often: an allocation less, and a hit finds both in
// neighbouring cache lines. The first update puts an entry without a box in its
// place, so that no value outlives its replacement.
type cell[K comparable, V any] struct {
	entry[K, V]
	first box[V]
}

func newCell[K comparable, V any](key K, hash uint64, b *box[V], epoch uint64) *cell[K, V] {
	c := &cell[K, V]{entry: entry[K, V]{epoch: epoch, hash: hash, key: key, hits: fused}, first: *b}
	c.box.Store(&c.first)
	return c
}

const (
	maxHits  = 3       // all bits of the count
	fused    = 1 << 31 // in hits: the entry is part of a cell
	inWindow = 1 << 31 // in pos
	place    = inWindow - 1
)

// touch notes a read. From maxHits on it only reads, so that the cache line of a
// popular entry stays shared between processors.
func (e *entry[K, V]) touch() {
	if n := e.loadHits(); n&maxHits < maxHits {
		atomic.StoreUint32(&e.hits, n+1)
	}
}

func (e *entry[K, V]) loadEpoch() uint64 { return atomic.LoadUint64(&e.epoch) }
func (e *entry[K, V]) loadHits() uint32  { return atomic.LoadUint32(&e.hits) }
func (e *entry[K, V]) fused() bool       { return e.loadHits()&fused != 0 }

// A reason says why a value left L1.
type reason uint8

const (
	evicted  reason = iota // for room
	expired                // past its life when the policy passed
	replaced               // by another value of the key, also one too heavy to store
	dropped                // on request
)

// reasons is how many are counted: the first ones, which nobody asked for.
const reasons = replaced

// removed collects what leaves while a shard is locked, for the callbacks that
// run after Unlock. The zero value keeps nothing: nobody will be told.
type removed[K comparable, V any] struct {
	keep   bool
	values []removal[K, V]
}

// A removal is one value that left.
type removal[K comparable, V any] struct {
	key K
	box *box[V]
	why reason
}

func (r *removed[K, V]) add(key K, b *box[V], why reason) {
	if r.keep {
		r.values = append(r.values, removal[K, V]{key, b, why})
	}
}
