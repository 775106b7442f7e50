package cache

import (
	"context"
	"runtime/debug"
	"sync/atomic"
)

// A flight is one attempt to find out the value of one key, shared by all who
// want to know. It stands in its shard's flights from before its first I/O, and
// whatever makes its result untrue takes it out of there: then it still delivers
// to those who wait, stores nothing, and later callers begin a new one. Taking it
// out and dropping the entry are one critical section, so are looking whether it
// is still there and storing.
type flight[K comparable, V any] struct {
	key  K
	name string
	load Loader[K, V] // of GetOrLoad, or nil
	aim  aim
	work *work

	// The shard does not follow from the key: NaN hashes differently each time.
	shard *shard[K, V]
	hash  uint64

	// What was true when it began.
	epoch, generation, seq uint64
	begun                  int64
	// Of the goroutine that runs it, too: old came from the Remote and L1 has not
	// got it.
	spareFromRemote bool
	spareWeight     int64
	suspect         bool // old could not be trusted

	// renews is the stale copy in L1 that begins no other refresh until this ends.
	renews *box[V]

	// old is the copy that it would replace, for conditional reads, LoadEntry, and
	// who may take a stale value. Waiters read it while it runs.
	old atomic.Pointer[box[V]]

	// Guarded by the shard's mutex.
	waiters  int
	detached bool
	kept     bool          // goes on without waiters
	left     bool          // has left its work
	over     bool          // what a flight ends in is set, and does not change
	landed   chan struct{} // closed then; made by who waits, since many flights end before

	// told and stale: that it failed or is late, and that somebody got a stale value
	// for that, was reported. trouble: the last thing that
	// went wrong, for callers who leave.
	told, stale atomic.Bool
	trouble     atomic.Pointer[error]

	// leg counts the goroutines that have run it, one after the other: one that
	// ends early must not end what it has handed on.
	leg atomic.Int32

	// Of the goroutine that runs it.
	token   uint64 // of its lease
	insist  uint64 // version of a dead record that must be replaced
	asks    int
	outage  bool // the Remote could not be asked
	outcome outcome[V]

	// Set before it is over.
	answer   answer[V]
	err      error
	yielded  bool // another node loads, or nobody does: who has joined must look again
	panicked *PanicError
	own      work
}

// lock locks what guards f. The caller unlocks s.mu.
func (f *flight[K, V]) lock() (s *shard[K, V], hash uint64) {
	f.shard.mu.Lock()
	return f.shard, f.hash
}

// aim says why a flight was begun.
type aim uint8

const (
	toGet        aim = iota
	toLookup         // without a load
	toRefresh        // by Refresh: a load for sure
	toRenew          // in the background, since the copy is stale
	toRenewEarly     // in the background, though the copy is fresh
)

func (a aim) background() bool { return a >= toRenew }

// answer is a box and who gave it.
type answer[V any] struct {
	box   *box[V]
	layer Layer
	stale bool
}

// outcome is what a flight is going to end in.
type outcome[V any] struct {
	answer[V]
	err    error
	store  *box[V] // to put into L1
	weight int64
	drop   bool  // the copy in L1 is untrue
	fill   *Fill // to put into the Remote
}

