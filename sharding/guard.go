package sharding

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Guard stands on the shard and refuses what an outdated router sends, but
// only for keys whose owner, mirror or block changed since: routes to all
// other parts stay good for ever. The function f of a call runs only if it is
// admitted; its error is returned as it is.
//
// It decides by its router's topology, of epoch G say. If the route is of a
// later one the guard refreshes first, and returns ErrStale if that does not
// help. For concurrent use; a call costs a lookup and two atomic additions.
type Guard[K any] struct {
	r    *Router[K]
	self ID
	cur  atomic.Pointer[generation[K]]

	mu      sync.Mutex
	retired []*generation[K] // those that may still have calls
}

// A generation is the calls that were admitted under one snapshot.
//
// A call counts itself and then looks again whether the topology is still the
// one in force; only then does it decide. So once a generation is retired
// nobody can be admitted to it, its calls can only end, and a Fence that waits
// for them cannot starve.
type generation[K any] struct {
	snap    *snapshot[K]
	calls   atomic.Int64
	retired atomic.Bool
	drained chan struct{} // closed when it is retired and has no calls
	once    sync.Once
}

// Guard returns the guard of shard self, the same one for each call. It panics
// if self is empty.
func (r *Router[K]) Guard(self ID) *Guard[K] {
	if self == "" {
		panic("sharding: Guard needs the ID of its shard")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g, ok := r.guards[self]
	if !ok {
		g = &Guard[K]{r: r, self: self}
		g.cur.Store(&generation[K]{snap: r.cur.Load(), drained: make(chan struct{})})
		r.guards[self] = g
	}
	return g
}

// Write calls f if self owns the key, the route is not older than the last
// change of this part of the keys, and it is not blocked. Otherwise it returns
// a [*MovedError], or ErrBlocked.
func (g *Guard[K]) Write(ctx context.Context, key K, rt Route, f func(context.Context) error) error {
	return g.call(ctx, key, rt, write, f)
}

// Read calls f if self owns the key, even if it is blocked or the route is
// old, or if it is its mirror, ReadMirror is on, and the route knows that.
// Otherwise it returns a [*MovedError].
func (g *Guard[K]) Read(ctx context.Context, key K, rt Route, f func(context.Context) error) error {
	return g.call(ctx, key, rt, read, f)
}

// Mirror calls f, which applies the copy of a write that the owner took, if
// self is the key's mirror, under the conditions of Write.
func (g *Guard[K]) Mirror(ctx context.Context, key K, rt Route, f func(context.Context) error) error {
	return g.call(ctx, key, rt, mirror, f)
}

// Fence returns nil once epoch or a later one is in force here and every call
// that was admitted under an older one has returned: what such a call could
// write is written. A call is in flight from before its check until f returns,
// panics or exits. New calls go on meanwhile, and cannot delay Fence. When ctx
// ends it returns its cause; a Fence inside f waits for itself until then.
func (g *Guard[K]) Fence(ctx context.Context, epoch uint64) error {
	if err := g.r.await(ctx, epoch); err != nil {
		return err
	}
	g.advance()
	for _, old := range g.draining() {
		select {
		case <-old.drained:
		case <-ctx.Done():
			return fmt.Errorf("sharding: fence of epoch %d: %w", epoch, context.Cause(ctx))
		}
	}
	return nil
}

// await returns nil once epoch or a later one is in force.
func (r *Router[K]) await(ctx context.Context, epoch uint64) error {
	backoff, lastErr := growth{first: doFirst, most: doMost}, error(nil)
	for {
		s := r.cur.Load()
		switch {
		case s.epoch >= epoch:
			return nil
		case ctx.Err() != nil && lastErr != nil:
			return fmt.Errorf("sharding: fence of epoch %d: %w (%w)", epoch, context.Cause(ctx), lastErr)
		case ctx.Err() != nil:
			return fmt.Errorf("sharding: fence of epoch %d: %w", epoch, context.Cause(ctx))
		}
		if r.load != nil {
			if lastErr = r.Refresh(ctx); r.cur.Load() != s {
				continue
			}
		}
		pause(ctx, s.superseded, backoff.next())
	}
}

// call admits and runs one call.
func (g *Guard[K]) call(ctx context.Context, key K, rt Route, want access, f func(context.Context) error) error {
	gen := g.cur.Load()
	if !g.join(gen) {
		gen.leave()
		gen = g.enter()
	}
	if rt.Since() > gen.snap.epoch {
		gen.leave()
		var err error
		if gen, err = g.catchUp(ctx, rt); err != nil {
			return err
		}
	}
	defer gen.leave()
	c := gen.snap.class(key)
	if c.owner == "" {
		return gen.snap.noOwner(key)
	}
	if want != write || !c.takes(g.self, rt.Epoch) {
		if err := c.may(want, g.self, rt.Epoch, gen.snap.epoch); err != nil {
			return err
		}
	}
	return f(ctx)
}

// catchUp refreshes until the route is not from the future, once.
func (g *Guard[K]) catchUp(ctx context.Context, rt Route) (*generation[K], error) {
	err := g.r.Refresh(ctx)
	gen := g.enter()
	if rt.Since() <= gen.snap.epoch {
		return gen, nil
	}
	gen.leave()
	stale := fmt.Errorf("%w: shard %s is at epoch %d, the route at %d", ErrStale, g.self, gen.snap.epoch, rt.Since())
	if err != nil && g.r.load != nil {
		stale = fmt.Errorf("%w (%w)", stale, err)
	}
	return nil, stale
}

// An access is what a call wants of its key.
type access uint8

const (
	write access = iota
	read
	mirror
)

// takes is whether self may write here: what may says, short enough to be inlined
// where nearly every call goes.
func (c *class) takes(self ID, routed uint64) bool {
	return c.owner == self && routed >= c.since && !c.block
}

// may admits self to keys of this class by a route of epoch routed, or says why
// not. epoch is the guard's.
//
// Reads: a route of before names the mirror only because it owned the key once.
// Its caller tolerates no lag, and has not chosen the mirror.
func (c *class) may(want access, self ID, routed, epoch uint64) error {
	current := routed >= c.since
	switch want {
	case read:
		if c.owner != self && (c.mirror != self || !c.read || !current) {
			return &MovedError{To: c.owner, Epoch: epoch}
		}
		return nil
	case write:
		if c.owner != self {
			return &MovedError{To: c.owner, Epoch: epoch}
		}
	case mirror:
		if c.mirror != self {
			return &MovedError{To: c.owner, Epoch: epoch}
		}
	}
	switch {
	case !current:
		return &MovedError{To: c.owner, Epoch: c.since}
	case c.block:
		return ErrBlocked
	}
	return nil
}

// enter counts the caller in the generation of the topology in force.
func (g *Guard[K]) enter() *generation[K] {
	for {
		g.advance()
		gen := g.cur.Load()
		if g.join(gen) {
			return gen
		}
		gen.leave()
	}
}

// join counts the caller in gen and reports whether its topology is still in
// force, so that gen is not retired. If not, the caller leaves it.
func (g *Guard[K]) join(gen *generation[K]) bool {
	gen.calls.Add(1)
	return g.r.cur.Load() == gen.snap
}

// leave ends a call. settle asks both again; here they save nearly every call
// from calling it.
func (gen *generation[K]) leave() {
	if gen.calls.Add(-1) == 0 && gen.retired.Load() {
		gen.settle()
	}
}

// settle closes drained once gen is retired and has no calls. The order of the
// two questions matters: a leaver may have been stopped since it saw 0 calls,
// and others been admitted. After the retirement nobody is, so 0 is final.
func (gen *generation[K]) settle() {
	if gen.retired.Load() && gen.calls.Load() == 0 {
		gen.once.Do(func() { close(gen.drained) })
	}
}

// advance retires the current generation unless its topology is in force.
func (g *Guard[K]) advance() {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, s := g.cur.Load(), g.r.cur.Load()
	if old.snap == s {
		return
	}
	g.cur.Store(&generation[K]{snap: s, drained: make(chan struct{})})
	old.retired.Store(true)
	old.settle()
	g.retired = append(g.alive(), old)
}

// draining returns the retired generations that may still have calls.
func (g *Guard[K]) draining() []*generation[K] {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = g.alive()
	return g.retired
}

// alive returns a fresh list of the retired generations that are not drained.
// mu is held.
func (g *Guard[K]) alive() (alive []*generation[K]) {
	for _, gen := range g.retired {
		select {
		case <-gen.drained:
		default:
			alive = append(alive, gen)
		}
	}
	return alive
}
