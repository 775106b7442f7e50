package cache

// A step is what a flight does after it has read the Remote.
type step uint8

const (
	ended step = iota
	mayLoad
	mustPoll
	mustAsk // once more, for the lease of a record that is no good
)

// maxAsks bounds how often a flight finds a record that is no good, and new, and
// no good again. After that it loads without a lease, and fills nothing.
const maxAsks = 3

// take decides what becomes of a flight. The record was read at that instant or
// later, so a life counted from there ends no later than at the server.
func (c *Cache[K, V]) take(f *flight[K, V], r *found[V], read int64) step {
	f.token = r.Token
	b := c.foundBox(f, r, read)
	if b == nil {
		return c.takeNothing(f, r)
	}
	now := c.clock.now()
	m := b.meta
	isFresh := !r.Expired && now < m.stale
	switch {
	case f.aim == toRefresh, f.aim == toRenewEarly && r.Token != 0:
		f.keepOld(b, f.outcome.weight)
		return c.leaseStep(f, r)
	case isFresh || f.aim == toLookup:
		c.takeHit(f, r, b, !isFresh)
		return ended
	case f.aim.background():
		f.keepOld(b, f.outcome.weight)
		return c.leaseStep(f, r)
	case !m.absent && !r.Expired && now < m.grace:
		c.takeStale(f, r, b)
		return ended
	}
	f.keepOld(b, f.outcome.weight)
	return c.leaseStep(f, r)
}

// keepOld makes a record the copy that LoadEntry sees and that is there if the
// load fails.
func (f *flight[K, V]) keepOld(b *box[V], weight int64) {
	f.old.Store(b)
	f.suspect = false
	f.spareFromRemote, f.spareWeight = true, weight
}

// leaseStep goes on by what the lease says.
func (c *Cache[K, V]) leaseStep(f *flight[K, V], r *found[V]) step {
	switch {
	case r.Token != 0:
		return mayLoad
	case !c.leases(f):
		c.finish(f, outcome[V]{err: ErrNotFound, drop: f.suspect})
		return ended
	case r.Held && f.aim.background():
		c.endHeld(f)
		return ended
	case r.Held:
		return mustPoll
	case r.Version != 0 && f.asks < maxAsks:
		f.asks++
		f.insist = r.Version
		return mustAsk
	default:
		return mayLoad
	}
}

// takeNothing is for a record that is missing, fenced or cannot be read.
func (c *Cache[K, V]) takeNothing(f *flight[K, V], r *found[V]) step {
	c.stats.remoteMisses.Add(1)
	if f.suspect {
		f.old.Store(nil) // it was invalidated while we did not listen
	}
	return c.leaseStep(f, r)
}

// endHeld ends a refresh that another node is about to do. What that stores is
// looked for soon.
func (c *Cache[K, V]) endHeld(f *flight[K, V]) {
	b := f.old.Load()
	f.yielded = true
	o := outcome[V]{answer: answer[V]{box: b, layer: LayerRemote}}
	if b != nil && b.meta != nil {
		b.meta.retry.Store(c.clock.now() + int64(pollMax))
	}
	if f.spareFromRemote {
		o.store, o.weight = b, f.spareWeight
	}
	c.finish(f, o)
}

// takeHit ends a flight with a record that is as good as a value of L1.
func (c *Cache[K, V]) takeHit(f *flight[K, V], r *found[V], b *box[V], isStale bool) {
	c.stats.remoteHits.Add(1)
	if r.old != nil && f.suspect {
		c.stats.revalidated.Add(1)
	}
	o := outcome[V]{answer: answer[V]{box: b, layer: LayerRemote, stale: isStale}, store: b, weight: f.outcome.weight}
	if b.meta.absent {
		c.stats.notFoundHits.Add(1)
		o.err = ErrNotFound
	}
	if isStale {
		c.stats.staleServed.Add(1)
	}
	c.finish(f, o)
	c.releaseLease(f)
}

// takeStale answers with a stale record, and goes on as its refresh if it has the
// lease.
func (c *Cache[K, V]) takeStale(f *flight[K, V], r *found[V], b *box[V]) {
	c.stats.remoteHits.Add(1)
	c.stats.staleServed.Add(1)
	o := outcome[V]{answer: answer[V]{box: b, layer: LayerRemote, stale: true}, store: b, weight: f.outcome.weight}
	if r.Token == 0 {
		b.meta.retry.Store(c.clock.now() + int64(pollMax))
		c.finish(f, o)
		return
	}
	b.meta.retry.Store(never)
	next := &flight[K, V]{
		key: f.key, name: f.name, load: f.load, aim: toRenew, work: f.work, shard: f.shard, hash: f.hash, epoch: f.epoch, generation: f.generation,
		seq: f.seq, begun: f.begun, kept: true, token: f.token,
	}
	next.keepOld(b, f.outcome.weight)
	next.work.flying.Add(1)
	c.stats.refreshes.Add(1)
	c.handOver(f, o, next)
	if !c.works.spawn(func() { c.flyAll([]*flight[K, V]{next}, c.flyLeased) }) {
		c.finish(next, outcome[V]{err: ErrClosed})
	}
}

// flyLeased loads as the refresh of a stale record, unless that was invalidated
// together with the flight that found it.
func (c *Cache[K, V]) flyLeased(fs []*flight[K, V]) {
	f := fs[0]
	s, _ := f.lock()
	detached := f.detached
	s.mu.Unlock()
	if detached {
		c.releaseLease(f)
		f.yielded = true
		c.finish(f, outcome[V]{})
		return
	}
	c.loadOne(f)
}

// foundBox makes a box of a record, or nil if it is no good. Its weight goes into
// the outcome.
func (c *Cache[K, V]) foundBox(f *flight[K, V], r *found[V], read int64) *box[V] {
	if !r.usable {
		return nil
	}
	var v V
	switch {
	case r.old != nil:
		v = r.old.value
	case !r.header.absent:
		var err error
		if v, err = c.cfg.Codec.Decode(r.data); err != nil {
			c.undecodable(f, err)
			return nil
		}
	}
	if !r.header.absent {
		weight, err := c.weigh(f.key, v)
		if err != nil {
			c.undecodable(f, err)
			return nil
		}
		f.outcome.weight = weight
	}
	from, hard := read, int64(never)
	if r.TTL > 0 {
		hard = after(read, r.TTL)
		from = hard - int64(r.header.whole)
	}
	b := c.box(v, r.header, r.Version, from, hard, read)
	b.meta.verified.Store(r.seq)
	if r.Expired {
		return c.exchange(b, func(m *meta) { m.expired = true })
	}
	return b
}
