package wal

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// room bounds the bytes that are reserved at once: a semaphore, first come,
// first served, so that a large record is not overtaken for ever by small ones.
type room struct {
	limit int64

	mu    sync.Mutex
	used  int64
	queue list.List // of *waiter
	err   error     // why nobody gets in any more
}

type waiter struct {
	bytes   int64
	granted chan struct{}
	place   *list.Element // nil once out of the queue
	err     error         // set before granted is closed
}

// Reserve waits until there is room for a record of n bytes, so that writers
// faster than the disk do not fill the memory. Call it before taking the lock
// under which Enqueue is called. The room is given back once the record has been
// written; a caller that does not enqueue calls [Log.Release]. A record larger
// than all room waits until it is alone.
func (l *Log) Reserve(ctx context.Context, n int) error {
	if n > MaxRecord {
		return fmt.Errorf("wal: a record of %d bytes; allowed: %d", n, MaxRecord)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return l.room.acquire(ctx, int64(n))
}

// Release gives back the room of a record that was not enqueued.
func (l *Log) Release(n int) { l.room.release(int64(n)) }

func (r *room) acquire(ctx context.Context, n int64) error {
	r.mu.Lock()
	if r.err != nil || (r.queue.Len() == 0 && r.fits(n)) {
		defer r.mu.Unlock()
		if r.err == nil {
			r.used += n
		}
		return r.err
	}
	w := &waiter{bytes: n, granted: make(chan struct{})}
	w.place = r.queue.PushBack(w)
	r.mu.Unlock()
	select {
	case <-w.granted:
		return w.err
	case <-ctx.Done():
		r.leave(w)
		return context.Cause(ctx)
	}
}

// leave takes w out of the queue, or gives back what it was granted meanwhile.
func (r *room) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case w.place != nil:
		r.queue.Remove(w.place)
	case w.err == nil:
		r.used -= w.bytes
	}
	r.grant() // w may have kept smaller ones from getting in
}

func (r *room) release(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	r.grant()
}

// close turns away everybody who waits and everybody who comes.
func (r *room) close(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.grant()
}

func (r *room) fits(n int64) bool { return r.used == 0 || r.used+n <= r.limit }

func (r *room) grant() {
	for e := r.queue.Front(); e != nil; e = r.queue.Front() {
		w := e.Value.(*waiter)
		if r.err == nil && !r.fits(w.bytes) {
			return
		}
		r.queue.Remove(e)
		w.place, w.err = nil, r.err
		if w.err == nil {
			r.used += w.bytes
		}
		close(w.granted)
	}
}
