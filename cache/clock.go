package cache

import (
	"sync/atomic"
	"time"
)

// A clock counts nanoseconds since the cache was made, on the monotonic clock of
// the process: wall time may be set back, and a package-level base would not
// exist in a synctest bubble.
type clock struct {
	base time.Time

	// ticks is the time as of the last tick, if step is positive. Reading it costs
	// 1 ns, reading the system's clock some 40.
	ticks atomic.Int64
	step  time.Duration
	stop  chan struct{}
	done  chan struct{}
}

// newClock returns a running clock. A step of zero reads the system's clock on
// each call and needs no goroutine; otherwise a ticker moves the clock, readers
// and writers see the same instant, and close must be called.
func newClock(step time.Duration) *clock {
	c := &clock{base: time.Now(), step: step}
	if step > 0 {
		c.stop, c.done = make(chan struct{}), make(chan struct{})
		go c.tick(time.NewTicker(step))
	}
	return c
}

func (c *clock) now() int64 {
	if c.step > 0 {
		return c.ticks.Load()
	}
	return int64(time.Since(c.base))
}

func (c *clock) tick(t *time.Ticker) {
	defer close(c.done)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			// Not the instant that came through the channel, which may have waited.
			c.ticks.Store(int64(time.Since(c.base)))
		case <-c.stop:
			return
		}
	}
}

// close ends the ticker and waits for it. The clock then stands still. It must
// be called once at most.
func (c *clock) close() {
	if c.step > 0 {
		close(c.stop)
		<-c.done
	}
}
