package cachetest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// Cluster is an in-memory server: a [cache.Remote] and the log of a [cache.Bus]
// with dense positions, reached through the links of its nodes, which fail on
// command or by seed. It is made for a testing/synctest bubble and as good
// outside one. Its clock is time.Now. Safe for concurrent use.
type Cluster struct {
	seed  uint64
	trips atomic.Int64

	mu      sync.Mutex
	server  server
	stopped bool
	changed chan struct{} // closed, and replaced, when subscribers have to look
	faults  Faults        // of the nodes to come
	nodes   []*Node
}

// NewCluster returns an empty server. The seed decides which of the faults
// happen and which leases are drawn; one history of calls and one seed make one
// course of events.
func NewCluster(seed uint64) *Cluster {
	return &Cluster{
		seed:    seed,
		server:  newServer(rand.New(rand.NewPCG(seed, 0))),
		changed: make(chan struct{}),
	}
}

// Node returns one more client, with a link of its own that has the faults set
// last on all links. It lives as long as the cluster.
func (c *Cluster) Node() *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &Node{
		cluster: c,
		random:  rand.New(rand.NewPCG(c.seed, uint64(len(c.nodes))+1)),
		faults:  c.faults,
		moved:   make(chan struct{}),
	}
	c.nodes = append(c.nodes, n)
	return n
}

// SetFaults puts f on all links, in place of what they had, and on those of
// nodes to come.
func (c *Cluster) SetFaults(f Faults) {
	c.mu.Lock()
	c.faults = f
	nodes := slices.Clone(c.nodes)
	c.mu.Unlock()
	for _, n := range nodes {
		n.SetFaults(f)
	}
}

// Stop refuses everything until [Cluster.Start] and ends all subscriptions, as a
// server that was shut down does. What it holds stays.
func (c *Cluster) Stop() { c.change(func() { c.stopped = true }) }

// Start ends a [Cluster.Stop].
func (c *Cluster) Start() { c.change(func() { c.stopped = false }) }

// Wipe loses all data, leases, stamps and the log, as FLUSHALL does. Connections
// stay. The log goes on above the positions it has given out.
func (c *Cluster) Wipe() { c.change(c.server.wipe) }

// Trim cuts the log down to the last keep messages.
func (c *Cluster) Trim(keep int) { c.change(func() { c.server.trim(keep) }) }

// Trips is the number of round trips so far: calls of all nodes, failed ones
// too, Subscribe not counted.
func (c *Cluster) Trips() int64 { return c.trips.Load() }

// change does f and wakes the subscribers.
func (c *Cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.wake()
}

// wake makes the subscribers look again. The caller holds mu.
func (c *Cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}
