package cachetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// What links and servers say when they fail.
var (
	errStopped   = errors.New("cachetest: the server is stopped")
	errFailed    = errors.New("cachetest: the call failed before its effect")
	errLostReply = errors.New("cachetest: the reply was lost")
)

// Node is one client of a [Cluster]: a [cache.Remote] and a [cache.Bus] over one
// link. Safe for concurrent use, also by several caches.
type Node struct {
	cluster *Cluster

	mu     sync.Mutex
	random *rand.Rand
	faults Faults
	cut    bool
	moved  chan struct{} // closed, and replaced, when cut changes
}

var (
	_ cache.Remote = (*Node)(nil)
	_ cache.Bus    = (*Node)(nil)
)

// SetFaults puts f on this link, in place of what it had.
func (n *Node) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Cut makes the link a black hole in both directions until [Node.Heal]: calls
// wait, those under way too, subscriptions fall silent, and nobody is told.
func (n *Node) Cut() { n.setCut(true) }

// Heal ends a [Node.Cut]. Calls that still wait go on, as over a connection that
// sends again.
func (n *Node) Heal() { n.setCut(false) }

func (n *Node) setCut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	close(n.moved)
	n.moved = make(chan struct{})
}

// Get implements [cache.Remote].
func (n *Node) Get(ctx context.Context, queries []cache.Query, lease time.Duration) (records []cache.Record, err error) {
	err = n.call(ctx, func(s *server, now time.Time) {
		records = make([]cache.Record, len(queries))
		for i, q := range queries {
			records[i] = s.get(q, lease, now)
		}
	})
	return orNothing(records, err)
}

// Put implements [cache.Remote].
func (n *Node) Put(ctx context.Context, fills []cache.Fill) (stored []bool, err error) {
	if err := check(fills); err != nil {
		return nil, err
	}
	err = n.call(ctx, func(s *server, now time.Time) {
		stored = make([]bool, len(fills))
		for i, f := range fills {
			stored[i] = s.put(f, now)
		}
	})
	return orNothing(stored, err)
}

// Invalidate implements [cache.Remote]. It also publishes m.
func (n *Node) Invalidate(ctx context.Context, m cache.Message) (done cache.Message, err error) {
	err = n.call(ctx, func(s *server, now time.Time) { done = s.invalidate(m, now) })
	if err != nil {
		return cache.Message{}, err
	}
	return done, nil
}

// Generations implements [cache.Remote].
func (n *Node) Generations(ctx context.Context, tags []string) (g cache.Generations, err error) {
	err = n.call(ctx, func(s *server, _ time.Time) { g = s.generations(tags) })
	if err != nil {
		return cache.Generations{}, err
	}
	return g, nil
}

// Publish implements [cache.Bus].
func (n *Node) Publish(ctx context.Context, m cache.Message) error {
	return n.call(ctx, func(s *server, _ time.Time) { s.publish(m) })
}

// call is a round trip: there, the effect under the server's lock, and back.
func (n *Node) call(ctx context.Context, effect func(s *server, now time.Time)) error {
	n.cluster.trips.Add(1)
	if err := n.way(ctx); err != nil {
		return err
	}
	if n.happens(func(f Faults) float64 { return f.Fail }) {
		return errFailed
	}
	if err := n.cluster.do(effect); err != nil {
		return err
	}
	if n.happens(func(f Faults) float64 { return f.LoseReply }) {
		return errLostReply
	}
	return n.way(ctx)
}

// do runs effect on the server, and tells the subscribers.
func (c *Cluster) do(effect func(s *server, now time.Time)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return errStopped
	}
	head := c.server.head
	effect(&c.server, time.Now())
	if c.server.head != head {
		c.wake()
	}
	return nil
}

// way is the link in one direction: half the latency, and the end of a cut.
func (n *Node) way(ctx context.Context) error {
	if err := n.through(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	var delay time.Duration
	if half := n.faults.Latency / 2; half > 0 {
		delay = time.Duration(n.random.Int64N(int64(half) + 1))
	}
	n.mu.Unlock()
	if delay == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return n.through(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// through waits while the link is cut.
func (n *Node) through(ctx context.Context) error {
	for {
		n.mu.Lock()
		cut, moved := n.cut, n.moved
		n.mu.Unlock()
		if err := context.Cause(ctx); err != nil || !cut {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
}

// happens draws whether a fault comes about.
func (n *Node) happens(share func(Faults) float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := share(n.faults)
	return p > 0 && n.random.Float64() < p
}

// orNothing keeps a result that was produced but got lost on its way back from
// the caller.
func orNothing[T any](result []T, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return result, nil
}
