package cache

import (
	"context"
	"errors"
	"sync"
	"time"
)

// atOnce is how many keys GetMany loads at once without LoadMany.
const atOnce = 16

// together is how many flights of a round share one piece of memory.
const together = 16

// A round is what GetMany waits for at once.
type round[K comparable, V any] struct {
	waits []waiting[K, V]
	own   []*flight[K, V]
	work  *work
	since int64
	left  int // how many of waits have been looked at
}

type waiting[K comparable, V any] struct {
	key    K
	flight *flight[K, V]
	late   bool
}

// getMany is GetMany. Keys whose flights turn out to be of no use go into another
// round.
func (c *Cache[K, V]) getMany(ctx context.Context, keys []K) (map[K]V, error) {
	values := make(map[K]V, len(keys))
	var errs []error
	for first := true; len(keys) > 0; first = false {
		if c.closed.Load() {
			return values, ErrClosed
		}
		missing := c.manyLocal(ctx, keys, values, first)
		if len(missing) == 0 {
			break
		}
		if ctx.Err() != nil {
			return values, c.gaveUp(ctx, nil)
		}
		r := c.beginRound(ctx, missing)
		if r == nil {
			return values, ErrClosed
		}
		var failed []error
		keys, failed = c.endRound(ctx, r, values)
		errs = append(errs, failed...)
	}
	return values, errors.Join(errs...)
}

// manyLocal takes what L1 has, and returns the other keys, each once. They count as
// misses if the call asks for the first time.
func (c *Cache[K, V]) manyLocal(ctx context.Context, keys []K, values map[K]V, first bool) (missing []K) {
	var seen map[K]struct{}
	for i, key := range keys {
		if a, ok := c.unsavedValue(key); ok {
			values[key] = a.box.value
			continue
		}
		hash := c.table.hash(key)
		if e := c.table.find(key, hash); e != nil {
			if a, err, ok := c.local(ctx, e, nil); ok {
				if err == nil {
					values[key] = a.box.value
				}
				continue
			}
		}
		if _, ok := seen[key]; ok {
			continue
		}
		if seen == nil {
			room := min(len(keys)-i, 128) // most calls miss few keys, or all of not so many
			seen, missing = make(map[K]struct{}, room), make([]K, 0, room)
		}
		seen[key] = struct{}{}
		missing = append(missing, key)
		if first {
			c.table.at(hash).misses.Add(1)
		}
	}
	return missing
}

// beginRound claims key by key and starts those flights that nobody else has.
func (c *Cache[K, V]) beginRound(ctx context.Context, keys []K) *round[K, V] {
	r := &round[K, V]{work: &work{}, since: c.clock.now()}
	if !c.works.begin(ctx, r.work, c.cfg.Policy.LoadTimeout) {
		return nil
	}
	r.work.flying.Add(1) // this function
	r.waits = make([]waiting[K, V], 0, len(keys))
	r.own = make([]*flight[K, V], 0, len(keys))
	var rooms []flight[K, V]
	for i, key := range keys {
		if len(rooms) == 0 {
			rooms = make([]flight[K, V], min(together, len(keys)-i))
		}
		joined, begun := c.claim(ctx, key, c.name(key), toGet, r.work, &rooms[0])
		if joined == nil { // or it is as empty as before
			rooms = rooms[1:]
		}
		wait := waiting[K, V]{key: key, flight: joined}
		switch {
		case begun != nil:
			wait.flight = begun
			r.own = append(r.own, begun)
		case joined != nil:
			wait.late = joined.seq != c.stamps.seq.Load()
		}
		r.waits = append(r.waits, wait)
	}
	c.flyRound(ctx, r)
	return r
}