// claim joins the flight of key, or begins one that the caller must run. Both are
// nil if L1 has an answer by now, or the cache is closed.
//
// A Lookup does not wait for loads: it flies beside them and stores nothing.
// A flight of its own has its work made here, under the mutex, since whoever joins
// it looks at that; w is the one of a flight that runs with others, and room where
// it may stand, or nil.
func (c *Cache[K, V]) claim(ctx context.Context, key K, name string, a aim, w *work, room *flight[K, V]) (joined, begun *flight[K, V]) {
	s, hash := c.table.lock(key)
	epoch := c.epoch.Load()
	running := s.flights[key]
	aside := running != nil && a == toLookup && running.aim != toLookup
	if f := running; f != nil && !aside {
		if f.epoch == epoch {
			if !a.background() {
				f.waiters++
				c.stats.coalesced.Add(1)
			}
			s.mu.Unlock()
			return f, nil
		}
		// It began before a gap or a Clear: what it reads may be older than that.
		c.detach(s, f)
	}
	f := room
	if f == nil {
		f = &flight[K, V]{}
	}
	f.key, f.name, f.aim, f.epoch = key, name, a, epoch
	f.shard, f.hash = s, hash
	if !c.inspect(s, hash, f) || c.unsaved.holds(key) {
		s.mu.Unlock()
		return nil, nil
	}
	f.generation, f.seq = c.stamps.generation.Load(), c.stamps.seq.Load()
	if f.work = w; w == nil {
		f.work = &f.own
		if !c.works.begin(ctx, f.work, c.cfg.Policy.LoadTimeout) {
			s.mu.Unlock()
			return nil, nil
		}
	}
	f.work.flying.Add(1)
	rebuild := false
	if aside || key != key { //nolint:staticcheck // NaN cannot be found in a map
		f.detached = true
	} else {
		s.flights[key] = f
		s.flying.Add(1) // before the load: Sets that follow take the lock
		rebuild = c.register(key, name)
	}
	if !a.background() {
		f.waiters = 1
	}
	f.kept = a.background() || a == toRefresh
	s.mu.Unlock()
	if rebuild {
		c.reindex()
	}
	return nil, f
}

// inspect looks at L1 on behalf of a new flight, and reports false if there is
// nothing left to fly for. The shard's mutex is held.
func (c *Cache[K, V]) inspect(s *shard[K, V], hash uint64, f *flight[K, V]) bool {
	f.begun = c.clock.now()
	e := s.get(f.key, hash)
	if e == nil {
		return !f.aim.background()
	}
	epoch, b := e.loadEpoch(), e.box.Load()
	switch v := c.judge(b, epoch, f.begun); v {
	case none:
		return !f.aim.background()
	case fresh, early, absent, stale:
		if f.aim == toGet || f.aim == toLookup {
			return false
		}
	case suspect:
		f.suspect = true
	case spare:
	}
	f.old.Store(b)
	return true
}

// detach takes a flight out of its slot. The shard's mutex is held.
func (c *Cache[K, V]) detach(s *shard[K, V], f *flight[K, V]) {
	f.detached = true
	s.vacate(f.key)
}

// vacate frees the slot of a flight.
func (s *shard[K, V]) vacate(key K) {
	delete(s.flights, key)
	s.flying.Add(-1)
}

// fly runs one flight to its end.
func (c *Cache[K, V]) fly(f *flight[K, V]) {
	defer c.works.wg.Done()
	done := false
	defer func() {
		if !done {
			if waited := c.awaited(0, f); waited {
				c.abort(recover(), 0, f)
				return
			}
			c.abort(nil, 0, f)
		}
	}()
	if c.cfg.Remote == nil {
		c.loadOne(f)
	} else {
		c.flyRemote([]*flight[K, V]{f})
	}
	done = true
}

// flyAll is fly for flights that share a work.
func (c *Cache[K, V]) flyAll(fs []*flight[K, V], run func([]*flight[K, V])) {
	done, leg := false, fs[0].leg.Load()
	defer func() {
		if !done {
			if waited := c.awaited(leg, fs...); waited {
				c.abort(recover(), leg, fs...)
				return
			}
			c.abort(nil, leg, fs...)
		}
	}()
	run(fs)
	done = true
}

// awaited tells whether somebody waits for one of fs. If nobody does, a panic is
// not recovered.
func (c *Cache[K, V]) awaited(leg int32, fs ...*flight[K, V]) bool {
	for _, f := range fs {
		s, _ := f.lock()
		waited := !f.over && f.waiters > 0 && f.leg.Load() == leg
		s.mu.Unlock()
		if waited {
			return true
		}
	}
	return false
}

