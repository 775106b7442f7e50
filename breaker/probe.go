package breaker

import (
	"context"
	"sync/atomic"
	"time"
)

// probes is the state of a half-open period. It is written with the breaker's
// mu held, since probes are few, and read without, since refused calls are
// many.
type probes struct {
	places atomic.Uint64 // in flight in the high half, successes in the low one
	last   atomic.Int64  // when the last probe was admitted
}

const onePlace uint64 = 1 << 32

func (p *probes) inFlight() int  { return int(p.places.Load() >> 32) }
func (p *probes) succeeded() int { return int(uint32(p.places.Load())) }

// full reports whether more probes than closing needs would be at risk.
// Both sides come from one load: a probe that succeeds between two loads would
// be seen on either side, and a call refused for which there is a place.
func (p *probes) full(limit int) bool {
	v := p.places.Load()
	return int(v>>32)+int(uint32(v)) >= limit
}

// lost reports whether probes are in flight that were not settled in time,
// which counts from the last one: the others began before it.
func (p *probes) lost(now int64, timeout time.Duration) bool {
	return p.inFlight() > 0 && now-p.last.Load() >= int64(timeout)
}

// take admits a probe at now. The time goes first: who sees the place taken
// must not see the time of an earlier probe. It never goes back, though a caller
// may have read the clock long before it got the lock: the other probes would
// be given up too early.
func (p *probes) take(now int64) {
	p.last.Store(max(now, p.last.Load()))
	p.places.Add(onePlace)
}

// firstProbe begins the half-open period with the call that found the open
// time over as its first probe.
func (b *Breaker) firstProbe(ctx context.Context, open *epoch, now int64) (*epoch, int64, error) {
	next := b.newHalfOpen(now, open)
	next.probes.take(now)
	b.mu.Lock()
	changed := b.change(open, next, "timer", nil)
	b.mu.Unlock()
	if !changed {
		return b.again(ctx)
	}
	delivered := false
	defer func() {
		if !delivered {
			next.cancelProbe() // a callback that panics must not keep the place
		}
	}()
	b.deliver()
	delivered = true
	return next, now, nil
}

// probe admits a call to a half-open period, or refuses it.
func (b *Breaker) probe(ctx context.Context, e *epoch) (*epoch, int64, error) {
	now := b.now()
	switch {
	case e.probes.lost(now, b.cfg.ProbeTimeout):
		b.loseProbes(e, now)
		return b.again(ctx)
	case e.probes.full(b.cfg.Probes):
		return b.refuse(e)
	case b.takeProbe(e, now):
		return e, now, nil
	default:
		return b.again(ctx) // in the next period, or to be refused
	}
}

// takeProbe takes a place, if there still is one.
func (b *Breaker) takeProbe(e *epoch, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur.Load() != e || e.probes.full(b.cfg.Probes) {
		return false
	}
	e.probes.take(now)
	return true
}

// loseProbes gives up probes that were not settled in time. They were lost
// when their time was over, not when a call happens to notice: the open time
// counts from then, and may be over as well.
func (b *Breaker) loseProbes(e *epoch, now int64) {
	end := addSaturating(e.probes.last.Load(), int64(b.cfg.ProbeTimeout))
	b.open(end, e.level+1, nil, func(next *epoch) {
		if e.probes.lost(now, b.cfg.ProbeTimeout) && b.change(e, next, "probe-lost", nil) {
			b.past.lost += uint64(e.probes.inFlight())
		}
	})
}

// settleProbe counts a probe and draws the consequences.
func (e *epoch) settleProbe(start int64, o Outcome, err error) {
	now := e.b.now()
	slow := e.b.cfg.SlowAfter > 0 && now-start >= int64(e.b.cfg.SlowAfter)
	switch {
	case o == Ignored:
		e.ignoreProbe()
	case o != Success:
		e.reopen(now, "probe-failed", err, &e.b.past.failed)
	case slow:
		e.reopen(now, "probe-slow", nil, &e.b.past.succeeded)
	default:
		e.passProbe(now)
	}
	e.b.deliver()
}

// reopen ends a recovery that failed by a call of the given total.
func (e *epoch) reopen(now int64, reason string, err error, total *uint64) {
	b := e.b
	b.open(now, e.level+1, err, func(next *epoch) {
		if b.change(e, next, reason, err) {
			*total++
		} else {
			b.stale.Add(1)
		}
	})
}

// passProbe counts a good probe; the last one that is needed closes.
func (e *epoch) passProbe(now int64) {
	b := e.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur.Load() != e {
		b.stale.Add(1)
		return
	}
	b.past.succeeded++
	e.probes.places.Add(^onePlace + 1 + 1) // one place less, one success more
	if e.probes.succeeded() >= b.cfg.Probes {
		b.change(e, b.newClosed(now, e).withRamp(e.cause()), "recovered", nil)
	}
}

// ignoreProbe gives a place back for a probe that ran but says nothing.
func (e *epoch) ignoreProbe() {
	b := e.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur.Load() != e {
		b.stale.Add(1)
		return
	}
	b.ignored.Add(1)
	e.probes.places.Add(^onePlace + 1)
}

// cancelProbe gives the place of a probe back that did not run. In a period
// that is over nobody looks at places.
func (e *epoch) cancelProbe() {
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	e.probes.places.Add(^onePlace + 1)
}