// flyRound runs the flights that the round has begun.
func (c *Cache[K, V]) flyRound(ctx context.Context, r *round[K, V]) {
	done := func() {
		c.works.leave(r.work)
		c.works.wg.Done()
	}
	switch {
	case len(r.own) == 0:
		done()
	case c.cfg.Remote != nil && !c.softly(toGet):
		c.flyHere(ctx, r.own, done)
	default:
		go func() {
			defer done()
			if c.cfg.Remote == nil {
				c.flyAll(r.own, c.loadThese)
			} else {
				c.flyAll(r.own, c.flyRemote)
			}
		}()
	}
}

// endRound waits for the flights and puts values where they belong. It returns the
// keys that need another round.
func (c *Cache[K, V]) endRound(ctx context.Context, r *round[K, V], values map[K]V) (again []K, errs []error) {
	defer func() {
		// One of them has panicked: nobody waits for the others any more.
		for _, wait := range r.waits[r.left:] {
			if wait.flight != nil {
				c.leave(wait.flight)
			}
		}
	}()
	gaveUp := false
	for _, wait := range r.waits {
		r.left++
		if wait.flight == nil {
			again = append(again, wait.key)
			continue
		}
		a, err := c.wait(ctx, wait.flight, toGet, r.since)
		if c.mustRepeat(wait.flight, a, err, toGet, wait.late) {
			if !gaveUp {
				again = append(again, wait.key)
			}
			continue
		}
		switch {
		case err == nil:
			values[wait.key] = a.box.value
		case isAbsent(err):
		case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
			if !gaveUp {
				errs = append(errs, err)
			}
			gaveUp = true
		default:
			errs = append(errs, asLoadError(wait.key, err, c.since(r.since)))
		}
	}
	return again, errs
}

// loadMany asks the source about several keys: at once, or one by one with some
// at a time. What comes of it goes into the Remote in one call.
func (c *Cache[K, V]) loadMany(fs []*flight[K, V]) {
	w := fs[0].work
	switch {
	case c.cfg.LoadMany != nil:
		c.callLoadMany(w, fs)
	case !c.cfg.loads():
		for _, f := range fs {
			c.loadOne(f)
		}
		return
	default:
		c.loadEach(fs)
	}
	var rest []*flight[K, V]
	for _, f := range fs {
		if !f.isOver() { // of a loader that has panicked
			rest = append(rest, f)
		}
	}
	c.publish(w, rest...)
}

func (c *Cache[K, V]) callLoadMany(w *work, fs []*flight[K, V]) {
	keys := make([]K, len(fs))
	outage := false
	for i, f := range fs {
		keys[i] = f.key
		outage = outage || f.outage
	}
	leave, ok := c.enterOutage(w, outage)
	begun := c.clock.now()
	var values map[K]V
	err := w.ctx.Err()
	if ok {
		values, err = func() (map[K]V, error) {
			defer leave()
			defer c.keepLeases(w, fs...)()
			return c.cfg.LoadMany(w.ctx, keys)
		}()
		c.loaded(begun, len(fs))
	}
	if err != nil && w.ctx.Err() != nil {
		err = c.lateError(err)
	}
	for _, f := range fs {
		v, err := pick(values, f.key, err)
		c.accept(f, Entry[V]{Value: v}, err, begun)
	}
}

// loadEach loads key by key. A goroutine each, so that one that exits takes no
// other key with it.
func (c *Cache[K, V]) loadEach(fs []*flight[K, V]) {
	stop := c.keepLeases(fs[0].work, fs...)
	defer stop()
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, f := range fs {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c.flyAll([]*flight[K, V]{f}, func([]*flight[K, V]) {
				c.loadInto(f)
				if c.cfg.Remote == nil {
					c.finish(f, f.outcome)
				}
			})
		})
	}
	wg.Wait()
}

// asLoadError gives an error the key that it is about.
func asLoadError(key any, err error, elapsed time.Duration) error {
	if _, ok := errors.AsType[*LoadError](err); ok {
		return err
	}
	return &LoadError{Key: key, Err: err, Elapsed: elapsed}
}
