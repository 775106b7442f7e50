package consume

import (
	"context"
	"sync"
	"time"
)

// Queue holds what a group has been sent and not settled. It hands out at most
// one item of a key at a time, in the order of Push, so that a key keeps its
// order whatever happens to its items: while one runs or waits for its next
// attempt, those behind it wait too, and other keys go on. Items without a key
// have no order.
//
// Every method is O(1) and none is called with a lock held.
type Queue[T any] struct {
	mu      sync.Mutex
	ready   deque[*Item[T]]             // may be taken now
	lanes   map[string]*deque[*Item[T]] // a key that has an item out, and who waits behind it
	delayed map[*Item[T]]struct{}       // wait for their timers
	queued  int                         // items ready or behind their key
	out     chain[T]                    // at a handler
	members []chan struct{}             // of capacity 1, signalled when something becomes ready
	room    chan struct{}               // closed when an item is settled; nil while nobody waits
	closed  bool
	counts  Counts
}

// Counts are totals since the queue was made.
type Counts struct{ Acked, Redelivered, DeadLettered uint64 }

// Load is how many items a queue holds, by what they wait for.
type Load struct{ Ready, Running, Delayed int }

// Item is one message on its way through a queue.
type Item[T any] struct {
	Value T

	key      string
	attempts int   // deliveries begun
	cause    error // why it is to be buried; nil while it is to be handled
	timer    *time.Timer

	before, behind *Item[T] // in its chain
}

// NewQueue returns an empty queue.
func NewQueue[T any]() *Queue[T] {
	return &Queue[T]{lanes: map[string]*deque[*Item[T]]{}, delayed: map[*Item[T]]struct{}{}}
}

// Push appends v. Attempts are the deliveries that the broker has counted so
// far, 0 at first.
func (q *Queue[T]) Push(v T, key string, attempts int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.queued++
	it := &Item[T]{Value: v, key: key, attempts: attempts}
	if key != "" {
		if behind, taken := q.lanes[key]; taken {
			behind.pushBack(it)
			return
		}
		q.lanes[key] = &deque[*Item[T]]{}
	}
	q.ready.pushBack(it)
	q.signal()
}

// Load tells what the queue holds now.
func (q *Queue[T]) Load() Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Load{Ready: q.queued, Running: q.out.n, Delayed: len(q.delayed)}
}

// Counts tells what became of the items.
func (q *Queue[T]) Counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.counts
}

// Len is the number of items that are not settled.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.len()
}

func (q *Queue[T]) len() int { return q.queued + q.out.n + len(q.delayed) }

// WaitBelow returns once fewer than n items are not settled, or ctx's cause.
func (q *Queue[T]) WaitBelow(ctx context.Context, n int) error {
	return q.wait(ctx, func() bool { return q.len() < n })
}

// WaitHungry returns how many items the handlers have room for, at least one, or
// ctx's cause: fewer than n are running or could run, and fewer than most are not
// settled. What waits for its next attempt, or behind it, keeps no handler busy.
func (q *Queue[T]) WaitHungry(ctx context.Context, n, most int) (room int, err error) {
	err = q.wait(ctx, func() bool {
		room = min(n-q.out.n-q.ready.len(), most-q.len())
		return room > 0
	})
	return room, err
}

