package hedge

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/internal/index"
)

// race is one call of Do. The caller's goroutine makes the primary attempt;
// each extra attempt has a goroutine of its own, that of the timer which
// started it. An attempt that replaces a failed one runs on that one's
// goroutine.
type race[T any] struct {
	policy  *Policy
	fn      func(context.Context) (T, error)
	discard func(T)
	ctx     context.Context // the caller's
	inner   context.Context // the attempts', one for all
	cancel  context.CancelFunc
	began   time.Time // of the primary; kept for Latency alone

	returned bool // the caller has its result; for its goroutine alone

	mu      sync.Mutex // never held while user code runs
	timer   *time.Timer
	armed   bool // the timer will start an attempt
	stale   int  // runs of the timer that came too late to be stopped, and must do nothing
	slots   int  // attempts that were started or are being asked for
	begun   int  // attempts started
	running int  // attempts that run, and timers that ask for one
	others  int  // goroutines beside the caller's, and timers that may still start one
	idle    chan struct{}
	wanted  bool // an extra attempt was asked for,
	denied  bool // and refused: no more in this call

	first    outcome[T] // of the primary, if it failed
	decided  bool
	result   outcome[T]
	winner   int // index, or -1
	panicked *PanicError
	exited   bool // runtime.Goexit on another goroutine
}

type outcome[T any] struct {
	value T
	err   error
}

func newRace[T any](ctx context.Context, p *Policy, fn func(context.Context) (T, error), discard func(T)) *race[T] {
	r := &race[T]{policy: p, fn: fn, discard: discard, ctx: ctx, slots: 1, begun: 1, running: 1, winner: -1}
	r.inner, r.cancel = context.WithCancel(ctx)
	if p.Latency != nil {
		r.began = time.Now()
	}
	return r
}

// begin arms the timer, or starts everything at once.
func (r *race[T]) begin() {
	if r.policy.max() == 0 {
		return
	}
	if r.policy.delay() >= 0 {
		r.mu.Lock()
		r.arm()
		r.mu.Unlock()
		return
	}
	for {
		index := r.more(nil)
		if index < 0 {
			return
		}
		r.mu.Lock()
		r.running++
		r.others++
		r.mu.Unlock()
		go r.extra(index)
	}
}

// arm starts the delay afresh if an extra attempt may follow. A delay that
// reaches the deadline arms nothing. r.mu is held.
func (r *race[T]) arm() {
	delay := r.policy.delay()
	r.disarm()
	if r.slots > r.policy.max() || r.denied || delay < 0 {
		return
	}
	if deadline, ok := r.ctx.Deadline(); ok && delay >= time.Until(deadline) {
		return
	}
	r.armed = true
	r.others++
	if r.timer == nil {
		r.timer = time.AfterFunc(delay, r.fire)
	} else {
		r.timer.Reset(delay)
	}
}

// disarm stops the timer. If it has fired, its goroutine is on its way and will
// find that it is stale. r.mu is held.
func (r *race[T]) disarm() {
	if !r.armed {
		return
	}
	r.armed = false
	if r.timer.Stop() {
		r.others--
	} else {
		r.stale++
	}
}

// fire is the timer's function.
func (r *race[T]) fire() {
	r.mu.Lock()
	if r.stale > 0 {
		r.stale--
		r.gone()
		r.mu.Unlock()
		return
	}
	r.armed = false
	r.running++
	r.mu.Unlock()
	r.extra(-1)
}

// extra is the life of a goroutine beside the caller's. It makes the attempt
// with the given index, or asks for one first if that is negative.
func (r *race[T]) extra(index int) {
	returned := false
	defer func() {
		if returned {
			r.leave(nil, false)
		} else if value := recover(); value != nil {
			r.leave(&PanicError{Value: value, Stack: debug.Stack()}, false)
		} else {
			r.leave(nil, true)
		}
	}()
	if index < 0 {
		index = r.more(nil)
	}
	if index < 0 {
		r.rest()
	} else {
		v, err := r.call(index)
		r.run(index, v, err)
	}
	returned = true
}

func (r *race[T]) call(n int) (T, error) {
	return r.fn(index.With(r.inner, n))
}

// run settles an attempt, and makes those that replace it.
func (r *race[T]) run(index int, v T, err error) {
	for {
		if index == 0 {
			r.observe(err)
		}
		if err == nil {
			r.success(index, v)
			return
		}
		if index = r.failure(index, v, err); index < 0 {
			r.rest()
			return
		}
		v, err = r.call(index)
	}
}

