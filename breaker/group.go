package breaker

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Group keeps one gate per key: a breaker per host, a rate per tenant. Set the
// fields before the first use; do not copy a Group. Safe for concurrent use.
//
// Keys may come from outside. A full group forgets gates that have not been
// used lately and are Idle, of which forgetting loses nothing. If it finds
// none, new keys share one more gate, so that made-up keys neither bypass a
// limit, nor fill the memory, nor push out a gate that is refusing. New and Idle
// are called with no lock held.
type Group[K comparable, G Gate] struct {
	// New returns the gate of a new key. No lock is held; of two gates made
	// for a key at once one is dropped. Required.
	New func(key K) G

	// MaxKeys is how many keys have gates of their own. Zero means 10000.
	MaxKeys int

	members sync.Map // K to *member[K, G]; all that are in ring

	overflow atomic.Pointer[member[K, G]] // for keys without room; nil until there is one

	mu   sync.Mutex // guards what follows, and inserts into members
	ring []*member[K, G]
	hand int // of the clock that looks for a gate to forget
}

// member is a key with its gate. The flag is all that Get writes, and only
// once per round of the hand: a clock instead of a list in order of use, which
// every Get would have to lock.
type member[K comparable, G Gate] struct {
	key   K
	gate  G
	place int32       // in the ring; guarded by the group's mu. Of 32 bits, for a member of 32 bytes
	used  atomic.Bool // since the hand passed
}

// maxLook is how many gates an insert looks at to find one to forget.
const maxLook = 64

// Get returns the gate of key. A known key takes about 30 ns and no
// allocation.
func (g *Group[K, G]) Get(key K) G {
	if m := g.find(key); m != nil {
		if !m.used.Load() { // or all processors write the flag of a busy key
			m.used.Store(true)
		}
		return m.gate
	}
	return g.add(key).gate
}

// add makes a gate for key, or returns the one that keys without room share: a
// flood of keys does not make a gate for each.
func (g *Group[K, G]) add(key K) *member[K, G] {
	var m *member[K, G]
	for {
		old, ok := g.room(key)
		if shared := g.overflow.Load(); !ok && shared != nil {
			return shared
		}
		if m == nil {
			m = &member[K, G]{key: key, gate: g.New(key)}
		}
		switch is := g.insert(m, old); {
		case is != nil:
			return is
		case !ok && g.overflow.CompareAndSwap(nil, m):
			return m
		}
	}
}

func (g *Group[K, G]) find(key K) *member[K, G] {
	v, ok := g.members.Load(key)
	if !ok {
		return nil
	}
	return v.(*member[K, G])
}

// room reports whether there is room for key, if need be after old has gone. A
// key that does not equal itself, such as NaN, could never be found or removed
// again.
func (g *Group[K, G]) room(key K) (old *member[K, G], ok bool) {
	if key != key { //nolint:staticcheck // NaN
		return nil, false
	}
	for range min(maxLook, g.max()) {
		m, full := g.advance()
		if !full || m != nil && idle(m.gate) {
			return m, true
		}
	}
	return nil, false
}

// advance moves the hand of a full group on by one, and returns what it passed
// unless that was used since the last time. Whether it is idle is for code of
// somebody else to say, which is asked without the lock.
func (g *Group[K, G]) advance() (m *member[K, G], full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ring) < g.max() {
		return nil, false
	}
	m = g.ring[g.hand]
	g.hand = (g.hand + 1) % len(g.ring)
	if m.used.Swap(false) {
		return nil, true
	}
	return m, true
}

// insert adds m, in the place of old in a full group, unless another call has
// just added its key. It returns nil if there is no room, or none any more.
func (g *Group[K, G]) insert(m, old *member[K, G]) *member[K, G] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.find(m.key); known != nil {
		return known
	}
	switch {
	case m.key != m.key: //nolint:staticcheck // NaN
		return nil
	case len(g.ring) < g.max():
		m.place = int32(len(g.ring))
		g.ring = append(g.ring, m)
	case old == nil || g.ring[old.place] != old || old.used.Load():
		return nil
	default:
		m.place = old.place
		g.members.Delete(old.key)
		g.ring[m.place] = m
	}
	g.members.Store(m.key, m)
	return m
}

func (g *Group[K, G]) max() int {
	if g.MaxKeys > 0 {
		return g.MaxKeys
	}
	return 10_000
}

// All returns the keys with their gates, without the one that is shared by
// keys that found no room. It is weakly consistent: keys that come or go
// meanwhile are in it or not.
func (g *Group[K, G]) All() iter.Seq2[K, G] {
	return func(yield func(K, G) bool) {
		for _, v := range g.members.Range {
			m := v.(*member[K, G])
			if !yield(m.key, m.gate) {
				return
			}
		}
	}
}

// Len returns the number of keys with gates of their own, at most MaxKeys.
func (g *Group[K, G]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.ring)
}
