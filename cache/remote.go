package cache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// health counts failures of the Remote. Three in a row put it down: from then on
// no request touches it until the mender has got through.
type health struct {
	down atomic.Bool

	mu       sync.Mutex
	failures int
}

const maxFailures = 3

// span is for how long the Remote may be asked: until ctx ends, and where a caller
// does it himself, not beyond his own.
type span struct {
	ctx    context.Context //nolint:containedctx // both are arguments
	caller context.Context //nolint:containedctx // nil: none, or it never ends
}

// within makes the context of one call. One stands for both and the timeout: a
// context per bound is three times the allocations.
func (s span) within(timeout time.Duration) (ctx context.Context, end func()) {
	if s.caller == nil {
		return context.WithTimeout(s.ctx, timeout)
	}
	// The caller's deadline is passed on, since that is all that some clients look at.
	if deadline, ok := s.caller.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	stop := context.AfterFunc(s.caller, cancel)
	return ctx, func() { stop(); cancel() }
}

func (s span) over() bool { return over(s.ctx) || s.caller != nil && over(s.caller) }

// attempt makes one call within RemoteTimeout, and keeps the count of failures. A
// caller's own cancellation is none.
func (c *Cache[K, V]) attempt(s span, call func(context.Context) error) error {
	bounded, end := s.within(c.cfg.RemoteTimeout)
	defer end()
	c.stats.remoteTrips.Add(1)
	err := call(bounded)
	switch {
	case err == nil:
		c.health.mu.Lock()
		c.health.failures = 0
		c.health.mu.Unlock()
	case !s.over():
		c.stats.remoteErrors.Add(1)
		c.countFailure(err)
	}
	return err
}

// over tells whether ctx has ended or is due to: a client that looks at the
// deadline itself may return before the timer of ctx has run.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

func (c *Cache[K, V]) countFailure(err error) {
	h := &c.health
	h.mu.Lock()
	h.failures++
	falls := h.failures >= maxFailures && !h.down.Load()
	if falls {
		h.down.Store(true)
	}
	h.mu.Unlock()
	if falls {
		c.mend()
		c.tell(Event{Kind: EventRemoteDown, Err: err})
	}
}

// call is attempt unless the Remote is down.
func (c *Cache[K, V]) call(s span, call func(context.Context) error) error {
	if c.health.down.Load() {
		c.stats.remoteSkipped.Add(1)
		return ErrRemote
	}
	return c.attempt(s, call)
}

func (c *Cache[K, V]) remoteGet(s span, queries []Query, lease bool) (records []Record, err error) {
	life := leaseLife
	if !lease {
		life = 0
	}
	err = c.call(s, func(ctx context.Context) (err error) {
		records, err = c.cfg.Remote.Get(ctx, queries, life)
		return short("Get", len(records), len(queries), err)
	})
	return records, err
}

func (c *Cache[K, V]) remotePut(ctx context.Context, fills []Fill) (stored []bool, err error) {
	err = c.call(span{ctx: ctx}, func(ctx context.Context) (err error) {
		stored, err = c.cfg.Remote.Put(ctx, fills)
		return short("Put", len(stored), len(fills), err)
	})
	return stored, err
}

// generations asks for stamps, and learns from the answer.
func (c *Cache[K, V]) generations(s span, tags []string) (g Generations, err error) {
	asked := c.stamps.seq.Load()
	err = c.attempt(s, func(ctx context.Context) (err error) {
		g, err = c.cfg.Remote.Generations(ctx, tags)
		return short("Generations", len(g.Tags), len(tags), err)
	})
	if err == nil {
		c.stamps.learn(g, asked)
	}
	return g, err
}

// short is the error of a Remote that breaks its contract.
func short(method string, got, want int, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("cache: Remote.%s returned %d results for %d", method, got, want)
	}
	return err
}

// apply is the part of an invalidation that happens elsewhere: at the Remote, and
// on the Bus unless the Remote has published it. It returns the generation.
func (c *Cache[K, V]) apply(ctx context.Context, m Message) (generation uint64, err error) {
	m.Origin = c.id
	if c.cfg.Remote != nil {
		err := c.attempt(span{ctx: ctx}, func(ctx context.Context) (err error) {
			m, err = c.cfg.Remote.Invalidate(ctx, m)
			return err
		})
		if err != nil {
			return 0, err
		}
		c.stamps.observe(m.Generation)
	}
	if m.Seq == 0 && c.cfg.Bus != nil {
		return m.Generation, c.publishMessage(ctx, m)
	}
	return m.Generation, nil
}

// publishMessage tells the other nodes.
func (c *Cache[K, V]) publishMessage(ctx context.Context, m Message) error {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.RemoteTimeout)
	defer cancel()
	m.Origin = c.id
	c.stats.remoteTrips.Add(1)
	err := c.cfg.Bus.Publish(bounded, m)
	if err != nil && ctx.Err() == nil {
		c.stats.remoteErrors.Add(1)
	}
	return err
}
