package cache

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// meta is what there is to say about a box beside its value. All instants are ns
// on the cache's clock, and never where there is no end.
type meta struct {
	header
	version uint64
	born    int64 // its load began
	stale   int64 // from here on it is past TTL
	grace   int64 // until here it is served while a refresh runs
	spare   int64 // until here it is served if a load fails
	hard    int64 // from here on L1 does not have it
	expired bool  // by Expire: only a spare

	verified atomic.Uint64 // the stamps of its tags were looked at when stamps.seq was this
	retry    atomic.Int64  // no refresh begins before; never while one runs
}

const (
	day = 24 * time.Hour

	// tagLife bounds the life of what has tags. Stamps of tags live a day longer.
	tagLife = 7 * day

	// longCost is from where on the duration of a load is worth a meta.
	longCost = time.Millisecond
)

// after adds, and saturates at never.
func after(t int64, d time.Duration) int64 {
	if s := t + int64(d); s >= t && s < never {
		return s
	}
	return never
}

// lifetime makes the header of an entry that the source gave. It reports false if
// the entry is not to be stored.
func (c *Cache[K, V]) lifetime(ttl time.Duration, tags []string, cost time.Duration, generation uint64) (header, bool) {
	p := &c.cfg.Policy
	if ttl == 0 {
		ttl = p.TTL
	}
	h := header{generation: generation, cost: cost, tags: c.withPolicyTags(tags)}
	if ttl < 0 {
		return h, false
	}
	if ttl > 0 {
		h.fresh = ttl
		if p.Jitter > 0 {
			h.fresh = max(1, ttl-time.Duration(p.Jitter*c.uniform()*float64(ttl)))
		}
		h.whole = time.Duration(after(int64(h.fresh), max(p.Stale, p.StaleIfError)))
	}
	if len(h.tags) > 0 && (h.whole == 0 || h.whole > tagLife) {
		h.whole = tagLife
		h.fresh = min(h.fresh, tagLife)
	}
	return h, true
}

// withPolicyTags puts Policy.Tags and those of an entry together.
func (c *Cache[K, V]) withPolicyTags(tags []string) []string {
	all := c.cfg.Policy.Tags
	for _, tag := range tags {
		if !slices.Contains(all, tag) {
			all = append(slices.Clip(all), tag)
		}
	}
	return all
}

// box gives a value its deadlines. Its life counts from the instant from, in L1
// it ends at hard at the latest, and capped says from when LocalTTL counts.
func (c *Cache[K, V]) box(v V, h header, version uint64, from, hard, capped int64) *box[V] {
	b := c.boxed(v, &h, version, from, hard, capped)
	return &b
}

// boxed is box for who needs no pointer.
func (c *Cache[K, V]) boxed(v V, h *header, version uint64, from, hard, capped int64) box[V] {
	p := &c.cfg.Policy
	if p.LocalTTL > 0 {
		hard = min(hard, after(capped, p.LocalTTL))
	}
	stale := int64(never)
	if h.fresh > 0 {
		stale = after(from, h.fresh)
	}
	if version == 0 && hard == stale && c.plain(h) {
		if stale < never {
			return box[V]{value: v, soon: stale}
		}
		return box[V]{value: v, soon: never + max(0, from)}
	}
	m := &meta{
		header: *h, version: version, born: from - int64(h.cost), hard: hard, stale: min(stale, hard),
		grace: min(after(stale, p.Stale), hard), spare: min(after(stale, p.StaleIfError), hard),
	}
	return box[V]{value: v, soon: c.soon(m), meta: m}
}

// plain tells whether all that meta would say follows from soon.
func (c *Cache[K, V]) plain(h *header) bool {
	p := &c.cfg.Policy
	return !h.absent && len(h.tags) == 0 && h.cost < longCost && p.StaleIfError == 0 &&
		(h.fresh == 0 || h.fresh == p.TTL && (p.Early == 0 || h.cost == 0))
}

