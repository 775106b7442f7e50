package sharding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultPatience = 10 * time.Second
	defaultPoll     = 30 * time.Second
)

// Config is how a [Router] keeps up to date. The zero value is good.
type Config struct {
	// Patience is how long [Do] and Run follow redirects and sit out a
	// cutover, counted from the first refusal. Zero means 10 seconds;
	// negative means one call.
	Patience time.Duration

	// Poll is how often Follow reads the source again, give or take 20 %,
	// whatever the hints of the source say. Zero means 30 seconds; negative
	// is an error.
	Poll time.Duration

	// OnEvent hears of installed topologies, failed loads and redirects, on
	// the goroutine that caused them or one that is delivering already, one
	// at a time, installs in order of their epochs. No lock is held. A
	// callback that is slow delays that goroutine alone. Nil costs nothing.
	OnEvent func(Event)

	// Logger gets the failed loads of Follow. Nil is silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Poll < 0 {
		return c, fmt.Errorf("sharding: Config.Poll is %v, must not be negative", c.Poll)
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	return c, nil
}

// Router routes keys by the topology that is in force. It has no goroutine of
// its own; lookups take no lock and are answered from a single snapshot. For
// concurrent use.
type Router[K any] struct {
	cfg   Config
	load  *loader[K] // nil without a Source
	cur   atomic.Pointer[snapshot[K]]
	feed  feed
	count counters

	following atomic.Bool

	mu     sync.Mutex       // held to replace cur; never while code of the user runs
	guards map[ID]*Guard[K] // by self
}

// NewRouter returns a router that starts with t and learns of changes by
// Install alone. See [Open] for one that reads them from a store.
func NewRouter[K any](t Topology[K], cfg Config) (*Router[K], error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	first, err := snap(t, nil)
	if err != nil {
		return nil, err
	}
	r := &Router[K]{cfg: cfg, guards: make(map[ID]*Guard[K])}
	r.cur.Store(first)
	return r, nil
}

// Route returns where the key belongs, or ErrNoOwner. It costs about twice the
// bare hash and does not allocate.
func (r *Router[K]) Route(key K) (Route, error) {
	s := r.cur.Load()
	var c *class
	if s.hash != nil { // as in class, which is too long to be inlined
		c = &s.classes[s.table[slot(s.hash(key), s.shift)]]
	} else {
		c = s.class(key)
	}
	if c.owner == "" {
		return Route{}, s.noOwner(key)
	}
	return Route{Shard: c.owner, Epoch: s.epoch, class: c}, nil
}

// noOwner is the map's own error for a key without an owner.
func (s *snapshot[K]) noOwner(key K) error {
	_, err := s.topo.Map.Owner(key)
	return err
}

// Routes fills dst with the routes of keys, all of one snapshot, and returns
// how many it has filled. It stops at the first error, which names the index
// of the key. dst must have room for all.
func (r *Router[K]) Routes(keys []K, dst []Route) (int, error) {
	if len(dst) < len(keys) {
		return 0, fmt.Errorf("sharding: dst has room for %d routes, %d keys are given", len(dst), len(keys))
	}
	s := r.cur.Load()
	for i, key := range keys {
		c := s.class(key)
		if c.owner == "" {
			return i, fmt.Errorf("key %d: %w", i, s.noOwner(key))
		}
		dst[i] = Route{Shard: c.owner, Epoch: s.epoch, class: c}
	}
	return len(keys), nil
}

// Owners fills dst with the owners of the key, as [Map].Owners does.
func (r *Router[K]) Owners(key K, dst []ID) (int, error) {
	s := r.cur.Load()
	if s.slots != nil {
		return s.slots.Owners(key, dst)
	}
	return fillOwners(s.topo.Map, key, dst)
}

// Topology returns what is in force.
func (r *Router[K]) Topology() Topology[K] { return r.cur.Load().topo }

// Install puts t in force. Topologies may come late, twice or out of order: an
// older one is ErrStale, the same one again is nil, another one of the same
// epoch is ErrConflict. If t is invalid the error says how. After an error the
// router goes on as before.
func (r *Router[K]) Install(t Topology[K]) error {
	err := r.install(t)
	r.feed.deliver(r.cfg.OnEvent)
	return err
}

// install is Install but for the delivery of its event.
func (r *Router[K]) install(t Topology[K]) error {
	for {
		old := r.cur.Load()
		next, err := r.succeed(old, t)
		if err != nil {
			r.count.refused.Add(1)
			return err
		}
		if next == old {
			return nil
		}
		if r.publish(old, next) {
			return nil
		}
	}
}

// succeed returns the snapshot that t makes after old: old itself if nothing
// changes.
func (r *Router[K]) succeed(old *snapshot[K], t Topology[K]) (*snapshot[K], error) {
	next, err := snap(t, old)
	switch {
	case err != nil:
		return nil, err
	case t.Epoch < old.epoch:
		return nil, fmt.Errorf("%w: epoch %d is offered, %d is in force", ErrStale, t.Epoch, old.epoch)
	case t.Epoch > old.epoch:
		return next, nil
	case old.topo.same(&t):
		return old, nil
	default:
		return nil, fmt.Errorf("%w: another topology has epoch %d", ErrConflict, t.Epoch)
	}
}

// publish puts next in force if old still is. Installs are rare, so the share
// of moved parts is counted outside the lock even if the race is lost.
func (r *Router[K]) publish(old, next *snapshot[K]) bool {
	var event Event
	if r.cfg.OnEvent != nil {
		event = Event{Epoch: next.epoch, Previous: old.epoch, Moved: next.moved(old)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur.Load() != old {
		return false
	}
	r.cur.Store(next)
	r.count.installs.Add(1)
	close(old.superseded)
	r.emit(event)
	return true
}

// Explain tells people how the router decides about a key, a line per step:
// pin, projection, hash, slot or range, owners, epochs.
func (r *Router[K]) Explain(key K) string {
	s := r.cur.Load()
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("key %s at epoch %d", format(key), s.epoch)
	s.topo.Map.explain(key, say)
	switch c := s.class(key); {
	case c.owner == "":
		say("no route")
	case c.mirror == "":
		say("route to %s since epoch %d", c.owner, c.since)
	default:
		say("route to %s since epoch %d, moving: mirror %s, reads it %t, blocked %t", c.owner, c.since, c.mirror, c.read, c.block)
	}
	return b.String()
}

// Run is [Do] without a value.
func (r *Router[K]) Run(ctx context.Context, key K, f func(context.Context, Route) error) error {
	_, err := Do(ctx, r, key, func(ctx context.Context, rt Route) (struct{}, error) { return struct{}{}, f(ctx, rt) })
	return err
}

// errNoSource is what asks for a Source gets from a router without one.
var errNoSource = errors.New("sharding: the router has no Source: use Open")
