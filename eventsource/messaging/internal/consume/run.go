package consume

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Member is one subscriber: what it does to the items of its queues.
type Member[T any] struct {
	Settings

	// Handle runs the user's handler; attempt counts from 1.
	Handle func(ctx context.Context, v T, attempt int) error

	// Ack tells the broker that v is done. An error is reported and forgotten:
	// the broker delivers v again.
	Ack func(ctx context.Context, v T) error

	// Bury publishes v to the dead letter topic; Ack follows. After an error it is
	// called again later; v stays unacknowledged until then.
	Bury func(ctx context.Context, v T, attempts int, cause error) error

	// Gone tells that the broker has taken v back and gives it to somebody else, so
	// that it is dropped unless it runs. Nil: that does not happen.
	Gone func(v T) bool

	// MaxWait cuts every wait for the next attempt. Zero: none is.
	MaxWait time.Duration

	// Observe is told of each delivery, on the handler's goroutine. Nil: nobody is.
	Observe func(v T, o Outcome)
}

// Outcome is how one delivery ended.
type Outcome struct {
	Attempt      int
	Took         time.Duration
	DeadLettered bool
	Err          error
}

// Panicked is the error of Run when a handler panicked. The broker raises it
// again on the caller's goroutine.
type Panicked struct {
	Value any
	Stack []byte
}

func (p *Panicked) Error() string { return fmt.Sprintf("a handler panicked: %v", p.Value) }

var errGoexit = errors.New("messaging: a handler called runtime.Goexit")

