package cache

import (
	"fmt"
	"sync"
)

// Event is something that an operator may want to know. It is delivered to
// [Config.OnEvent].
type Event struct {
	Kind  EventKind
	Key   string // empty if it concerns no single key
	Err   error
	Count int // keys, or invalidations, that it is about
}

// EventKind names what happened.
type EventKind string

// What happens.
const (
	EventLoadFailed   EventKind = "load_failed"
	EventStaleServed  EventKind = "stale_served"  // once per failed or slow load, not per read
	EventFillRejected EventKind = "fill_rejected" // fenced by an invalidation
	EventUndecodable  EventKind = "undecodable"   // read as a miss
	EventBusGap       EventKind = "bus_gap"       // older entries are suspect
	EventSaveFailed   EventKind = "save_failed"   // Count keys; retried by write-behind
	EventRemoteDown   EventKind = "remote_down"
	EventRemoteUp     EventKind = "remote_up" // Count invalidations were replayed first
)

// maxEvents is how many events wait for a callback that blocks.
const maxEvents = 1024

// feed delivers events in order, one at a time, on the goroutines of those who
// cause them, so that there is none to close.
type feed struct {
	call func(Event)

	mu         sync.Mutex
	queue      []Event
	delivering bool
}

// put queues ev and tells whether there was room.
func (f *feed) put(ev Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == maxEvents {
		return false
	}
	f.queue = append(f.queue, ev)
	return true
}

// deliver hands out what is queued, unless that is under way already, by another
// goroutine or by a callback further up this one. If the callback panics or
// exits, the rest is delivered before the panic goes on.
func (f *feed) deliver() {
	f.mu.Lock()
	idle := !f.delivering && len(f.queue) > 0
	f.delivering = f.delivering || idle
	f.mu.Unlock()
	if idle {
		f.drain()
	}
}

func (f *feed) drain() {
	done := false
	defer func() {
		if !done {
			f.drain()
		}
	}()
	for ev, ok := f.next(); ok; ev, ok = f.next() {
		f.call(ev)
	}
	done = true
}

// next takes the oldest event off, or ends the delivery: both under one lock, so
// that no event falls in between.
func (f *feed) next() (Event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.queue, f.delivering = nil, false
		return Event{}, false
	}
	ev := f.queue[0]
	f.queue[0] = Event{} // let go of Err
	f.queue = f.queue[1:]
	return ev, true
}

// tell queues an event. Whoever causes one announces it when nothing waits for
// him any more: a callback may block, or ask for the very key that it is told of.
func (c *Cache[K, V]) tell(ev Event) {
	if c.feed.call != nil && !c.feed.put(ev) {
		c.stats.eventsDropped.Add(1)
	}
}

// tellOf is tell for an event of one key.
func (c *Cache[K, V]) tellOf(kind EventKind, key K, err error) {
	if c.feed.call != nil {
		c.tell(Event{Kind: kind, Key: c.display(key), Err: err, Count: 1})
	}
}

// announce delivers what is queued. No lock is held.
func (c *Cache[K, V]) announce() {
	if c.feed.call != nil {
		c.feed.deliver()
	}
}

// announceAside is announce for goroutines that have to go on.
func (c *Cache[K, V]) announceAside() {
	if c.feed.call != nil {
		c.works.spawn(c.feed.deliver)
	}
}

// display is the key as operators see it.
func (c *Cache[K, V]) display(key K) string {
	if c.names != nil {
		return c.names.of(key)
	}
	return fmt.Sprint(key)
}