// abort ends what is left of fs after a panic, or after a Goexit if that is nil.
func (c *Cache[K, V]) abort(panicked any, leg int32, fs ...*flight[K, V]) {
	var p *PanicError
	if panicked != nil {
		p = &PanicError{Value: panicked, Stack: debug.Stack()}
	}
	for _, f := range fs {
		if f.leg.Load() != leg || f.isOver() {
			continue
		}
		f.panicked = p
		f.outcome = outcome[V]{err: &LoadError{Key: f.key, Err: errGoexit, Elapsed: c.since(f.begun)}}
		c.postpone(f)
		c.releaseLease(f)
		c.finish(f, f.outcome)
	}
}

// finish ends a flight: its result goes into L1 unless somebody has detached it,
// its slot becomes free, and its waiters get their answer, all at once, so that
// nobody begins a second load in between.
func (c *Cache[K, V]) finish(f *flight[K, V], o outcome[V]) { c.handOver(f, o, nil) }

// handOver is finish that leaves the slot to another flight, if there is one.
func (c *Cache[K, V]) handOver(f *flight[K, V], o outcome[V], next *flight[K, V]) {
	if c.closed.Load() {
		o = outcome[V]{err: ErrClosed}
	}
	out := c.collect()
	var kept *box[V]
	s, hash := f.lock()
	if f.detached {
		if next != nil {
			next.detached = true
		}
	} else {
		kept = c.settle(s, hash, f, o, &out)
		s.vacate(f.key) // only now may Sets go without the lock again
		if next != nil {
			s.flights[f.key] = next
			s.flying.Add(1)
		}
	}
	f.over = true
	leaves := !f.left
	f.left = true
	f.answer, f.err = o.answer, o.err
	f.release()
	if f.landed != nil {
		close(f.landed)
	}
	s.mu.Unlock()
	if leaves {
		c.works.leave(f.work)
	}
	c.dispose(&out, kept)
	c.announce()
}

// release lets the copy that f was to replace begin a refresh again, where it is
// still there: what a fenced flight brings is not stored.
func (f *flight[K, V]) release() {
	if f.renews == nil {
		return
	}
	retry := int64(0)
	if b := f.old.Load(); b != nil && b.meta != nil && b != f.renews {
		retry = b.meta.retry.Load()
	}
	f.renews.meta.retry.CompareAndSwap(never, retry)
}

// settle does to L1 what a flight has found out, and returns the value that is
// still the same. The shard's mutex is held.
func (c *Cache[K, V]) settle(s *shard[K, V], hash uint64, f *flight[K, V], o outcome[V], out *removed[K, V]) (kept *box[V]) {
	if o.store != nil {
		return c.store(s, hash, f.key, o.store, o.weight, f.epoch, f.outage, out)
	}
	if o.drop {
		s.drop(f.key, hash, out)
	}
	return nil
}

// store puts b into L1 unless Clear or a tag has fenced it since epoch. A box read
// while the bus was not in step is suspect from the beginning; one loaded while
// the Remote was down lives for MaxLag at most anyway. The mutex is held.
func (c *Cache[K, V]) store(s *shard[K, V], hash uint64, key K, b *box[V], weight int64, epoch uint64, outage bool, out *removed[K, V]) (kept *box[V]) {
	if epoch < c.cleared.Load() {
		return nil
	}
	if !trusted(epoch) && !outage {
		epoch = 0
	}
	if e := s.get(key, hash); e != nil {
		if old := e.box.Load(); old.meta != nil && b.meta != nil && old.meta.version == b.meta.version && b.meta.version != 0 {
			kept = old
		}
		if e.loadEpoch() > epoch {
			// In place, a reader could pair the box with the epoch of the old one.
			s.drop(key, hash, out)
		}
	}
	s.put(key, hash, b, epoch, weight, out)
	return kept
}
