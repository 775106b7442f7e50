package breaker

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker/internal/window"
)

// epoch is one period of a breaker, from one change of state to the next. What
// describes the period never changes, so a single atomic load gives a state
// together with its end. What it counts is its own, and it is itself the
// issuer of its permits: a permit that outlives its period still points here,
// where it can move nothing that matters.
//
// A shared set of counters with a generation number beside it, which most
// breakers have, needs a lock around both, or lets a late result through
// between the comparison and the add.
type epoch struct {
	permits origin // of this period; none while it is open

	b     *Breaker
	state State
	held  bool // by Hold: neither time nor calls end it
	plain bool // closed, and Allow has nothing to look at but ctx
	timed bool // closed, and a success needs to know the time

	level   int           // open and half-open: how many recoveries in a row had failed
	began   int64         // when it began
	end     int64         // of the open time: this one's, or the last one's before it; 0 if none
	openFor time.Duration // that open time
	refusal *refusal      // what refused calls get; nil if it refuses none

	// Closed. What is nil is not paid for: a period without slow calls has no
	// flights, one that refuses nothing has no refusal.
	window  window.Window
	flights *flights     // nil unless calls can be slow
	streak  atomic.Int64 // failures since the last success
	ramp    atomic.Bool  // the share of admitted calls still rises

	probes *probes // half-open
}

// refusal is the error that all refused calls of a period share, and how many
// they are.
type refusal struct {
	err   RejectedError
	count window.Tally
}

func (b *Breaker) newRefusal(reason string, cause error) *refusal {
	return &refusal{err: RejectedError{Gate: b, Name: b.cfg.Name, Reason: reason, Cause: cause}}
}

// newClosed returns a closed period that follows on before, which is nil for
// the first one, after a Reset, and for a fresh window.
func (b *Breaker) newClosed(now int64, before *epoch) *epoch {
	e := &epoch{b: b, state: Closed, began: now, window: b.newWindow()}
	if b.cfg.SlowAfter > 0 {
		e.flights = newFlights(b.cfg.SlowAfter)
		e.flights.n.Store(now / e.flights.quarter)
	}
	if before != nil {
		e.level, e.end, e.openFor = before.level, before.end, before.openFor
	}
	e.plain = e.flights == nil
	e.timed = b.cfg.SlowAfter > 0 || (b.cfg.FailureRate > 0 && b.cfg.LastCalls == 0)
	return e.issuing()
}

// issuing makes e the issuer of permits.
func (e *epoch) issuing() *epoch {
	e.permits = origin{Issuer: e, Timeout: e.b.cfg.Timeout}
	return e
}

// withRamp makes e, which is closed, admit few calls at first. Whether the ramp
// is over is the one thing about a period that time changes, so it has an
// atomic of its own: a breaker that has been well for weeks reads no clock.
func (e *epoch) withRamp(cause error) *epoch {
	if e.b.cfg.Ramp > 0 {
		e.refusal = e.b.newRefusal("ramp", cause)
		e.ramp.Store(true)
		e.plain = false
	}
	return e
}

// newOpen returns an open period with its end, its error and nothing to count
// with but a tally of refusals: it has no permits.
func (b *Breaker) newOpen(now int64, level int, openFor time.Duration, cause error) *epoch {
	return &epoch{
		b: b, state: Open, level: level, began: now,
		openFor: openFor, end: addSaturating(now, int64(openFor)),
		refusal: b.newRefusal("open", cause),
	}
}

// newHalfOpen returns the period of probes after open. It keeps level and open
// time, since only a recovery that succeeds forgets them.
func (b *Breaker) newHalfOpen(now int64, open *epoch) *epoch {
	e := &epoch{
		b: b, state: HalfOpen, level: open.level, began: now,
		openFor: open.openFor, end: open.end,
		refusal: b.newRefusal("half-open", open.cause()),
		probes:  new(probes),
	}
	return e.issuing()
}

// newHeld returns a period under Hold. Time does not end it because it has no
// end, and calls do not because reason looks at held first.
func (b *Breaker) newHeld(now int64, s State) *epoch {
	var e *epoch
	if s == Open {
		e = b.newOpen(now, 0, 0, nil)
		e.end = math.MaxInt64
		e.refusal.err.Reason = "held"
	} else {
		e = b.newClosed(now, nil)
	}
	e.held = true
	return e
}

// newWindow returns what the settings need: with both rates off there is
// nothing to look back on.
func (b *Breaker) newWindow() window.Window {
	slow := b.cfg.SlowAfter > 0
	switch {
	case b.cfg.FailureRate < 0 && !slow:
		return new(window.Tally)
	case b.cfg.LastCalls > 0:
		return window.NewCount(b.cfg.LastCalls)
	default:
		return window.NewTime(b.cfg.Window, slow)
	}
}

// cause returns the failure that opened the breaker, if e is not closed.
func (e *epoch) cause() error {
	if e.refusal == nil {
		return nil
	}
	return e.refusal.err.Cause
}

// Settle implements [Issuer].
func (e *epoch) Settle(token int64, o Outcome, err error) {
	if err == nil || e.b.cfg.Classify == nil || err == errAborted { //nolint:errorlint // ours alone, never wrapped
		e.settle(token, o, err)
		return
	}
	// If Classify panics, the call is a failure and the panic goes on.
	judged := Failure
	defer func() { e.settle(token, judged, err) }()
	judged = e.b.cfg.Classify(err, o)
}

// settle counts a call and draws the consequences. The comparison with cur is
// for the totals alone; the counters of a period that is over are sealed.
func (e *epoch) settle(start int64, o Outcome, err error) {
	switch {
	case e.state == HalfOpen:
		e.settleProbe(start, o, err)
	case e.b.cur.Load() != e:
		e.b.stale.Add(1)
	case o == Ignored:
		e.leave(start)
		e.b.ignored.Add(1)
	default:
		e.settleClosed(start, o != Success, err)
	}
}

// settleClosed counts a success or failure. Only a failure can trip a failure
// rate, and only a slow call a slow rate: a success would else open a breaker
// by completing MinCalls.
func (e *epoch) settleClosed(start int64, failed bool, err error) {
	var now int64
	if failed || e.timed {
		now = e.b.now()
	}
	slow := e.flights != nil && now-start >= int64(e.b.cfg.SlowAfter)
	e.leave(start)
	if !e.window.Add(now, failed, slow) {
		e.b.stale.Add(1) // the period ended meanwhile
		return
	}
	if failed {
		e.streak.Add(1)
	} else if e.streak.Load() != 0 { // a write per success would be shared by all cores
		e.streak.Store(0)
	}
	if failed || slow {
		e.judge(now, failed, slow, err)
	}
}

// leave ends the flight of a call.
func (e *epoch) leave(start int64) {
	if e.flights != nil {
		e.flights.end(start)
	}
}

// Cancel implements [Issuer].
func (e *epoch) Cancel(start int64) {
	if e.state == HalfOpen {
		e.cancelProbe()
		return
	}
	e.leave(start)
}
