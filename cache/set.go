package cache

import (
	"context"
	"errors"
	"fmt"
)

// setting says that Sets of a key are under way. Guarded by the shard's mutex.
type setting struct {
	running int
	spoiled bool // by an invalidation or another Set: nobody knows which value is the last
}

// write is one Set.
type write[K comparable, V any] struct {
	key                        K
	name                       string
	entry                      Entry[V]
	weight                     int64
	payload                    []byte
	epoch, generation, pending uint64
}

// set is Set and SetEntry.
func (c *Cache[K, V]) set(ctx context.Context, key K, e Entry[V]) error {
	weight, err := c.weigh(key, e.Value)
	if err != nil {
		return err
	}
	if c.cfg.Bus == nil && c.cfg.Save == nil {
		return c.setHere(key, e, weight)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("cache: gave up: %w", err)
	}
	if c.closed.Load() {
		return ErrClosed
	}
	w := &write[K, V]{key: key, name: c.name(key), entry: e, weight: weight}
	if c.cfg.Remote != nil {
		if w.payload, err = c.cfg.Codec.Encode(e.Value); err != nil {
			return fmt.Errorf("cache: Config.Codec cannot encode the value of %v: %w", key, err)
		}
	}
	if c.unsaved != nil {
		// Before the flights are detached: one that begins later finds it.
		if err := c.unsaved.accept(ctx, key, e.Value); err != nil {
			return err
		}
	}
	return c.setEverywhere(ctx, w)
}

// setHere is a Set that has nobody to tell: one critical section, or for a plain
// value in the place of another one none.
func (c *Cache[K, V]) setHere(key K, e Entry[V], weight int64) error {
	if c.closed.Load() {
		return ErrClosed
	}
	out := c.collect()
	if c.overwrites && e.TTL == 0 && len(e.Tags) == 0 {
		c.setPlain(key, e.Value, &out)
		c.dispose(&out, nil)
		return nil
	}
	s, hash := c.table.lock(key)
	if f := s.flights[key]; f != nil {
		c.detach(s, f)
	}
	// Behind the mutex, so that a Clear or a stamp of before is seen.
	h, keep := c.lifetime(e.TTL, e.Tags, 0, c.stamps.generation.Load())
	if keep {
		now := c.clock.now()
		b := c.boxed(e.Value, &h, 0, now, c.hardEnd(now, h.whole, false), now)
		if b.meta != nil {
			b.meta.verified.Store(c.stamps.seq.Load())
		}
		s.put(key, hash, &b, c.epoch.Load(), weight, &out)
	} else {
		s.drop(key, hash, &out)
	}
	s.mu.Unlock()
	c.dispose(&out, nil)
	return nil
}

// setEverywhere saves, stores in the Remote, tells the others, and keeps the value
// in L1 if nothing came in between.
func (c *Cache[K, V]) setEverywhere(ctx context.Context, w *write[K, V]) error {
	var unreached error
	if c.cfg.Remote != nil && !c.stamps.known() && !c.health.down.Load() {
		// What carries an old counter is dead on arrival.
		_, unreached = c.generations(span{ctx: ctx}, nil)
	}
	defer c.announce()
	c.beginSet(w)
	saved := false
	defer func() {
		if !saved {
			// Save failed, panicked or exited: nobody knows what the source has.
			c.endSet(w, nil)
		}
	}()
	if c.cfg.Save != nil && c.unsaved == nil {
		if err := c.save(ctx, map[K]V{w.key: w.entry.Value}); err != nil {
			return c.saveFailed(ctx, w, err)
		}
	}
	h, keep := c.lifetime(w.entry.TTL, w.entry.Tags, 0, w.generation)
	saved = true
	if !keep {
		c.endSet(w, nil)
		return c.invalidateKeys(ctx, []K{w.key}, false)
	}
	version, err := c.spreadValue(ctx, w, h, unreached)
	now := c.clock.now()
	b := c.box(w.entry.Value, h, version, now, c.hardEnd(now, h.whole, err != nil && c.cfg.Remote != nil), now)
	if spoiled := c.endSet(w, b); spoiled && c.cfg.Save != nil && err == nil {
		// The Remote may have the value of the Set that was saved first.
		return c.spread(ctx, Message{Keys: []string{w.name}})
	}
	return err
}

