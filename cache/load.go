package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// loadOne asks the source about one key, and ends the flight.
func (c *Cache[K, V]) loadOne(f *flight[K, V]) {
	if f.load == nil && !c.cfg.loads() {
		c.finish(f, outcome[V]{err: ErrNotFound, drop: f.suspect})
		return
	}
	stop := c.keepLeases(f.work, f)
	defer stop()
	c.loadInto(f)
	stop()
	c.publish(f.work, f)
}

// loadInto asks the source about one key.
func (c *Cache[K, V]) loadInto(f *flight[K, V]) {
	leave, ok := c.enterOutage(f.work, f.outage)
	if !ok {
		c.accept(f, Entry[V]{}, c.lateError(f.work.ctx.Err()), c.clock.now())
		return
	}
	begun := c.clock.now()
	e, err := func() (Entry[V], error) {
		defer leave()
		return c.callLoader(f)
	}()
	c.loaded(begun, 1)
	if err != nil && f.work.ctx.Err() != nil {
		err = c.lateError(err)
	}
	c.accept(f, e, err, begun)
}

// lateError marks an error of a load whose time is up.
func (c *Cache[K, V]) lateError(err error) error {
	if isAbsent(err) {
		return err
	}
	return &lateError{err}
}

// loaded accounts for loads.
func (c *Cache[K, V]) loaded(begun int64, n int) {
	c.stats.loads.Add(int64(n))
	c.stats.loadNanos.Add(c.clock.now() - begun)
}

// callLoader calls the first loader that there is.
func (c *Cache[K, V]) callLoader(f *flight[K, V]) (e Entry[V], err error) {
	ctx := f.work.ctx
	switch {
	case f.load != nil:
		e.Value, err = f.load(ctx, f.key)
	case c.cfg.LoadEntry != nil:
		return c.callLoadEntry(ctx, f)
	case c.cfg.Load != nil:
		e.Value, err = c.cfg.Load(ctx, f.key)
	default:
		values, failure := c.cfg.LoadMany(ctx, []K{f.key})
		e.Value, err = pick(values, f.key, failure)
	}
	return e, err
}

// pick is the result for one key of a BulkLoader.
func pick[K comparable, V any](values map[K]V, key K, failure error) (V, error) {
	v, ok := values[key]
	switch {
	case ok:
		return v, nil
	case failure != nil:
		return v, failure
	default:
		return v, ErrNotFound
	}
}

// callLoadEntry gives the loader the copy that there is. If it comes back as it
// was, its life begins anew: what is left of it would not be one.
func (c *Cache[K, V]) callLoadEntry(ctx context.Context, f *flight[K, V]) (Entry[V], error) {
	b := f.old.Load()
	if b == nil || b.meta != nil && b.meta.absent {
		return c.cfg.LoadEntry(ctx, f.key, nil)
	}
	old := c.entry(b, LayerLocal, false, c.clock.now())
	given := old
	e, err := c.cfg.LoadEntry(ctx, f.key, &given)
	if err == nil && e.TTL == old.TTL && e.Age == old.Age && e.Version == old.Version && e.Layer == old.Layer {
		e.TTL = 0
		if b.meta != nil {
			e.TTL = b.meta.fresh
		}
	}
	return e, err
}

// accept makes the outcome of a load that ended.
func (c *Cache[K, V]) accept(f *flight[K, V], e Entry[V], err error, begun int64) {
	now := c.clock.now()
	switch {
	case err == nil:
		f.outcome = c.acceptValue(f, e, begun, now)
	case isAbsent(err):
		f.outcome = c.acceptAbsent(f, begun, now)
	default:
		f.outcome = c.acceptFailure(f, err)
	}
	if f.outcome.fill == nil && f.token != 0 {
		f.outcome.fill = &Fill{Key: f.name, Token: f.token}
	}
}

func (c *Cache[K, V]) acceptValue(f *flight[K, V], e Entry[V], begun, now int64) outcome[V] {
	h, keep := c.lifetime(e.TTL, e.Tags, time.Duration(now-begun), f.generation)
	weight, err := c.weigh(f.key, e.Value)
	if err != nil {
		return c.acceptFailure(f, err)
	}
	var payload []byte
	if keep && f.token != 0 {
		if payload, err = c.cfg.Codec.Encode(e.Value); err != nil {
			c.stats.undecodable.Add(1)
			c.tellOf(EventUndecodable, f.key, err)
		}
	}
	o := outcome[V]{weight: weight}
	version := uint64(0)
	if keep && f.token != 0 && err == nil && !c.stamps.fenced(h.generation, h.tags) {
		version = newVersion()
		o.fill = c.fill(f.name, f.token, version, h, payload)
	}
	b := c.box(e.Value, h, version, now, c.hardEnd(now, h.whole, f.outage), now)
	o.answer = answer[V]{box: b}
	c.keepBox(&o, f.seq, h, keep)
	return o
}

