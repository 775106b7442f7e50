package cache

import (
	"context"
	"sync"
	"time"
)

// link is what a node knows of its place on the Bus. Deliveries come on one
// goroutine, the timer on another.
type link struct {
	mu       sync.Mutex
	pos      uint64 // last Seq that was applied
	last     Message
	first    bool // no message of this subscription yet
	behind   bool // resumed: what came meanwhile is still being delivered
	live     bool
	started  bool // has been in step before
	lastSign time.Time
	timer    *time.Timer
	cut      context.CancelFunc // ends the subscription
}

const (
	relinkMin = 50 * time.Millisecond
	relinkMax = 2 * time.Second

	// silence is how long a bus may say nothing, where MaxLag does not decide it: two
	// heartbeats have been missed.
	silence = 2500 * time.Millisecond
)

// follow subscribes again and again until Close.
func (c *Cache[K, V]) follow() {
	for delay := relinkMin; c.life.Err() == nil; delay = min(2*delay, relinkMax) {
		ctx, cancel := context.WithCancel(c.life)
		l := &c.link
		l.mu.Lock()
		l.first, l.cut = true, cancel
		after := l.pos
		l.mu.Unlock()
		_ = c.cfg.Bus.Subscribe(ctx, after, c.deliver) // it says why it ended; what counts is that it has
		cancel()
		if heard := c.unlink(); heard {
			delay = relinkMin
		}
		if !sleep(c.life, delay) {
			return
		}
	}
}

// unlink notes that the subscription is over, and tells whether it had begun.
// Trust goes on for MaxLag.
func (c *Cache[K, V]) unlink() (heard bool) {
	l := &c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	heard = !l.first
	l.live = false
	c.stamps.setLive(false)
	if c.cfg.MaxLag < 0 {
		c.distrust()
	}
	return heard
}

// deliver takes one message off the bus.
func (c *Cache[K, V]) deliver(m Message) {
	l := &c.link
	l.mu.Lock()
	bare := len(m.Keys) == 0 && len(m.Tags) == 0 && !m.Clear
	gap, told, again := false, l.started, false
	switch {
	case l.first:
		l.first = false
		gap = !bare || m.Seq == 0 || l.pos == 0 || m.Seq != l.pos
		l.behind = !gap
	case m.Seq == 0:
	case bare:
		gap = m.Seq != l.pos
		l.behind = false
	case m.Seq == l.pos && same(m, l.last):
		again = true
	default:
		gap = m.Seq != l.pos+1
	}
	l.pos = m.Seq
	if gap {
		l.behind, l.started = false, true
		c.gapEpoch()
	}
	if !l.behind {
		c.inStep(bare)
	}
	if !bare {
		l.last = m
	}
	l.mu.Unlock()
	if gap {
		c.afterGap(told)
	}
	if !bare && !again {
		c.stats.busMessages.Add(1)
		c.applyMessage(m)
	}
}

// same tells whether a message came twice.
func same(a, b Message) bool {
	return a.Generation == b.Generation && a.Origin == b.Origin && a.Clear == b.Clear && a.Soft == b.Soft &&
		len(a.Keys) == len(b.Keys) && len(a.Tags) == len(b.Tags) &&
		(len(a.Keys) == 0 || a.Keys[0] == b.Keys[0]) && (len(a.Tags) == 0 || a.Tags[0] == b.Tags[0])
}

// inStep notes a sign of life. Trust that was lost to silence comes back with a
// heartbeat that shows that nothing was missed. l.mu is held.
func (c *Cache[K, V]) inStep(bare bool) {
	l := &c.link
	l.live = true
	l.lastSign = time.Now()
	c.stamps.setLive(true)
	if bare {
		c.trust()
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(c.patience(), func() { c.works.spawn(c.silent) })
	}
}

// patience is how long the bus may be silent.
func (c *Cache[K, V]) patience() time.Duration {
	if c.cfg.MaxLag < 0 {
		return silence
	}
	return c.cfg.MaxLag
}

// silent runs when MaxLag may have passed since the last sign of life. Then
// everything is suspect, and a link that says nothing is made anew.
func (c *Cache[K, V]) silent() {
	l := &c.link
	l.mu.Lock()
	if left := c.patience() - time.Since(l.lastSign); left > 0 {
		l.timer.Reset(left + 1)
		l.mu.Unlock()
		return
	}
	l.timer = nil
	l.live = false
	c.stamps.setLive(false)
	lost := c.distrust()
	l.cut()
	l.mu.Unlock()
	if lost {
		c.stats.busGaps.Add(1)
		c.tell(Event{Kind: EventBusGap})
		c.announceAside()
	}
}

// afterGap tells of a gap, and asks the Remote for the stamps that were missed.
func (c *Cache[K, V]) afterGap(told bool) {
	if told {
		c.stats.busGaps.Add(1)
		c.tell(Event{Kind: EventBusGap})
		c.announceAside()
	}
	if c.cfg.Remote == nil || !c.syncing.CompareAndSwap(false, true) {
		return
	}
	if !c.works.spawn(c.resync) {
		c.syncing.Store(false)
	}
}

// resync asks for the stamps until it has an answer from behind the last gap.
func (c *Cache[K, V]) resync() {
	for delay := relinkMin; ; delay = min(2*delay, relinkMax) {
		if !c.health.down.Load() {
			_, _ = c.generations(span{ctx: c.life}, nil) // what it says is learned there
		}
		if c.stamps.isComplete() {
			c.syncing.Store(false)
			if c.stamps.isComplete() || !c.syncing.CompareAndSwap(false, true) {
				return
			}
		}
		if !sleep(c.life, delay) {
			return
		}
	}
}

// applyMessage does what another node has told. The node's own messages come back
// as well, and have been applied before.
func (c *Cache[K, V]) applyMessage(m Message) {
	if c.cfg.Remote != nil {
		c.stamps.observe(m.Generation)
	}
	if m.Origin == c.id {
		return
	}
	for _, name := range m.Keys {
		c.names.keys(name, func(key K) { c.forget(key, m.Soft) })
	}
	if len(m.Tags) > 0 || m.Clear {
		if c.cfg.Remote != nil {
			c.stamps.stamp(m.Tags, m.Clear, m.Generation)
		} else if len(m.Tags) > 0 {
			c.stampHere(m.Tags)
		}
	}
	if m.Clear {
		c.empty()
	}
}

// inStep tells whether the bus delivers in time and nothing is missing.
func (l *link) inStep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live && !l.behind
}