func (q *Queue[T]) wait(ctx context.Context, ok func() bool) error {
	for {
		q.mu.Lock()
		if ok() {
			q.mu.Unlock()
			return nil
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// roomier wakes who waits.
func (q *Queue[T]) roomier() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// Left is an item that was not settled, and its deliveries so far.
type Left[T any] struct {
	Value    T
	Attempts int
}

// Close stops the timers and returns what is held, for the broker to give to
// another member. Items that run may still be settled.
func (q *Queue[T]) Close() (left []Left[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	take := func(it *Item[T]) { left = append(left, Left[T]{it.Value, it.attempts}) }
	for it := range q.delayed {
		it.timer.Stop()
		take(it)
	}
	for q.ready.len() > 0 {
		take(q.ready.popFront())
	}
	for _, behind := range q.lanes {
		for behind.len() > 0 {
			take(behind.popFront())
		}
	}
	clear(q.delayed)
	clear(q.lanes)
	q.queued = 0
	return left
}

func (q *Queue[T]) join(member chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.members = append(q.members, member)
	q.signal()
}

func (q *Queue[T]) leave(member chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.members {
		if m == member {
			q.members = append(q.members[:i:i], q.members[i+1:]...)
			return
		}
	}
}

// signal wakes every member, since a busy one would sit on the news. Each has
// room for one signal, and who takes an item passes it on while there are more.
func (q *Queue[T]) signal() {
	if q.ready.len() == 0 {
		return
	}
	for _, member := range q.members {
		select {
		case member <- struct{}{}:
		default:
		}
	}
}

// take hands out the item at the front, or nil.
func (q *Queue[T]) take() *Item[T] {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready.len() == 0 {
		return nil
	}
	it := q.ready.popFront()
	q.queued--
	q.out.add(it)
	q.signal()
	return it
}

// settle forgets an item that was taken: acknowledged, or buried.
func (q *Queue[T]) settle(it *Item[T], buried bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out.remove(it)
	if buried {
		q.counts.DeadLettered++
	} else {
		q.counts.Acked++
	}
	q.next(it.key)
	q.roomier()
}

// forget drops an item that was taken and is no longer this member's.
func (q *Queue[T]) forget(it *Item[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out.remove(it)
	q.next(it.key)
	q.roomier()
}

// next lets the item behind one that left its lane through.
func (q *Queue[T]) next(key string) {
	behind := q.lanes[key]
	switch {
	case behind == nil: // no key, or the queue was closed
	case behind.len() == 0:
		delete(q.lanes, key)
	default:
		q.ready.pushBack(behind.popFront())
		q.signal()
	}
}

// again returns an item that was taken to the queue, after a delay. It stays the
// first of its key.
func (q *Queue[T]) again(it *Item[T], delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out.remove(it)
	q.counts.Redelivered++
	if q.closed {
		return
	}
	q.delayed[it] = struct{}{}
	q.roomier()
	it.timer = time.AfterFunc(max(delay, 0), func() { q.due(it) })
}

func (q *Queue[T]) due(it *Item[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, held := q.delayed[it]; !held {
		return // closed
	}
	delete(q.delayed, it)
	it.timer = nil
	q.queued++
	q.ready.pushBack(it)
	q.signal()
}

// release returns an item that was taken and not settled to the front, since its
// member ends. Attempts says whether the delivery counts.
func (q *Queue[T]) release(it *Item[T], counts bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out.remove(it)
	if !counts {
		it.attempts--
	}
	if q.closed {
		return
	}
	q.queued++
	q.ready.pushFront(it)
	q.signal()
}

// Drop forgets the items that match and are not running: their partition has gone
// to another member. Those that run are settled as ever.
func (q *Queue[T]) Drop(match func(T) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var freed []string // keys whose item in front was dropped
	for n := q.ready.len(); n > 0; n-- {
		if it := q.ready.popFront(); match(it.Value) {
			q.queued--
			freed = append(freed, it.key)
		} else {
			q.ready.pushBack(it)
		}
	}
	for it := range q.delayed {
		if match(it.Value) {
			it.timer.Stop()
			delete(q.delayed, it)
			freed = append(freed, it.key)
		}
	}
	for _, behind := range q.lanes {
		for n := behind.len(); n > 0; n-- {
			if it := behind.popFront(); match(it.Value) {
				q.queued--
			} else {
				behind.pushBack(it)
			}
		}
	}
	for _, key := range freed {
		q.next(key)
	}
	q.roomier()
}

// Runs tells whether a matching item is at a handler.
func (q *Queue[T]) Runs(match func(T) bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for it := q.out.first; it != nil; it = it.behind {
		if match(it.Value) {
			return true
		}
	}
	return false
}

// Busy is the number of items that run or could run now.
func (q *Queue[T]) Busy() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.out.n + q.ready.len()
}
