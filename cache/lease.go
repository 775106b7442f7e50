package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// leaseLife is how long others wait for a node that has died while it loaded.
	leaseLife = time.Second

	// Who waits for a lease polls after pollMin, and then twice as long each time.
	pollMin = 5 * time.Millisecond
	pollMax = 50 * time.Millisecond
)

// newVersion draws a version, which is never 0. 63 random bits do not meet by
// accident within the life of a record.
func newVersion() uint64 { return rand.Uint64() | 1 }

// fill is what the Remote gets of a value.
func (c *Cache[K, V]) fill(name string, token, version uint64, h header, payload []byte) *Fill {
	return &Fill{
		Key: name, Data: seal(c.cfg.Schema, h, payload), Version: version, Token: token,
		TTL: h.whole, Fresh: h.fresh,
	}
}

// putFills puts what the flights have for the Remote.
func (c *Cache[K, V]) putFills(w *work, fs []*flight[K, V]) {
	var fills []Fill
	for _, f := range fs {
		if f.outcome.fill == nil {
			continue
		}
		if fills == nil {
			fills = make([]Fill, 0, len(fs))
		}
		fills = append(fills, *f.outcome.fill)
	}
	if len(fills) == 0 {
		return
	}
	// A late value may still be stored: LoadTimeout does not bound this call.
	stored, err := c.remotePut(context.WithoutCancel(w.ctx), fills)
	i := 0
	for _, f := range fs {
		fill := f.outcome.fill
		if fill == nil {
			continue
		}
		if err == nil && !stored[i] && fill.Data != nil {
			c.rejected(f)
		}
		i++
		if err != nil && f.outcome.store != nil && f.outcome.err == nil && fill.Data != nil {
			c.unconfirmed(f)
		}
		f.token = 0
	}
}

// rejected is the outcome of a flight whose lease was ended.
func (c *Cache[K, V]) rejected(f *flight[K, V]) {
	f.outcome.store = nil
	f.outcome.drop = true
	c.stats.fillsRejected.Add(1)
	c.tellOf(EventFillRejected, f.key, nil)
}

// unconfirmed caps the life in L1 of a value that the Remote may not have: nobody
// would find it there to end its life.
func (c *Cache[K, V]) unconfirmed(f *flight[K, V]) {
	b := f.outcome.store
	if b.meta == nil {
		f.outcome.store = nil
		return
	}
	hard := after(c.clock.now(), max(0, c.cfg.MaxLag))
	f.outcome.store = c.exchange(b, func(m *meta) {
		m.hard, m.stale = min(m.hard, hard), min(m.stale, hard)
		m.grace, m.spare = min(m.grace, hard), min(m.spare, hard)
	})
	f.outcome.box = f.outcome.store
}

// releaseLease gives a lease back, so that others need not wait for its end.
func (c *Cache[K, V]) releaseLease(f *flight[K, V]) {
	if f.token == 0 {
		return
	}
	_, _ = c.remotePut(context.WithoutCancel(f.work.ctx), []Fill{{Key: f.name, Token: f.token}})
	f.token = 0
}

// lease is what a flight has to extend.
type lease struct {
	name  string
	token uint64
}

// keepLeases extends leases at half time while a load runs and its time is not
// up, and returns what ends that.
func (c *Cache[K, V]) keepLeases(w *work, fs ...*flight[K, V]) (stop func()) {
	var held []lease
	for _, f := range fs {
		if f.token == 0 {
			continue
		}
		if held == nil {
			held = make([]lease, 0, len(fs))
		}
		held = append(held, lease{f.name, f.token})
	}
	if len(held) == 0 {
		return func() {}
	}
	k := &keeper{extend: func() bool {
		if w.ctx.Err() != nil {
			return false
		}
		fills := make([]Fill, len(held)) // most loads are over before
		for i, l := range held {
			fills[i] = Fill{Key: l.name, Token: l.token, TTL: leaseLife}
		}
		_, _ = c.remotePut(w.ctx, fills) // who was refused has lost the lease, and will see when it fills
		return true
	}}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(leaseLife/2, func() { c.works.spawn(k.run) })
	return k.stop
}

// keeper calls extend again and again until it is stopped. A load that is over
// before half time costs one timer.
type keeper struct {
	extend func() bool

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (k *keeper) run() {
	if !k.extend() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.stopped {
		k.timer.Reset(leaseLife / 2)
	}
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.timer.Stop()
}