// more asks for one more attempt, after the failure err or, if that is nil, the
// delay. It returns its index, or -1; the attempt is then in the books.
func (r *race[T]) more(err error) int {
	r.mu.Lock()
	if r.decided || r.denied || r.slots > r.policy.max() || r.ctx.Err() != nil {
		r.mu.Unlock()
		return -1
	}
	index := r.slots
	r.slots++
	r.wanted = true
	r.mu.Unlock()

	granted := r.policy.withdraw(index, err)

	r.mu.Lock()
	over := r.decided || r.ctx.Err() != nil
	if granted && !over {
		r.begun++
		r.arm()
		r.mu.Unlock()
		return index
	}
	if !granted {
		r.denied = true
	}
	r.mu.Unlock()
	if granted {
		r.policy.refund(index, err)
	}
	return -1
}

// success decides the race, or hands the value to discard.
func (r *race[T]) success(index int, v T) {
	r.mu.Lock()
	won := !r.decided
	if won {
		r.winner = index
		r.decide(outcome[T]{value: v})
	}
	r.running--
	r.mu.Unlock()
	switch {
	case won:
		r.cancel()
		r.policy.succeeded(index)
	case r.discard != nil:
		r.discard(v)
	}
}

// failure returns the index of the attempt that replaces this one, or -1.
func (r *race[T]) failure(index int, v T, err error) int {
	r.mu.Lock()
	if index == 0 {
		r.first = outcome[T]{v, err}
	}
	over := r.decided || r.ctx.Err() != nil
	r.mu.Unlock()
	if over {
		return -1
	}
	retryable := r.policy.retryable(err)
	if retryable {
		r.policy.failed(index, err)
	}
	switch {
	case pushback(err):
		return -1
	case retryable:
		return r.more(err)
	}
	r.mu.Lock()
	if !r.decided && r.ctx.Err() == nil {
		r.decide(outcome[T]{v, err})
	}
	r.mu.Unlock()
	r.cancel()
	return -1
}

// rest ends the run of an attempt that failed and is not replaced, or of a
// timer whose attempt was not granted. If it was the last, all have failed.
func (r *race[T]) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	if r.running > 0 || r.decided {
		return
	}
	all := r.first
	if r.ctx.Err() != nil {
		all.err = &retry.Error{Err: all.err, Reason: context.Cause(r.ctx), Attempts: r.begun}
	}
	r.decide(all)
}

// decide ends the race: whatever comes later is ignored or discarded. r.mu is
// held.
func (r *race[T]) decide(o outcome[T]) {
	r.decided, r.result = true, o
	r.disarm()
}

// leave ends a goroutine beside the caller's, of which a panic or an exit ends
// the race.
func (r *race[T]) leave(p *PanicError, exited bool) {
	if p != nil || exited {
		r.mu.Lock()
		if r.panicked == nil {
			r.panicked = p
		}
		r.exited = r.exited || exited
		r.close()
		r.mu.Unlock()
		r.cancel()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone()
}

// close decides the race without a result, if it is open. r.mu is held.
func (r *race[T]) close() {
	if !r.decided {
		r.decide(outcome[T]{})
	}
}

// gone takes one goroutine from the books. r.mu is held.
func (r *race[T]) gone() {
	r.others--
	if r.others == 0 && r.idle != nil {
		close(r.idle)
	}
}

// wait returns when the caller's goroutine is the only one left.
func (r *race[T]) wait() {
	r.mu.Lock()
	if r.others > 0 {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// finish waits for the end of the race and returns its result.
func (r *race[T]) finish() (T, error) {
	r.wait()
	if r.panicked != nil {
		panic(r.panicked)
	}
	if r.exited {
		runtime.Goexit()
	}
	if r.wanted && r.policy.OnEvent != nil {
		r.policy.OnEvent(r.ctx, Event{Attempts: r.begun, Winner: r.winner, Denied: r.denied, Err: r.result.err})
	}
	r.returned = true
	return r.result.value, r.result.err
}

// end runs when Do returns, panics or exits. In the latter cases it stops what
// still runs, and a success that nobody gets is discarded here.
func (r *race[T]) end() {
	r.cancel()
	if r.returned {
		return
	}
	r.mu.Lock()
	r.close()
	r.mu.Unlock()
	r.wait()
	if r.winner >= 0 && r.discard != nil {
		r.discard(r.result.value)
	}
}

// observe tells Latency how long the primary took. One that was cancelled would
// have taken longer; one that failed says nothing.
func (r *race[T]) observe(err error) {
	l := r.policy.Latency
	if l == nil {
		return
	}
	took := time.Since(r.began)
	switch {
	case err == nil:
		l.record(took, completed)
	case r.inner.Err() != nil:
		l.record(took, censored)
	}
}
