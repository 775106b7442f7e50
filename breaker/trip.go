package breaker

import (
	"errors"
	"math"
	"time"

	"github.com/keelson-go/keelson/breaker/internal/window"
)

// judge opens the breaker if a call that failed or was slow is one too many.
// Of many that find so at once one makes the change; the others lose the
// comparison in change, whatever reason they had.
func (e *epoch) judge(now int64, failed, slow bool, err error) {
	b := e.b
	b.busy.Store(addSaturating(now, int64(b.cfg.MaxOpenFor)))
	if reason := e.reason(now, failed, slow); reason != "" {
		b.trip(e, now, reason, err)
	}
}

// judgeOverdue opens the breaker if too many calls are still running. It
// reports whether e is over.
func (e *epoch) judgeOverdue(now int64) bool {
	c, overdue := e.counts(now)
	if overdue == 0 {
		return false
	}
	e.b.busy.Store(addSaturating(now, int64(e.b.cfg.MaxOpenFor)))
	if e.held || !e.b.tooSlow(c) {
		return false
	}
	e.b.trip(e, now, "slow-rate", nil)
	return true
}

// reason returns why the breaker must open, or "".
func (e *epoch) reason(now int64, failed, slow bool) string {
	cfg := &e.b.cfg
	if e.held {
		return ""
	}
	if failed && cfg.Consecutive > 0 && e.streak.Load() >= int64(cfg.Consecutive) {
		return "consecutive"
	}
	c, _ := e.counts(now)
	switch {
	case failed && e.b.tooManyFailed(c):
		return "failure-rate"
	case slow && e.b.tooSlow(c):
		return "slow-rate"
	default:
		return ""
	}
}

// counts returns what the window holds, with the overdue calls as slow ones:
// in a rate, a call that has not come back counts like one that came too late.
func (e *epoch) counts(now int64) (c window.Counts, overdue uint64) {
	c = e.window.Read(now)
	if e.flights != nil {
		overdue = e.flights.overdue(now)
		c.Calls += overdue
		c.Slow += overdue
	}
	return c, overdue
}

func (b *Breaker) tooManyFailed(c window.Counts) bool {
	return b.cfg.FailureRate > 0 && b.reached(c.Failures, c.Calls, b.cfg.FailureRate)
}

func (b *Breaker) tooSlow(c window.Counts) bool {
	return b.cfg.SlowAfter > 0 && b.reached(c.Slow, c.Calls, b.cfg.SlowRate)
}

// reached reports whether part/all >= rate, in integers: a quotient of floats
// misses 7 % and 57 %. Counts stay below 2^42 (1,300 words of 2^31 in the
// largest window), so the products fit.
func (b *Breaker) reached(part, all uint64, rate float64) bool {
	return all >= uint64(b.cfg.MinCalls) && part*million >= parts(rate)*all
}

// trip opens a closed breaker by its own measure, if e is not over yet. A
// closed period that was shorter than the open time before it was no recovery.
func (b *Breaker) trip(e *epoch, now int64, reason string, cause error) {
	level := 0
	if now-e.began < int64(e.openFor) {
		level = e.level + 1
	}
	b.open(now, level, cause, func(next *epoch) { b.change(e, next, reason, cause) })
}

// open makes an open period, lets change put it in force with mu held, and
// delivers. It asks cause how long to stay open, which is code of somebody else:
// no lock is held, and no state shows yet that an end is being looked for. If
// that panics, the breaker opens all the same, and the panic goes on: else an
// error with a bug would keep its probe's place.
func (b *Breaker) open(now int64, level int, cause error, change func(next *epoch)) {
	var asked time.Duration
	defer func() {
		next := b.newOpen(now, level, b.openTime(level, asked), cause)
		b.mu.Lock()
		change(next)
		b.mu.Unlock()
		b.deliver()
	}()
	asked = askedTime(cause)
}

// askedTime returns the time that cause asks for, or 0.
func askedTime(cause error) time.Duration {
	if asks, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](cause); ok {
		return asks.RetryAfter()
	}
	return 0
}

// openTime returns how long to stay open after so many failed recoveries, when
// the deciding error asks for so long.
func (b *Breaker) openTime(level int, asked time.Duration) time.Duration {
	d := int64(b.cfg.OpenFor)
	for range level {
		if d >= int64(b.cfg.MaxOpenFor) {
			break
		}
		d = addSaturating(d, d)
	}
	d = min(max(d, int64(asked)), int64(b.cfg.MaxOpenFor))
	// Never less than d: the server that asked for it would be called early.
	jitter := math.Floor(float64(d) / 10 * b.random())
	return time.Duration(addSaturating(d, int64(jitter)))
}

// change ends the period from and begins next. It reports false, and does
// nothing, if from is over already. mu is held; the caller delivers the event
// once it is not.
func (b *Breaker) change(from, next *epoch, reason string, cause error) bool {
	if b.cur.Load() != from {
		return false
	}
	b.announce(from, next, reason, cause)
	b.replace(from, next)
	return true
}

// replace is change without an event. mu is held.
func (b *Breaker) replace(from, next *epoch) {
	if next.state == Open && from.state != Open {
		b.past.opened++
	}
	b.cur.Store(next)
	// From here on new calls belong to next. Those of from that are about to
	// be counted are counted before the seal or are stale, never both.
	if from.window != nil {
		t := from.window.Seal()
		b.past.succeeded += t.Succeeded
		b.past.failed += t.Failed
	}
	if from.refusal != nil {
		b.past.rejected += from.refusal.count.Seal().Succeeded
	}
}

// Trip opens the breaker for exactly d, or for the usual time if d is not
// positive. If it is open already, the later end counts. It does nothing under
// Hold. cause may be nil; refused calls get it.
func (b *Breaker) Trip(d time.Duration, cause error) {
	if d <= 0 {
		d = b.openTime(0, askedTime(cause))
	}
	now := b.now()
	next := b.newOpen(now, 0, d, cause)
	b.mu.Lock()
	switch e := b.cur.Load(); {
	case e.held:
	case e.state == Open && e.end >= next.end:
	case e.state == Open:
		next.level, next.began = e.level, e.began
		b.replace(e, next)
	default:
		b.change(e, next, "trip", cause)
	}
	b.mu.Unlock()
	b.deliver()
}

// Reset closes the breaker with an empty window and the first open time. It
// does nothing under Hold.
func (b *Breaker) Reset() {
	now := b.now()
	next := b.newClosed(now, nil)
	b.mu.Lock()
	switch e := b.cur.Load(); {
	case e.held:
	case e.state == Closed:
		b.replace(e, next)
	default:
		b.change(e, next.withRamp(e.cause()), "reset", nil)
	}
	b.mu.Unlock()
	b.deliver()
}
