package breaker

import "time"

// SetRandom makes b draw from f instead of at random.
func (b *Breaker) SetRandom(f func() float64) { b.random = f }

// Base returns the time that b counts from.
func (b *Breaker) Base() time.Time { return b.base }

// Queued returns how many events wait for a callback.
func (b *Breaker) Queued() int {
	b.feed.mu.Lock()
	defer b.feed.mu.Unlock()
	return len(b.feed.queue)
}

// Locked runs f while b cannot change its state.
func (b *Breaker) Locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}
