package sharding

import (
	"sync"
	"sync/atomic"
)

// Event tells what a [Router] did. Without Err a topology has been installed,
// and Moved is the share of parts, such as slots, that have a new owner. Else
// Err is the load of Follow that failed, or the redirect that [Do] follows:
// Epoch is then the one that the refusing shard named, Previous the route's.
type Event struct {
	Epoch    uint64  `json:"epoch"`
	Previous uint64  `json:"previous,omitempty"`
	Moved    float64 `json:"moved,omitempty"`
	Err      error   `json:"-"`
}

// Stats are totals since the router was made, except Epoch.
type Stats struct {
	Epoch         uint64 `json:"epoch"`
	Installs      uint64 `json:"installs,omitempty"`       // topologies put in force after the first
	Refused       uint64 `json:"refused,omitempty"`        // topologies not put in force: stale, in conflict, invalid
	Loads         uint64 `json:"loads,omitempty"`          // documents read from the source
	LoadErrors    uint64 `json:"load_errors,omitempty"`    // of these, failed ones, and those with a bad document
	Redirects     uint64 `json:"redirects,omitempty"`      // refusals after which Do called again at once
	Waits         uint64 `json:"waits,omitempty"`          // refusals after which Do waited
	EventsDropped uint64 `json:"events_dropped,omitempty"` // because OnEvent was too slow
}

type counters struct {
	installs, refused, loads, loadErrors, redirects, waits atomic.Uint64
}

// Stats returns the totals now. Lookups are not counted: they would pay for it.
func (r *Router[K]) Stats() Stats {
	return Stats{
		Epoch:         r.cur.Load().epoch,
		Installs:      r.count.installs.Load(),
		Refused:       r.count.refused.Load(),
		Loads:         r.count.loads.Load(),
		LoadErrors:    r.count.loadErrors.Load(),
		Redirects:     r.count.redirects.Load(),
		Waits:         r.count.waits.Load(),
		EventsDropped: r.feed.dropped.Load(),
	}
}

// maxQueued is how many events wait for a callback that blocks.
const maxQueued = 1024

// feed delivers events in order, one at a time, on the goroutines of those who
// cause them: there is none of its own that would have to be closed.
type feed struct {
	dropped atomic.Uint64

	mu         sync.Mutex
	queue      []Event
	delivering bool
}

// emit queues an event if anybody listens; deliver follows once no lock is
// held.
func (r *Router[K]) emit(e Event) {
	if r.cfg.OnEvent != nil {
		r.feed.put(e)
	}
}

// put queues an event, if need be in place of the oldest one.
func (f *feed) put(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == maxQueued {
		f.queue = f.queue[1:]
		f.dropped.Add(1)
	}
	f.queue = append(f.queue, e)
}

// deliver hands out what is queued, unless that is under way already, by
// another goroutine or by a callback further up this one.
func (f *feed) deliver(to func(Event)) {
	if to != nil && f.begin() {
		f.drain(to)
	}
}

// drain delivers until the queue is empty. If a callback panics or exits, the
// deferred call delivers the rest before the panic goes on.
func (f *feed) drain(to func(Event)) {
	done := false
	defer func() {
		if !done {
			f.drain(to)
		}
	}()
	for e, ok := f.next(); ok; e, ok = f.next() {
		to(e)
	}
	done = true
}

// begin reports whether the caller is the one to deliver.
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
func (f *feed) next() (e Event, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.queue, f.delivering = nil, false
		return Event{}, false
	}
	e = f.queue[0]
	f.queue[0] = Event{} // let go of Err
	f.queue = f.queue[1:]
	return e, true
}
