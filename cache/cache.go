package cache

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// Cache keeps values of a slow source near the caller. Most callers want Get, and
// Invalidate after they have written the source. It is safe for concurrent use. An
// L1 hit takes no lock, writes at most a 2-bit counter, allocates nothing and does
// not look at ctx. Values are shared between callers: who changes one copies it
// first. Create and use a Cache in the same synctest bubble.
type Cache[K comparable, V any] struct {
	// What a hit reads, and hardly anybody writes.
	table *table[K, V]
	clock *clock
	hits  *hitCounter // nil: not counted
	_     [32]byte

	overwrites bool // Sets of present keys may go without the lock

	epoch atomic.Uint64 // what an entry must have to be trusted
	_     [56]byte

	cleared atomic.Uint64 // entries of earlier epochs are gone
	closed  atomic.Bool
	epochs  epochs

	cfg   Config[K, V]
	id    uint64    // Origin of this cache's messages
	names *names[K] // nil: no Remote, no Bus
	draw  func() float64

	stats   counters
	feed    feed
	works   works
	stamps  stamps
	link    link
	health  health
	pending pending
	unsaved *unsaved[K, V]
	places  chan struct{} // of loads while the Remote is down; nil: no bound

	mending, syncing atomic.Bool // there is a mender, a resync

	life       context.Context //nolint:containedctx // it is the context of goroutines that Close ends
	end        context.CancelFunc
	closing    sync.Once
	unsavedErr error // of the writer, for Close
}

// New returns a cache. It does not wait for Remote or Bus, so that a service
// starts while they are down. The error names the field that is wrong. Without
// Remote, Bus, WriteBehind and ClockStep no goroutine outlives a load, and Close
// may be omitted.
func New[K comparable, V any](c Config[K, V]) (*Cache[K, V], error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.complete()
	cache := &Cache[K, V]{cfg: c, clock: newClock(c.ClockStep), id: newVersion(), overwrites: c.overwrites()}
	cache.table = newTable(tableConfig[K, V]{
		maxEntries: c.MaxEntries, maxWeight: c.MaxWeight, dead: dead[V], now: cache.clock.now,
	})
	cache.feed.call = c.OnEvent
	cache.works.all = make(map[*work]struct{})
	cache.stamps.tags, cache.stamps.heldTags = make(map[string]uint64), make(map[string]struct{})
	cache.pending.keys, cache.pending.tags = make(map[string]pendingKey), make(map[string]uint64)
	cache.epochs.last = 2
	cache.epoch.Store(2)
	if c.CountHits {
		cache.hits = new(hitCounter)
	}
	if c.OutageLoads > 0 && c.Remote != nil {
		cache.places = make(chan struct{}, c.OutageLoads)
	}
	if c.Bus != nil || c.WriteBehind.Delay > 0 {
		cache.start()
	}
	return cache, nil
}

// start begins what goes on until Close.
func (c *Cache[K, V]) start() {
	c.life, c.end = context.WithCancel(context.Background())
	if c.cfg.WriteBehind.Delay > 0 {
		c.unsaved = newUnsaved[K, V](c.cfg.WriteBehind)
		c.works.spawn(c.writer)
	}
	if c.cfg.Bus != nil {
		c.names = newNames(c.cfg.Key)
		c.epoch.Store(c.epochs.nextOdd()) // not in step before the first message
		c.epochs.saved = 2
		c.works.spawn(c.follow)
	}
}

// Get asks L1, the Remote and the loader, in this order. The error is ErrNotFound
// or a *[LoadError], or it matches ErrRemote, ErrClosed or context.Cause(ctx). A
// nil error always comes with a real value. All callers that miss the same key at
// the same time share one load; one whose ctx ends leaves alone, and the last one
// to leave cancels it.
//
// A hit in L1 costs about 30 ns. The first caller to miss it reads the Remote on
// its own goroutine, and leaves as soon as the Remote heeds the end of its ctx.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	hash := c.table.hash(key)
	e := c.table.find(key, hash)
	if e != nil {
		// The epoch first: a new epoch never blesses an old box.
		epoch := e.loadEpoch()
		if b := e.box.Load(); epoch == c.epoch.Load() && c.clock.now() < b.soon {
			if c.hits != nil {
				c.hits.add(e.hash)
			}
			return b.value, nil
		}
	}
	a, err := c.get(ctx, key, hash, e, nil)
	return a.value(err)
}

// value is what Get returns.
func (a *answer[V]) value(err error) (v V, _ error) {
	if err != nil {
		return v, err
	}
	return a.box.value, nil
}

// entry is what GetEntry returns.
func (c *Cache[K, V]) result(a answer[V], err error) (Entry[V], error) {
	if err != nil {
		return Entry[V]{Layer: a.layer}, err
	}
	return c.entry(a.box, a.layer, a.stale, c.clock.now()), nil
}

// GetEntry is Get with provenance. Beside ErrNotFound, Layer tells who said so.
func (c *Cache[K, V]) GetEntry(ctx context.Context, key K) (Entry[V], error) {
	hash := c.table.hash(key)
	return c.result(c.get(ctx, key, hash, c.table.find(key, hash), nil))
}

// GetOrLoad is Get with a loader of this call's own, for values that need more
// than the key; refreshes that it starts use it too. Callers that join share the
// load of the first. A nil load means that of the Config.
func (c *Cache[K, V]) GetOrLoad(ctx context.Context, key K, load Loader[K, V]) (V, error) {
	hash := c.table.hash(key)
	e := c.table.find(key, hash)
	if e != nil {
		epoch := e.loadEpoch()
		if b := e.box.Load(); epoch == c.epoch.Load() && c.clock.now() < b.soon {
			if c.hits != nil {
				c.hits.add(e.hash)
			}
			return b.value, nil
		}
	}
	a, err := c.get(ctx, key, hash, e, load)
	return a.value(err)
}