// soon is when something may be due. With tags that is always: the stamps have to
// be compared, which takes two loads.
func (c *Cache[K, V]) soon(m *meta) int64 {
	if m.absent || m.expired || len(m.tags) > 0 {
		return math.MinInt64
	}
	if c.cfg.Policy.Early > 0 && m.cost > 0 {
		return m.stale - int64(min(maxSpread*c.cfg.Policy.Early*float64(m.cost), never/2))
	}
	return m.stale
}

// exchange is a box with the same value and another meta.
func (c *Cache[K, V]) exchange(b *box[V], change func(*meta)) *box[V] {
	old := b.meta
	m := &meta{
		header: old.header, version: old.version, born: old.born, stale: old.stale,
		grace: old.grace, spare: old.spare, hard: old.hard, expired: old.expired,
	}
	m.verified.Store(old.verified.Load())
	change(m)
	return &box[V]{value: b.value, soon: c.soon(m), meta: m}
}

// dead is what the table asks before it lets an entry go as expired.
func dead[V any](b *box[V], now int64) bool {
	if b.meta == nil {
		return b.soon <= now
	}
	return b.meta.hard <= now
}

// A verdict says what a box is good for.
type verdict uint8

const (
	none    verdict = iota // as if it were not there
	fresh                  // a hit
	early                  // a hit, and time for a refresh
	absent                 // a hit that says: not found
	stale                  // served while a refresh runs
	spare                  // served if a load fails
	suspect                // nobody knows: there was a gap on the bus
)

// judge decides what a box that was read under epoch is good for at the instant
// now. There is one call of it, and one reading of the clock, per look at L1.
func (c *Cache[K, V]) judge(b *box[V], epoch uint64, now int64) verdict {
	m := b.meta
	if epoch < c.cleared.Load() || dead(b, now) {
		return none
	}
	known := true
	if m != nil && len(m.tags) > 0 {
		switch c.stamps.fate(m) {
		case forgotten:
			known = false
		case outdated:
			return none
		}
	}
	switch {
	case epoch != c.epoch.Load() || !known:
		return suspect
	case m == nil:
		return fresh
	case m.absent:
		return absent
	case m.expired:
		return m.asSpare(now)
	case now < m.stale && c.drawEarly(m, now):
		return early
	case now < m.stale:
		return fresh
	case now < m.grace:
		return stale
	default:
		return m.asSpare(now)
	}
}

func (m *meta) asSpare(now int64) verdict {
	if now < m.spare {
		return spare
	}
	return none
}

// maxSpread is how many times Early*d before its end XFetch begins to draw: the
// probability there is e^-20.
const maxSpread = 20

// drawEarly is XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic
// Cache Stampede Prevention", VLDB 2015): with r left of its life, a value that
// takes d to load is refreshed with probability exp(-r/(Early*d)).
func (c *Cache[K, V]) drawEarly(m *meta, now int64) bool {
	beta := c.cfg.Policy.Early
	if beta == 0 || m.cost <= 0 || m.stale >= never {
		return false
	}
	left, scale := float64(m.stale-now), beta*float64(m.cost)
	if left > maxSpread*scale {
		return false
	}
	// 1-U is in (0, 1], so the logarithm is finite.
	return -math.Log(1-c.uniform())*scale >= left
}

// entry is what a caller gets to see of a box at the instant now.
func (c *Cache[K, V]) entry(b *box[V], layer Layer, isStale bool, now int64) Entry[V] {
	e := Entry[V]{Value: b.value, Layer: layer, Stale: isStale}
	m := b.meta
	switch {
	case m != nil:
		e.Age, e.Version, e.Tags = time.Duration(now-m.born), m.version, m.tags
		if m.stale < never {
			e.TTL = time.Duration(m.stale - now)
		}
		e.Stale = e.Stale || m.expired
	case b.soon >= never:
		e.Age = time.Duration(now - (b.soon - never))
	default:
		e.TTL = time.Duration(b.soon - now)
		e.Age = c.cfg.Policy.TTL - e.TTL
	}
	return e
}
