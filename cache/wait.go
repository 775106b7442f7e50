package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// leave is what a waiter does whose ctx has ended. The last one cancels the load
// and frees the slot.
func (c *Cache[K, V]) leave(f *flight[K, V]) {
	s, _ := f.lock()
	f.waiters--
	last := f.waiters == 0 && !f.kept && !f.over && !f.left
	if last {
		if !f.detached {
			c.detach(s, f)
		}
		f.left = true
	}
	s.mu.Unlock()
	if last {
		c.works.leave(f.work)
	}
}

// keep lets a flight go on without the waiter, who has taken a stale value.
func (c *Cache[K, V]) keep(f *flight[K, V]) {
	s, _ := f.lock()
	f.kept = true
	f.waiters--
	s.mu.Unlock()
}

// wait returns what a flight ended in. Who may take a stale value does so when
// SoftTimeout has passed since that instant.
func (c *Cache[K, V]) wait(ctx context.Context, f *flight[K, V], a aim, since int64) (answer[V], error) {
	landing := f.landing()
	if landing == nil {
		return c.landed(f)
	}
	var soft <-chan time.Time
	if c.softly(a) {
		timer := time.NewTimer(c.cfg.Policy.SoftTimeout - c.since(since))
		defer timer.Stop()
		soft = timer.C
	}
	for {
		select {
		case <-landing:
			return c.landed(f)
		case <-ctx.Done():
			c.leave(f)
			return answer[V]{}, c.gaveUp(ctx, f)
		case <-f.work.ctx.Done():
			select {
			case <-landing: // that is why
				return c.landed(f)
			default:
			}
			if c.closed.Load() {
				return answer[V]{}, ErrClosed
			}
			c.keep(f)
			defer c.announce()
			return c.late(f)
		case <-soft:
			soft = nil
			if b := c.spareOf(f); b != nil {
				c.keep(f)
				defer c.announce()
				return c.servedStale(f, b), nil
			}
		}
	}
}

// softly tells whether a caller may take a stale value after SoftTimeout.
func (c *Cache[K, V]) softly(a aim) bool {
	return c.cfg.Policy.SoftTimeout > 0 && c.cfg.Policy.StaleIfError > 0 && a == toGet
}

// landing is closed when the flight ends, and nil if it is over.
func (f *flight[K, V]) landing() <-chan struct{} {
	s, _ := f.lock()
	defer s.mu.Unlock()
	if f.over {
		return nil
	}
	if f.landed == nil {
		f.landed = make(chan struct{})
	}
	return f.landed
}

// landed is the result of a flight that is over.
func (c *Cache[K, V]) landed(f *flight[K, V]) (answer[V], error) {
	if f.panicked != nil {
		panic(f.panicked)
	}
	return f.answer, f.err
}

// isOver tells whether a flight has ended.
func (f *flight[K, V]) isOver() bool {
	s, _ := f.lock()
	defer s.mu.Unlock()
	return f.over
}

// late is the result of a flight that has passed LoadTimeout.
func (c *Cache[K, V]) late(f *flight[K, V]) (answer[V], error) {
	err := &LoadError{Key: f.key, Err: ErrLoadTimeout, Elapsed: c.since(f.begun)}
	c.failed(f, err)
	if b := c.spareOf(f); b != nil {
		return c.servedStale(f, b), nil
	}
	return answer[V]{}, err
}

// gaveUp matches the cause of the caller's ctx and what went wrong last.
func (c *Cache[K, V]) gaveUp(ctx context.Context, f *flight[K, V]) error {
	cause := context.Cause(ctx)
	if f != nil {
		if trouble := f.trouble.Load(); trouble != nil {
			return fmt.Errorf("cache: gave up: %w (%w)", cause, *trouble)
		}
	}
	return fmt.Errorf("cache: gave up: %w", cause)
}

// since is the time since an instant of the cache's clock.
func (c *Cache[K, V]) since(t int64) time.Duration { return time.Duration(c.clock.now() - t) }

// spareOf is the copy that a caller may take if the load of f fails.
func (c *Cache[K, V]) spareOf(f *flight[K, V]) *box[V] {
	b := f.old.Load()
	if b == nil || b.meta == nil || b.meta.absent || c.cfg.Policy.StaleIfError == 0 || c.clock.now() >= b.meta.spare {
		return nil
	}
	if f.epoch < c.cleared.Load() || c.stamps.fenced(b.meta.generation, b.meta.tags) {
		return nil
	}
	return b
}

// servedStale is a spare as an answer. The first one of a flight is an event.
func (c *Cache[K, V]) servedStale(f *flight[K, V], b *box[V]) answer[V] {
	c.stats.staleServed.Add(1)
	if f.stale.CompareAndSwap(false, true) {
		c.tellOf(EventStaleServed, f.key, nil)
	}
	return answer[V]{box: b, layer: LayerLocal, stale: true}
}

// failed accounts for a load that failed or is late, once.
func (c *Cache[K, V]) failed(f *flight[K, V], err error) {
	if f.told.CompareAndSwap(false, true) {
		c.stats.loadErrors.Add(1)
		c.tellOf(EventLoadFailed, f.key, err)
	}
}

// isAbsent tells whether a loader's error says that the key does not exist.
func isAbsent(err error) bool { return errors.Is(err, ErrNotFound) }
