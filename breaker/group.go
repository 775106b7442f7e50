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
// limit, nor fill the memory, nor push out a gate that is refusing. Idle is
// asked under the lock of the group and must not call it.
type Group[K comparable, G Gate] struct {
	// New returns the gate of a new key. No lock is held; of two gates made
	// for a key at once one is dropped. Required.
	New func(key K) G

	// MaxKeys is how many keys have gates of their own. Zero means 10000.
	MaxKeys int

	members sync.Map // K to *member[K, G]; all that are in ring

	mu       sync.Mutex // guards what follows, and inserts into members
	ring     []*member[K, G]
	hand     int // of the clock that looks for a gate to forget
	overflow *member[K, G]
}

// member is a key with its gate. The flag is all that Get writes, and only
// once per round of the hand: a clock instead of a list in order of use, which
// every Get would have to lock.
type member[K comparable, G Gate] struct {
	key  K
	gate G
	used atomic.Bool // since the hand passed
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
	if m := g.full(key); m != nil {
		return m.gate
	}
	return g.insert(&member[K, G]{key: key, gate: g.New(key)}).gate
}

func (g *Group[K, G]) find(key K) *member[K, G] {
	v, ok := g.members.Load(key)
	if !ok {
		return nil
	}
	return v.(*member[K, G])
}

// full returns the overflow gate if key cannot have one of its own, so that a
// flood of keys does not make a gate for each.
func (g *Group[K, G]) full(key K) *member[K, G] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.overflow == nil || g.admits(key) {
		return nil
	}
	return g.overflow
}

// admits reports whether there is room for key, if need be after one at the
// hand has gone. A key that does not equal itself, such as NaN, could never be
// found or removed again. mu is held.
func (g *Group[K, G]) admits(key K) bool {
	return key == key && (len(g.ring) < g.max() || g.advance()) //nolint:staticcheck // NaN
}

// advance moves the hand to a gate that may be forgotten.
func (g *Group[K, G]) advance() bool {
	for range min(maxLook, len(g.ring)) {
		m := g.ring[g.hand]
		if !m.used.Swap(false) && idle(m.gate) {
			return true
		}
		g.hand = (g.hand + 1) % len(g.ring)
	}
	return false
}

// insert adds m, unless another call has just added its key.
func (g *Group[K, G]) insert(m *member[K, G]) *member[K, G] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.find(m.key); known != nil {
		return known
	}
	if !g.admits(m.key) {
		if g.overflow == nil {
			g.overflow = m
		}
		return g.overflow
	}
	if len(g.ring) < g.max() {
		g.ring = append(g.ring, m)
	} else {
		g.members.Delete(g.ring[g.hand].key)
		g.ring[g.hand] = m
		g.hand = (g.hand + 1) % len(g.ring)
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
