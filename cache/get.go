package cache

import (
	"context"
	"math/rand/v2"
)

// get is Get behind the fast path, which has found e, or nil, under this hash.
func (c *Cache[K, V]) get(ctx context.Context, key K, hash uint64, e *entry[K, V], load Loader[K, V]) (answer[V], error) {
	for first := true; ; first = false {
		if c.closed.Load() {
			return answer[V]{}, ErrClosed
		}
		if a, ok := c.unsavedValue(key); ok {
			return a, nil
		}
		if !first {
			e = c.table.at(hash).get(key, hash)
		}
		if e != nil {
			if a, err, ok := c.local(ctx, e, load); ok {
				return a, err
			}
		}
		if first {
			c.table.at(hash).misses.Add(1)
		}
		if e == nil && load == nil && c.cfg.Remote == nil && !c.cfg.loads() && ctx.Err() == nil {
			return answer[V]{}, ErrNotFound // there is nobody to ask
		}
		a, err, ok := c.fetch(ctx, key, load, toGet)
		if ok {
			return a, err
		}
	}
}

// local answers out of L1 if the entry allows that, and starts a refresh if one is
// due.
func (c *Cache[K, V]) local(ctx context.Context, e *entry[K, V], load Loader[K, V]) (a answer[V], err error, ok bool) { //nolint:revive // ok is last
	epoch := e.loadEpoch()
	b := e.box.Load()
	now := c.clock.now()
	a = answer[V]{box: b, layer: LayerLocal}
	switch c.judge(b, epoch, now) {
	case fresh:
	case early:
		c.renew(ctx, e.key, b, now, load, toRenewEarly)
	case absent:
		c.stats.notFoundHits.Add(1)
		return a, ErrNotFound, true
	case stale:
		a.stale = true
		c.stats.staleServed.Add(1)
		c.renew(ctx, e.key, b, now, load, toRenew)
		return a, nil, true
	case spare:
		if r := b.meta.retry.Load(); now >= r || r == never {
			return a, nil, false
		}
		a.stale = true
		c.stats.staleServed.Add(1)
		return a, nil, true
	default:
		return a, nil, false
	}
	if c.hits != nil {
		c.hits.add(e.hash)
	}
	return a, nil, true
}

// renew begins a refresh in the background unless there is one, or one has failed
// just now. The box remembers that, so that further readers need no lock.
func (c *Cache[K, V]) renew(ctx context.Context, key K, b *box[V], now int64, load Loader[K, V], a aim) {
	if load == nil && !c.cfg.loads() {
		return
	}
	next := b.meta.retry.Load()
	if now < next || !b.meta.retry.CompareAndSwap(next, never) {
		return
	}
	_, f := c.claim(ctx, key, c.name(key), a, nil, nil)
	if f == nil {
		b.meta.retry.Store(next) // somebody loads it anyway
		return
	}
	if a == toRenewEarly {
		c.stats.earlyRefreshes.Add(1)
	}
	c.stats.refreshes.Add(1)
	f.load, f.renews = load, b
	go c.fly(f)
}

// fetch asks the Remote and the loader, together with whoever else wants the key.
// It reports false if L1 is to be looked at again.
func (c *Cache[K, V]) fetch(ctx context.Context, key K, load Loader[K, V], a aim) (answer[V], error, bool) { //nolint:revive // ok is last
	if ctx.Err() != nil {
		return answer[V]{}, c.gaveUp(ctx, nil), true
	}
	since := c.clock.now()
	f, begun := c.claim(ctx, key, c.name(key), a, nil, nil)
	late := false
	switch {
	case begun != nil:
		f, begun.load = begun, load
		if c.cfg.Remote == nil || c.softly(a) {
			go c.fly(f)
		} else {
			c.flyHere(ctx, []*flight[K, V]{f}, c.works.wg.Done)
		}
	case f == nil:
		return answer[V]{}, nil, false
	default:
		late = f.seq != c.stamps.seq.Load()
	}
	ans, err := c.wait(ctx, f, a, since)
	return ans, err, !c.mustRepeat(f, ans, err, a, late)
}

// mustRepeat tells whether a caller who joined a flight cannot take its result.
func (c *Cache[K, V]) mustRepeat(f *flight[K, V], ans answer[V], err error, a aim, late bool) bool {
	switch {
	case err == nil && (ans.box == nil || f.yielded):
		return true // it has left the load to somebody else
	case f.aim == toLookup && a != toLookup && (ans.box == nil || ans.stale):
		return true // it has not asked the source
	case a == toRefresh && f.aim != toRefresh && ans.layer != LayerSource:
		return true // it has not asked the source either
	case late && ans.box != nil && ans.box.meta != nil && !ans.stale:
		// A tag was invalidated after the load began and before this caller came.
		return c.stamps.fenced(ans.box.meta.generation, ans.box.meta.tags)
	case late && ans.box == nil && isAbsent(err):
		return c.stamps.fenced(f.generation, c.cfg.Policy.Tags)
	}
	return false
}

// lookup is Lookup behind L1: it reads the Remote, and does not wait for loads.
func (c *Cache[K, V]) lookup(ctx context.Context, key K) (answer[V], error) {
	for {
		if c.closed.Load() {
			return answer[V]{}, ErrClosed
		}
		if a, ok := c.unsavedValue(key); ok {
			return a, nil
		}
		if e := c.table.peek(key); e != nil {
			if a, err, ok := c.glance(e); ok {
				return a, err
			}
		}
		if c.cfg.Remote == nil {
			return answer[V]{}, ErrNotFound
		}
		a, err, ok := c.fetch(ctx, key, nil, toLookup)
		if ok {
			return a, err
		}
	}
}

// glance is local without a refresh, and takes a spare for what it is.
func (c *Cache[K, V]) glance(e *entry[K, V]) (a answer[V], err error, ok bool) { //nolint:revive // ok is last
	epoch := e.loadEpoch()
	b := e.box.Load()
	a = answer[V]{box: b, layer: LayerLocal}
	switch c.judge(b, epoch, c.clock.now()) {
	case fresh, early:
		return a, nil, true
	case absent:
		return a, ErrNotFound, true
	case stale, spare:
		a.stale = true
		return a, nil, true
	case suspect:
		a.stale = true
		return a, nil, c.cfg.Remote == nil // nobody can check it
	default:
		return a, nil, false
	}
}

// refresh is Refresh.
func (c *Cache[K, V]) refresh(ctx context.Context, key K) (answer[V], error) {
	for {
		if c.closed.Load() {
			return answer[V]{}, ErrClosed
		}
		if a, ok := c.unsavedValue(key); ok {
			return a, nil
		}
		a, err, ok := c.fetch(ctx, key, nil, toRefresh)
		if ok {
			return a, err
		}
	}
}

// uniform draws from [0, 1).
func (c *Cache[K, V]) uniform() float64 {
	if c.draw != nil {
		return c.draw()
	}
	return rand.Float64()
}