// keepBox decides whether the box of an outcome goes into L1.
func (c *Cache[K, V]) keepBox(o *outcome[V], seq uint64, h header, keep bool) {
	b := o.answer.box
	if b.meta != nil {
		b.meta.verified.Store(seq)
	}
	if !keep || c.stamps.fenced(h.generation, h.tags) && c.sharedStamps(h) {
		o.drop = true // the old copy is older
		return
	}
	o.store = b
}

// sharedStamps tells whether stamps can fence this: without a Remote, Clear is a
// matter of epochs alone.
func (c *Cache[K, V]) sharedStamps(h header) bool { return c.cfg.Remote != nil || len(h.tags) > 0 }

func (c *Cache[K, V]) acceptAbsent(f *flight[K, V], begun, now int64) outcome[V] {
	o := outcome[V]{err: ErrNotFound, drop: true}
	h := header{
		absent: true, generation: f.generation, cost: time.Duration(now - begun),
		fresh: c.cfg.Policy.NotFoundTTL, whole: c.cfg.Policy.NotFoundTTL, tags: c.cfg.Policy.Tags,
	}
	if f.token != 0 {
		// Without NotFoundTTL the marker only replaces an old record, for a moment.
		in := h
		in.whole, in.fresh = max(h.whole, time.Millisecond), max(h.fresh, time.Millisecond)
		if h.whole > 0 || f.old.Load() != nil || f.insist != 0 {
			o.fill = c.fill(f.name, f.token, newVersion(), in, nil)
		}
	}
	if h.whole == 0 {
		return o
	}
	var zero V
	version := uint64(0)
	if o.fill != nil {
		version = o.fill.Version
	}
	o.answer.box = c.box(zero, h, version, now, c.hardEnd(now, h.whole, f.outage), now)
	c.keepBox(&o, f.seq, h, true)
	return o
}

// acceptFailure ends in the old copy if it may still be used, else in a LoadError.
func (c *Cache[K, V]) acceptFailure(f *flight[K, V], err error) outcome[V] {
	failure, ok := errors.AsType[*LoadError](err)
	if !ok || failure.Key != any(f.key) {
		failure = &LoadError{Key: f.key, Err: err, Elapsed: c.since(f.begun)}
	}
	c.failed(f, failure)
	return c.fallBack(f, failure)
}

// fallBack is the outcome of a flight that has found out nothing.
func (c *Cache[K, V]) fallBack(f *flight[K, V], err error) outcome[V] {
	c.postpone(f)
	if b := c.spareOf(f); b != nil {
		o := outcome[V]{answer: c.servedStale(f, b)}
		if f.spareFromRemote {
			o.store, o.weight = b, f.spareWeight
		}
		return o
	}
	return outcome[V]{err: err}
}

// postpone lets stale values be served for a while before the next try. TTL and
// hard end stay.
func (c *Cache[K, V]) postpone(f *flight[K, V]) {
	if b := f.old.Load(); b != nil && b.meta != nil {
		b.meta.retry.Store(c.clock.now() + max(0, int64(c.cfg.Policy.RetryAfter)))
	}
}

// hardEnd is when L1 loses a value that was loaded by now.
func (c *Cache[K, V]) hardEnd(now int64, life time.Duration, outage bool) int64 {
	hard := int64(never)
	if life > 0 {
		hard = after(now, life)
	}
	if outage {
		hard = min(hard, after(now, max(0, c.cfg.MaxLag)))
	}
	return hard
}

// weigh asks Weigh, outside of all locks.
func (c *Cache[K, V]) weigh(key K, v V) (int64, error) {
	if c.cfg.Weigh == nil {
		return 0, nil
	}
	weight := c.cfg.Weigh(key, v)
	if weight < 0 {
		return 0, fmt.Errorf("cache: Config.Weigh is %d, it must not be negative", weight)
	}
	return weight, nil
}

// publish puts the fills of flights into the Remote, and then ends them. What the
// Remote rejects was invalidated meanwhile and is not kept in L1 either.
func (c *Cache[K, V]) publish(w *work, fs ...*flight[K, V]) {
	c.putFills(w, fs)
	for _, f := range fs {
		c.finish(f, f.outcome)
	}
}
