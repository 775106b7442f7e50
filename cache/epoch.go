package cache

import "sync"

// epochs number the states of trust. An entry is trusted if it has the present
// epoch: then no message can be missing that would have ended it. Even epochs are
// those in step with the bus. While the bus is silent for too long the epoch is
// odd, so nothing matches it; if it turns out that nothing was missed, the last
// even one comes back. A gap or a Clear begins a new one for good.
type epochs struct {
	mu    sync.Mutex
	last  uint64 // highest epoch so far
	saved uint64 // while the present one is odd: the one before
}

func trusted(epoch uint64) bool { return epoch%2 == 0 }

// nextEven returns a new even epoch. mu is held.
func (e *epochs) nextEven() uint64 {
	e.last += 2 - e.last%2
	return e.last
}

// nextOdd returns a new odd epoch. mu is held.
func (e *epochs) nextOdd() uint64 {
	e.last += 1 + e.last%2
	return e.last
}

// gapEpoch makes everything read before suspect.
func (c *Cache[K, V]) gapEpoch() {
	c.epochs.mu.Lock()
	defer c.epochs.mu.Unlock()
	c.stamps.gap()
	if !c.closed.Load() {
		c.epoch.Store(c.epochs.nextEven())
	}
}

// distrust makes everything suspect for the time being. It reports false if it
// was already.
func (c *Cache[K, V]) distrust() bool {
	c.epochs.mu.Lock()
	defer c.epochs.mu.Unlock()
	present := c.epoch.Load()
	if !trusted(present) {
		return false
	}
	c.epochs.saved = present
	c.epoch.Store(c.epochs.nextOdd())
	return true
}

// trust ends distrust: nothing was missed.
func (c *Cache[K, V]) trust() {
	c.epochs.mu.Lock()
	defer c.epochs.mu.Unlock()
	if !trusted(c.epoch.Load()) && !c.closed.Load() {
		c.epoch.Store(c.epochs.saved)
	}
}

// clearEpoch ends everything that began before.
func (c *Cache[K, V]) clearEpoch() {
	c.epochs.mu.Lock()
	defer c.epochs.mu.Unlock()
	even := c.epochs.nextEven()
	c.cleared.Store(even)
	if trusted(c.epoch.Load()) {
		c.epoch.Store(even)
		return
	}
	c.epochs.saved = even
	c.epoch.Store(c.epochs.nextOdd())
}