// Run settles items of the queues until ctx ends or user code panics, and
// returns when no handler runs any more: ctx's cause, a *Panicked, or an error
// about Goexit. What was handed to it and not settled is back in its queue.
//
// With several queues no two items of one key run at once either, since a member
// never runs two of a key.
func (m *Member[T]) Run(ctx context.Context, queues ...*Queue[T]) error {
	r := &run[T]{Member: m, queues: queues, wake: make(chan struct{}, 1)}
	if len(queues) > 1 {
		r.keys = map[string][]taken[T]{}
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	r.lasting = context.WithoutCancel(ctx)
	defer context.AfterFunc(r.ctx, r.nudge)()
	for _, q := range queues {
		q.join(r.wake)
		defer q.leave(r.wake)
	}
	for range m.Concurrency {
		r.workers.Go(r.work)
	}
	r.workers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, waiting := range r.keys {
		for _, t := range waiting {
			t.queue.release(t.item, true) // taken, not begun
		}
	}
	if r.crash != nil {
		return r.crash
	}
	return context.Cause(r.ctx)
}

type run[T any] struct {
	*Member[T]
	queues  []*Queue[T]
	wake    chan struct{}
	ctx     context.Context // ends the handlers
	lasting context.Context // does not end: an effect that is there is acknowledged
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup

	mu    sync.Mutex
	keys  map[string][]taken[T] // keys that run here, and who waits for that; nil with a single queue, which sees to it itself
	crash error                 // the first; ctx's cause would hide one that comes after its end
}

// taken is an item that has left its queue.
type taken[T any] struct {
	queue *Queue[T]
	item  *Item[T]
}

// stop ends the run because user code did not return.
func (r *run[T]) stop(crash error) {
	r.mu.Lock()
	if r.crash == nil {
		r.crash = crash
	}
	r.mu.Unlock()
	r.cancel(crash)
}

func (r *run[T]) work() {
	for first := 0; ; first++ {
		t, ok := r.take(first)
		if !ok {
			if r.ctx.Err() != nil {
				r.nudge() // the next worker
				return
			}
			<-r.wake
			continue
		}
		for ok = r.enter(t); ok; t, ok = r.leave(t.item.key) {
			r.process(t)
		}
	}
}

// nudge makes a worker that waits look again: at the end of ctx, too, which is
// cheaper than to wait for either of two channels.
func (r *run[T]) nudge() {
	select {
	case r.wake <- struct{}{}:
	default: // it will
	}
}

// take looks at the queues in turn, each time beginning with another, so that a
// busy topic does not starve the others.
func (r *run[T]) take(first int) (taken[T], bool) {
	if r.ctx.Err() != nil {
		return taken[T]{}, false
	}
	for i := range r.queues {
		q := r.queues[(first+i)%len(r.queues)]
		if it := q.take(); it != nil {
			return taken[T]{q, it}, true
		}
	}
	return taken[T]{}, false
}

// enter tells whether t may run. If another queue's item of its key does, t waits
// for that, and its worker is free for other keys.
func (r *run[T]) enter(t taken[T]) bool {
	if r.keys == nil || t.item.key == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting, runs := r.keys[t.item.key]
	if runs {
		r.keys[t.item.key] = append(waiting, t)
		return false
	}
	r.keys[t.item.key] = nil
	return true
}

// leave ends the turn of a key and returns who waits for it.
func (r *run[T]) leave(key string) (next taken[T], ok bool) {
	if r.keys == nil || key == "" {
		return next, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.keys[key]
	if len(waiting) == 0 {
		delete(r.keys, key)
		return next, false
	}
	if r.ctx.Err() != nil {
		return next, false // Run gives those that wait back
	}
	r.keys[key] = waiting[1:]
	return waiting[0], true
}

// process sees one item to its next place. User code runs in here (Handle,
// Observe, Backoff, methods of an error): whatever it does, the item ends up
// settled or back in its queue, once.
func (r *run[T]) process(t taken[T]) {
	if r.gone(t.item) {
		t.queue.forget(t.item)
		return
	}
	t.item.attempts++
	d := delivery[T]{run: r, queue: t.queue, item: t.item}
	returned := false
	defer func() {
		if returned {
			return
		}
		d.release(true)
		if v := recover(); v != nil {
			r.stop(&Panicked{Value: v, Stack: debug.Stack()})
		} else {
			r.stop(errGoexit) // the goroutine still ends, and its worker with it
		}
	}()
	d.deliver()
	returned = true
}

func (r *run[T]) gone(it *Item[T]) bool { return r.Gone != nil && r.Gone(it.Value) }

// delivery is one turn of an item. Placed says that the item has left it.
type delivery[T any] struct {
	*run[T]
	queue  *Queue[T]
	item   *Item[T]
	placed bool
}

func (d *delivery[T]) deliver() {
	it, out := d.item, Outcome{Attempt: d.item.attempts}
	cause := it.cause
	switch {
	case cause != nil: // its attempts are over, the dead letter topic did not take it
		out.Attempt--
	case d.MaxAttempts > 0 && it.attempts > d.MaxAttempts:
		// The broker counted deliveries that this engine never saw end: each
		// killed its process.
		out.Attempt--
		cause = fmt.Errorf("messaging: %d deliveries, none of which came to an end", out.Attempt)
	default:
		d.handle(&out)
		if out.Err == nil {
			out.Err = d.ack()
			d.observe(out)
			return
		}
		if d.ctx.Err() != nil {
			d.release(false) // a drain uses up no attempt
			d.observe(out)
			return
		}
		if d.MaxAttempts < 0 || it.attempts < d.MaxAttempts && !hopeless(out.Err) {
			d.again(d.wait(out.Err, it.attempts))
			d.observe(out)
			return
		}
		cause = out.Err
	}
	d.bury(cause, &out)
	d.observe(out)
}

// handle runs the handler, and looks at the clock if somebody wants to know.
func (d *delivery[T]) handle(out *Outcome) {
	if d.Observe == nil {
		out.Err = d.Handle(d.ctx, d.item.Value, d.item.attempts)
		return
	}
	began := time.Now()
	out.Err = d.Handle(d.ctx, d.item.Value, d.item.attempts)
	out.Took = time.Since(began)
}

// ack acknowledges also when ctx has ended: the effect is there.
func (d *delivery[T]) ack() error {
	err := d.Ack(d.lasting, d.item.Value)
	d.placed = true
	d.queue.settle(d.item, false)
	return err
}

// bury moves the item to the dead letter topic. Where that fails the item waits
// and is tried again, its key behind it: skipping it would lose it. Where only the
// acknowledgement fails it is as for any other: the broker delivers once more.
func (d *delivery[T]) bury(cause error, out *Outcome) {
	it := d.item
	if err := d.Bury(d.ctx, it.Value, out.Attempt, cause); err != nil {
		it.cause = cause
		it.attempts = out.Attempt
		out.Err = errors.Join(cause, fmt.Errorf("messaging: dead letter: %w", err))
		d.again(d.wait(err, 1))
		return
	}
	out.Err, out.DeadLettered = cause, true
	if err := d.Ack(d.lasting, it.Value); err != nil {
		out.Err = errors.Join(cause, err)
	}
	d.placed = true
	d.queue.settle(it, true)
}

func (d *delivery[T]) again(wait time.Duration) {
	d.placed = true
	if d.gone(d.item) {
		d.queue.forget(d.item)
		return
	}
	d.queue.again(d.item, wait)
}

func (d *delivery[T]) release(counts bool) {
	if !d.placed {
		d.placed = true
		d.queue.release(d.item, counts)
	}
}

func (d *delivery[T]) wait(err error, attempt int) time.Duration {
	wait := retryAfter(err)
	if wait <= 0 {
		wait = d.Backoff(attempt)
	}
	if d.MaxWait > 0 {
		wait = min(wait, d.MaxWait)
	}
	return wait
}

func (d *delivery[T]) observe(o Outcome) {
	if d.Observe != nil {
		d.Observe(d.item.Value, o)
	}
}

// hopeless errors say of themselves that no repeat helps. One that names a time
// to come back does not mean it: that is how an open breaker refuses a call, and
// its messages must wait, not die.
func hopeless(err error) bool {
	var says interface{ Retryable() bool }
	return errors.As(err, &says) && !says.Retryable() && retryAfter(err) <= 0
}

func retryAfter(err error) time.Duration {
	var says interface{ RetryAfter() time.Duration }
	if errors.As(err, &says) {
		return says.RetryAfter()
	}
	return 0
}
