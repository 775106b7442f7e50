package cache

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pending are the invalidations that took effect on this node and were not
// acknowledged. The mender replays them. Each has the number under which it was
// noted last: a replay removes it only if that is still the same.
type pending struct {
	size atomic.Int64

	// holding makes a change here and the one of stamps that belongs to it one.
	holding sync.Mutex

	mu    sync.Mutex
	seq   uint64
	keys  map[string]pendingKey
	tags  map[string]uint64
	clear uint64 // 0: none
}

type pendingKey struct {
	seq  uint64
	soft bool
}

// maxPending is how many keys and tags are kept; more become one Clear. That costs
// loads, and loses nothing.
const maxPending = 1 << 16

func (p *pending) len() int64 { return p.size.Load() }

// now is the number of the last addition.
func (p *pending) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq
}

// holds tells whether an invalidation of the key is not acknowledged yet.
func (p *pending) holds(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.keys[name]
	return ok
}

// add notes m, and tells whether it has become a Clear. What that stands for is
// forgotten by coalesce, when the stamps hold everything: in between, a read must
// find the one or the other.
func (p *pending) add(m Message) (overflow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.count()
	p.seq++
	for _, name := range m.Keys {
		old, ok := p.keys[name]
		p.keys[name] = pendingKey{p.seq, m.Soft && (!ok || old.soft)}
	}
	for _, tag := range m.Tags {
		p.tags[tag] = p.seq
	}
	overflow = len(p.keys)+len(p.tags) > maxPending
	if m.Clear || overflow {
		p.clear = p.seq
	}
	return overflow
}

// coalesce forgets what a pending Clear stands for.
func (p *pending) coalesce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clear != 0 {
		clear(p.keys)
		clear(p.tags)
		p.count()
	}
}

// count keeps size. mu is held.
func (p *pending) count() {
	n := len(p.keys) + len(p.tags)
	if p.clear != 0 {
		n++
	}
	p.size.Store(int64(n))
}

// next returns up to a message's worth of what is pending, and the number that
// done needs.
func (p *pending) next() (m Message, seq uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Clear = p.clear != 0
	m.Tags = first(slices.Collect(maps.Keys(p.tags)), maxMessage)
	for name, k := range p.keys {
		if len(m.Keys) == 0 {
			m.Soft = k.soft
		}
		if len(m.Keys) < maxMessage && k.soft == m.Soft {
			m.Keys = append(m.Keys, name)
		}
	}
	return m, p.seq, m.Clear || len(m.Tags) > 0 || len(m.Keys) > 0
}

func first[T any](all []T, n int) []T { return all[:min(n, len(all))] }

// done removes what was acknowledged, unless it was noted once more since, and
// returns the tags that are still pending.
func (p *pending) done(m Message, seq uint64) (tags map[string]uint64, clear bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range m.Keys {
		if k, ok := p.keys[name]; ok && k.seq <= seq && (!m.Soft || k.soft) {
			delete(p.keys, name)
		}
	}
	for _, tag := range m.Tags {
		if p.tags[tag] <= seq {
			delete(p.tags, tag)
		}
	}
	if m.Clear && p.clear <= seq {
		p.clear = 0
	}
	p.count()
	return maps.Clone(p.tags), p.clear != 0
}

// postponed notes an invalidation that was not acknowledged.
func (c *Cache[K, V]) postponed(m Message) {
	c.pending.holding.Lock()
	overflow := c.pending.add(m)
	if c.cfg.Remote != nil {
		c.stamps.hold(m.Tags, m.Clear || overflow)
	}
	if m.Clear || overflow {
		c.pending.coalesce()
	}
	c.pending.holding.Unlock()
	c.mend()
}

const (
	mendMin = 250 * time.Millisecond
	mendMax = 10 * time.Second
)

// mend starts the mender unless it runs: the one goroutine that touches a Remote
// that is down, and that replays what is pending.
func (c *Cache[K, V]) mend() {
	if c.mending.CompareAndSwap(false, true) && !c.works.spawn(c.mender) {
		c.mending.Store(false)
	}
}

func (c *Cache[K, V]) mender() {
	replayed := 0
	for delay := mendMin; ; delay = min(2*delay, mendMax) {
		if !sleep(c.life, delay-time.Duration(rand.Int64N(int64(delay/4)))) {
			return
		}
		n, err := c.replay(c.life)
		replayed += n
		if n > 0 {
			delay = mendMin
		}
		if err == nil && c.cfg.Remote != nil && c.health.down.Load() {
			_, err = c.generations(span{ctx: c.life}, nil)
		}
		if err != nil {
			continue
		}
		if c.health.down.CompareAndSwap(true, false) {
			c.tell(Event{Kind: EventRemoteUp, Count: replayed})
			c.announceAside()
		}
		replayed = 0
		c.mending.Store(false)
		// Something may have come in after the last look.
		again := c.pending.len() > 0 || c.health.down.Load()
		if !again || !c.mending.CompareAndSwap(false, true) {
			return
		}
	}
}

// replay sends what is pending until nothing is left.
func (c *Cache[K, V]) replay(ctx context.Context) (replayed int, err error) {
	for {
		m, seq, ok := c.pending.next()
		if !ok {
			return replayed, nil
		}
		generation, err := c.apply(ctx, m)
		if err != nil {
			return replayed, err
		}
		c.acknowledged(m, seq, generation)
		replayed += len(m.Keys) + len(m.Tags)
		if m.Clear {
			replayed++
		}
	}
}

// acknowledged notes that everybody will know of m.
func (c *Cache[K, V]) acknowledged(m Message, seq, generation uint64) {
	if c.cfg.Remote != nil && (len(m.Tags) > 0 || m.Clear) {
		c.stamps.stamp(m.Tags, m.Clear, generation)
	}
	if c.pending.len() == 0 {
		return
	}
	c.pending.holding.Lock()
	defer c.pending.holding.Unlock()
	tags, isClear := c.pending.done(m, seq)
	c.stamps.holdOnly(tags, isClear)
}
