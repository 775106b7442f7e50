package saga

import (
	"sync"
	"time"
)

// clock is the store's, as far as the last answers tell: its time then, and what
// has passed here since, so that the clocks of hosts never meet.
type clock struct {
	mu    sync.Mutex
	store time.Time
	here  time.Time
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store, c.here = now, time.Now()
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here.IsZero() {
		return time.Now().UTC().Round(0)
	}
	return c.store.Add(time.Since(c.here))
}
