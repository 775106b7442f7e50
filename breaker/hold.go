package breaker

import "sync/atomic"

// Hold keeps the breaker Open, which isolates the dependency, or Closed, which
// disables the breaker, whatever calls, time, Trip and Reset do. It lasts
// until release is called; to call that again does nothing. With several holds
// in force each needs its own release, and Open beats Closed. After the last
// one the breaker is closed with an empty window. Hold panics for HalfOpen.
func (b *Breaker) Hold(s State) (release func()) {
	if s != Open && s != Closed {
		panic("breaker: Hold of " + s.String() + "; allowed: open, closed")
	}
	b.hold(s, 1, "hold")
	var released atomic.Bool
	return func() {
		if released.CompareAndSwap(false, true) {
			b.hold(s, -1, "release")
		}
	}
}

// hold adds n holds of s, and begins a new period if that changes what is in
// force. Holds are counted and not stacked: an operator and a health check that
// both isolate a dependency do not know of each other, and either may let go
// first.
func (b *Breaker) hold(s State, n int, reason string) {
	b.mu.Lock()
	b.holds[s] += n
	e, now := b.cur.Load(), b.now()
	held, to := b.inForce()
	switch {
	case held == e.held && (!held || to == e.state):
	case held:
		b.change(e, b.newHeld(now, to), reason, nil)
	case e.state == Open:
		b.change(e, b.newClosed(now, nil).withRamp(nil), reason, nil)
	default:
		b.change(e, b.newClosed(now, nil), reason, nil)
	}
	b.mu.Unlock()
	b.deliver()
}

// inForce returns whether a hold is in force, and of which state. mu is held.
func (b *Breaker) inForce() (held bool, s State) {
	switch {
	case b.holds[Open] > 0:
		return true, Open
	case b.holds[Closed] > 0:
		return true, Closed
	default:
		return false, Closed
	}
}
