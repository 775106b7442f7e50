package cache

import "math"

// A Set in the place of another value takes no lock where all values are alike: it
// swaps the box of the entry. What has to be true afterwards is true because
//
//   - an entry that leaves the table gets the grave for a box, so that a Set which
//     has found it before fails and takes the lock;
//   - a Set that sees flights takes the lock, and fences the one of its key. If it
//     sees none, then a load that ends later began after the Set, and what it reads
//     from the source is no older than the value of the Set;
//   - the policy has no work, since no weight changes, and no value gets a shorter
//     life than the one that it replaces: what would is put under the lock.
//
// All Sets of a shard take the lock while there is a load for any of its keys.
//
// The mutex cost two processors that write a third of such a Set: its cache line came
// from the other one every other time.

// overwrites tells whether Sets of a key that is there may go without the lock: no
// weights, nobody to tell, and all lives alike, or a box would need a meta.
func (c *Config[K, V]) overwrites() bool {
	p := &c.Policy
	return c.Bus == nil && c.Save == nil && c.MaxWeight == 0 && p.TTL >= 0 && p.Jitter == 0 && p.LocalTTL == 0 &&
		p.Stale == 0 && p.StaleIfError == 0 && len(p.Tags) == 0
}

// plainSoon is the soon of a plain value that comes in at the instant now.
func (c *Cache[K, V]) plainSoon(now int64) int64 {
	if ttl := c.cfg.Policy.TTL; ttl > 0 {
		if soon := after(now, ttl); soon < never {
			return soon
		}
	}
	return never + max(0, now)
}

// setPlain is setHere for a value like all others. What can be done before the
// lock is: the cache lines that it takes are loaded, and the memory is there.
func (c *Cache[K, V]) setPlain(key K, v V, out *removed[K, V]) {
	hash := c.table.hash(key)
	s := c.table.at(hash)
	b := box[V]{value: v, soon: c.plainSoon(c.clock.now())}
	e := s.get(key, hash)
	if e != nil && s.overwrite(e, &b, c.epoch.Load(), out) {
		return
	}
	var fresh *cell[K, V]
	if e == nil && key == key { //nolint:staticcheck // NaN is never stored
		fresh = newCell(key, hash, &b, 0)
	}
	s.mu.Lock()
	if f := s.flights[key]; f != nil {
		c.detach(s, f)
	}
	if fresh != nil && s.get(key, hash) == nil {
		fresh.epoch = c.epoch.Load() // behind the mutex, so that a Clear of before is seen
		s.broom.note(b.soon)
		s.add(fresh, 0, out)
		s.publish()
	} else {
		s.put(key, hash, &b, c.epoch.Load(), 0, out)
	}
	s.mu.Unlock()
}

// overwrite is put without the lock, for a key that is there and plain values. As
// they live equally long, the new one ends no earlier than the old one, and the
// broom's bounds hold, but for what passes between the caller's look at the clock
// and the swap. It reports false if it has done nothing: the entry is still fused,
// is of another epoch or gone, the old value lives longer, a load is under way, or
// somebody else was quicker.
func (s *shard[K, V]) overwrite(e *entry[K, V], b *box[V], epoch uint64, out *removed[K, V]) bool {
	if e.fused() || e.loadEpoch() != epoch || s.flying.Load() != 0 {
		return false
	}
	old := e.box.Load()
	// Only where a value had a life of its own is the old box loaded, another cache line.
	if old == s.grave || s.unlike.Load() && old.soon > b.soon {
		return false
	}
	next := new(box[V])
	*next = *b
	if !e.box.CompareAndSwap(old, next) {
		return false
	}
	out.add(e.key, old, replaced)
	return true
}

// grave is what an entry gets that has left the table, since a Set without the
// lock may have found it before: to readers it looks expired.
func grave[V any]() *box[V] { return &box[V]{soon: math.MinInt64} }
