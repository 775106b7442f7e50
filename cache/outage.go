package cache

// withoutRemote decides what becomes of flights that the Remote has not answered,
// and returns those that ask the source instead.
func (c *Cache[K, V]) withoutRemote(fs []*flight[K, V], err error) (load []*flight[K, V]) {
	failure := remoteError(err)
	for _, f := range fs {
		f.outage = true
		f.trouble.Store(&failure)
		policy := c.cfg.Policy.Outage
		if policy == OutageLoad && c.leases(f) {
			load = append(load, f)
			continue
		}
		if b := c.anyCopy(f); policy == OutageStale && b != nil {
			c.postpone(f)
			c.finish(f, outcome[V]{answer: c.servedStale(f, b)})
			continue
		}
		c.finish(f, c.fallBack(f, failure))
	}
	return load
}

// anyCopy is the copy that OutageStale serves: within its life, and not known to
// be untrue.
func (c *Cache[K, V]) anyCopy(f *flight[K, V]) *box[V] {
	b := f.old.Load()
	if b == nil || dead(b, c.clock.now()) || f.epoch < c.cleared.Load() {
		return nil
	}
	if m := b.meta; m != nil && (m.absent || c.stamps.fenced(m.generation, m.tags)) {
		return nil
	}
	return b
}

// enterOutage waits for one of the places that bound the loads while the Remote is
// down: a source that is used to a cache in front of it would fall, too. It
// reports false if the work's time is up first.
func (c *Cache[K, V]) enterOutage(w *work, outage bool) (leave func(), ok bool) {
	if !outage || c.places == nil {
		return func() {}, true
	}
	select {
	case c.places <- struct{}{}:
		return func() { <-c.places }, true
	case <-w.ctx.Done():
		return func() {}, false
	}
}