// GetMany is Get for many keys with one Remote read, one LoadMany and one fill.
// Absent keys are missing from the map. The error joins one *[LoadError] per
// failed key; the map has the others all the same. Calls that overlap share the
// loads of the keys that they have in common. As in Get, the Remote is read on the
// caller's goroutine.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K) (map[K]V, error) {
	return c.getMany(ctx, keys)
}

// Lookup asks L1 and the Remote and does not load. It returns stale copies, too,
// with Stale set. ErrNotFound with LayerSource means not cached, with another
// layer that this one knows the key to be absent.
func (c *Cache[K, V]) Lookup(ctx context.Context, key K) (Entry[V], error) {
	c.table.find(key, c.table.hash(key)) // it counts as a read
	return c.result(c.lookup(ctx, key))
}

// Peek looks into L1 alone, stale entries too, without a side effect of any kind.
func (c *Cache[K, V]) Peek(key K) (Entry[V], bool) {
	e := c.table.peek(key)
	if e == nil {
		return Entry[V]{}, false
	}
	epoch := e.loadEpoch()
	b := e.box.Load()
	now := c.clock.now()
	switch c.judge(b, epoch, now) {
	case fresh, early:
		return c.entry(b, LayerLocal, false, now), true
	case stale, spare, suspect:
		if b.meta != nil && b.meta.absent {
			return Entry[V]{}, false
		}
		return c.entry(b, LayerLocal, true, now), true
	default:
		return Entry[V]{}, false
	}
}

// Set runs Config.Save, stores the value in the Remote and in L1, and tells the
// other nodes. If somebody else also writes the source, prefer Invalidate after
// the write: two values on their way at once may arrive in either order.
//
// If Save fails, its effect is unknown: the key is invalidated and the error
// returned. ErrPending means that the value is saved, and that the other nodes
// will be told later. Of two Sets of a key that overlap, L1 keeps neither; where
// there is nobody else to write to, neither Save nor Remote nor Bus, it keeps the
// later one.
func (c *Cache[K, V]) Set(ctx context.Context, key K, value V) error {
	return c.set(ctx, key, Entry[V]{Value: value})
}

// SetEntry is Set with a TTL and tags of the entry's own. A negative TTL saves the
// value and invalidates the key.
func (c *Cache[K, V]) SetEntry(ctx context.Context, key K, e Entry[V]) error {
	return c.set(ctx, key, e)
}

// Invalidate forgets keys everywhere. Nil is the acknowledgement: nothing whose
// load or Remote read began before the call is ever a hit again, here and out of
// the Remote, and on the other nodes once the message has reached them. With
// [ErrPending] it is done on this node and will be replayed; do not retry it.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	return c.invalidateKeys(ctx, keys, false)
}

// Expire is Invalidate, but a copy stays for [Policy.StaleIfError].
func (c *Cache[K, V]) Expire(ctx context.Context, keys ...K) error {
	return c.invalidateKeys(ctx, keys, true)
}

// InvalidateTags invalidates all entries that have one of the tags, those that are
// being loaded included. Its cost does not depend on their number.
func (c *Cache[K, V]) InvalidateTags(ctx context.Context, tags ...string) error {
	return c.invalidateTags(ctx, tags)
}

// Clear invalidates everything. In the Remote that is a generation, never a
// FLUSHALL.
func (c *Cache[K, V]) Clear(ctx context.Context) error { return c.clearAll(ctx) }

// Refresh loads past L1 and the Remote, and stores the result. It joins a load of
// key that is running.
func (c *Cache[K, V]) Refresh(ctx context.Context, key K) (V, error) {
	a, err := c.refresh(ctx, key)
	return a.value(err)
}

// Flush waits until write-behind has saved all values accepted before. Without
// Config.WriteBehind it has nothing to wait for.
func (c *Cache[K, V]) Flush(ctx context.Context) error { return c.unsaved.flush(ctx) }

// All yields the fresh entries of L1 without holding a lock. One that stays
// throughout is yielded once; one that comes or goes meanwhile perhaps.
func (c *Cache[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		c.table.each(func(e *entry[K, V]) bool {
			epoch := e.loadEpoch()
			b := e.box.Load()
			if v := c.judge(b, epoch, c.clock.now()); v != fresh && v != early {
				return true
			}
			return yield(e.key, b.value)
		})
	}
}

// Close ends the bus, cancels loads, whose waiters get ErrClosed, saves what is
// unsaved, and waits for all goroutines. The error says how many values stayed
// unsaved. Remote and Bus remain usable. It is idempotent, and must not be called
// by a callback of the cache.
func (c *Cache[K, V]) Close() error {
	c.closing.Do(func() {
		c.shut()
		if c.end != nil {
			c.end()
		}
		c.works.close()
		c.works.wg.Wait()
		c.clock.close()
	})
	return c.unsavedErr
}

// shut makes every call fail: no entry has an epoch that is not trusted.
func (c *Cache[K, V]) shut() {
	c.epochs.mu.Lock()
	c.closed.Store(true)
	c.epoch.Store(c.epochs.nextOdd())
	c.epochs.mu.Unlock()
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.link.timer != nil {
		c.link.timer.Stop()
	}
	c.link.live = false
}

// close cancels what runs and lets nothing more begin.
func (ws *works) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.all {
		w.cancel()
	}
}
