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
	now, _ := c.both()
	return now
}

// both is the store's time, and this process's, whose wall clock may be that of the
// last answer: the monotonic one is quicker to read, and the one that counts.
func (c *clock) both() (now, here time.Time) {
	c.mu.Lock()
	store, last := c.store, c.here
	c.mu.Unlock()
	if last.IsZero() {
		here = time.Now()
		return here.UTC().Round(0), here
	}
	passed := time.Since(last)
	return store.Add(passed), last.Add(passed)
}
