package limit

// SetRandom makes g draw from f instead of at random.
func (g *Throttle) SetRandom(f func() float64) { g.random = f }

// Locked runs f while nobody can enter or leave g.
func (g *Concurrency) Locked(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}
