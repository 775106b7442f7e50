package breaker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Event is a change of a breaker's state.
type Event struct {
	Seq  uint64    `json:"seq"` // from 1 in each breaker; a gap shows dropped events
	At   time.Time `json:"at"`
	Name string    `json:"name"`
	From State     `json:"from"`
	To   State     `json:"to"` // equal to From only for "hold" and "release"

	// Reason is "consecutive", "failure-rate", "slow-rate" or "trip" for
	// opening, "timer" for half-open, "probe-failed", "probe-slow" or
	// "probe-lost" for opening again, "recovered" or "reset" for closing,
	// "hold" and "release" for either.
	Reason string `json:"reason"`

	Cause   error         `json:"-"`           // the failure that decided, or the cause given to Trip; may be nil
	OpenFor time.Duration `json:"open_for_ns"` // if To is Open; 0 under Hold
	Stats   Stats         `json:"stats"`       // just before the change
}

// maxQueued is how many events wait for a callback that blocks.
const maxQueued = 128

// feed delivers events in order, one at a time, on the goroutines of those who
// cause them. There is no goroutine of its own that would have to be closed.
type feed struct {
	mu         sync.Mutex
	seq        uint64
	queue      []Event
	delivering bool
}

// put queues an event, if need be in place of the oldest one.
func (f *feed) put(ev Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	ev.Seq = f.seq
	if len(f.queue) == maxQueued {
		copy(f.queue, f.queue[1:])
		f.queue = f.queue[:maxQueued-1]
	}
	f.queue = append(f.queue, ev)
}

// begin reports whether the caller is the one to deliver: nobody else does. A
// callback that blocks thereby holds up the events alone, not the calls.
func (f *feed) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.delivering || len(f.queue) == 0 {
		return false
	}
	f.delivering = true
	return true
}

// next takes the oldest event off, or ends the delivery if there is none: both
// under one lock, so no event falls in between.
func (f *feed) next() (ev Event, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.queue, f.delivering = nil, false
		return Event{}, false
	}
	ev = f.queue[0]
	f.queue[0] = Event{} // let go of Cause
	f.queue = f.queue[1:]
	return ev, true
}

// announce queues the event of a change. mu is held, so that events have the
// order of the changes; the callback runs later, without it.
func (b *Breaker) announce(from, to *epoch, reason string, cause error) {
	if b.feed == nil {
		return
	}
	ev := Event{
		At: time.Now(), Name: b.cfg.Name, From: from.state, To: to.state,
		Reason: reason, Cause: cause, Stats: b.snapshot(from),
	}
	if to.state == Open {
		ev.OpenFor = to.openFor
	}
	b.feed.put(ev)
}

// deliver hands out what is queued, unless that is under way already, by
// another goroutine or by a callback further up this one. mu is not held.
func (b *Breaker) deliver() {
	if b.feed != nil && b.feed.begin() {
		b.drain()
	}
}

// drain delivers until the queue is empty. If a callback panics or exits, the
// deferred call delivers the rest before the panic goes on.
func (b *Breaker) drain() {
	done := false
	defer func() {
		if !done {
			b.drain()
		}
	}()
	for ev, ok := b.feed.next(); ok; ev, ok = b.feed.next() {
		b.hand(ev)
	}
	done = true
}

// hand gives one event to the logger and then to OnEvent, which gets it also if
// the handler of the logger panics.
func (b *Breaker) hand(ev Event) {
	if b.cfg.OnEvent != nil {
		defer b.cfg.OnEvent(ev)
	}
	b.log(ev)
}

// log writes an event. It has no ctx: no one call is the cause of a change.
func (b *Breaker) log(ev Event) {
	if b.cfg.Logger == nil {
		return
	}
	level := slog.LevelInfo
	if ev.To == Open {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("name", ev.Name), slog.String("from", ev.From.String()),
		slog.String("to", ev.To.String()), slog.String("reason", ev.Reason),
	}
	if ev.OpenFor > 0 {
		attrs = append(attrs, slog.Duration("open_for", ev.OpenFor))
	}
	if ev.Cause != nil {
		attrs = append(attrs, slog.Any("cause", ev.Cause))
	}
	b.cfg.Logger.LogAttrs(context.Background(), level, "breaker: "+ev.To.String(), attrs...)
}