// save calls Save and makes sure that a panic is followed by an invalidation.
func (c *Cache[K, V]) save(ctx context.Context, values map[K]V) error {
	returned := false
	defer func() {
		if !returned {
			for key := range values {
				_ = c.invalidateKeys(context.WithoutCancel(ctx), []K{key}, false) // pending if it fails
			}
		}
	}()
	err := c.cfg.Save(ctx, values)
	returned = true
	c.stats.saves.Add(1)
	if err != nil {
		c.stats.saveErrors.Add(1)
	}
	return err
}

// saveFailed invalidates the key, since the effect of Save is unknown.
func (c *Cache[K, V]) saveFailed(ctx context.Context, w *write[K, V], err error) error {
	err = fmt.Errorf("cache: Config.Save failed: %w", err)
	c.tell(Event{Kind: EventSaveFailed, Key: c.display(w.key), Err: err, Count: 1})
	// The caller's ctx may be what has failed it.
	return errors.Join(err, c.invalidateKeys(context.WithoutCancel(ctx), []K{w.key}, false))
}

// beginSet fences the loads of the key: what they return is older.
func (c *Cache[K, V]) beginSet(w *write[K, V]) {
	w.pending = c.pending.now()
	s, _ := c.table.lock(w.key)
	rebuild := false
	if f := s.flights[w.key]; f != nil {
		c.detach(s, f)
	}
	w.epoch, w.generation = c.epoch.Load(), c.stamps.generation.Load()
	if w.key == w.key { //nolint:staticcheck // NaN cannot be found in a map
		set := s.sets[w.key]
		if set == nil {
			set = &setting{}
			s.sets[w.key] = set
		}
		set.running++
		set.spoiled = set.spoiled || set.running > 1
		rebuild = c.register(w.key, w.name)
	}
	s.mu.Unlock()
	if rebuild {
		c.reindex()
	}
}

// endSet stores b, if there is one and nothing came in between, or drops what is
// there. Loads that began meanwhile may have read the source before Save: they are
// fenced as well.
func (c *Cache[K, V]) endSet(w *write[K, V], b *box[V]) (spoiled bool) {
	out := c.collect()
	s, hash := c.table.lock(w.key)
	if set := s.sets[w.key]; set != nil {
		spoiled = set.spoiled
		if set.running--; set.running == 0 {
			delete(s.sets, w.key)
		}
	}
	if f := s.flights[w.key]; f != nil {
		c.detach(s, f)
	}
	fenced := w.epoch < c.cleared.Load() || b != nil && b.meta != nil && len(b.meta.tags) > 0 &&
		c.stamps.fenced(b.meta.generation, b.meta.tags)
	if b == nil || spoiled || fenced {
		s.drop(w.key, hash, &out)
	} else {
		outage := b.meta == nil || b.meta.version == 0
		c.store(s, hash, w.key, b, w.weight, w.epoch, outage && c.cfg.Remote != nil, &out)
	}
	s.mu.Unlock()
	c.dispose(&out, nil)
	return spoiled
}

// spreadValue puts the value into the Remote and tells the other nodes. It returns
// the version there, or 0 if it is not sure that it has one. A Remote that has not
// answered just now is not asked: a caller waits for one RemoteTimeout at most.
func (c *Cache[K, V]) spreadValue(ctx context.Context, w *write[K, V], h header, unreached error) (version uint64, err error) {
	m := Message{Keys: []string{w.name}}
	err = unreached
	if err == nil && c.cfg.Remote != nil {
		version = newVersion()
		_, err = c.remotePut(ctx, []Fill{*c.fill(w.name, 0, version, h, w.payload)})
	}
	if err == nil && c.cfg.Bus != nil {
		err = c.publishMessage(ctx, m)
	}
	if err != nil {
		c.postponed(m)
		return 0, fmt.Errorf("%w: %w", ErrPending, err)
	}
	if c.cfg.Bus != nil {
		c.acknowledged(m, w.pending, 0)
	}
	return version, nil
}
