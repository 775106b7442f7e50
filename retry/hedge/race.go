package hedge

import (
	"context"
	"sync"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/internal/index"
)

// race is one call of Do. The caller's goroutine makes the primary attempt;
// each extra attempt has a goroutine of its own, that of the timer which
// started it. An attempt that replaces a failed one runs on that one's
// goroutine.
//
// Everything that several goroutines touch is under one mutex, which is never
// held while user code runs. A call that nobody joins takes it three times,
// uncontended. To spare even that, it would have to prove without a lock that a
// timer which may have been armed twice has not fired once.
type race[T any] struct {
	policy  *Policy
	fn      func(context.Context) (T, error)
	discard func(T)
	ctx     context.Context // the caller's
	inner   context.Context // the attempts', one for all
	cancel  context.CancelFunc
	began   time.Time // of the primary; kept for Latency alone

	returned bool // the caller has its result; for its goroutine alone

	mu sync.Mutex // guards all that follows

	// Who is there. running tells when all have failed: nothing runs, and no
	// grant is pending that could start something. others tells when the caller
	// may leave. An armed timer is one of the others, but it does not run.
	timer   *time.Timer
	armed   bool          // the timer will start an attempt
	stale   int           // runs of the timer that came too late to be stopped, and must do nothing
	slots   int           // attempts that were started or are being asked for
	begun   int           // attempts started
	running int           // attempts that run, and timers that ask for one
	others  int           // goroutines beside the caller's, and timers that may still start one
	idle    chan struct{} // closed when others becomes 0, if the caller waits for that
	wanted  bool          // an extra attempt was asked for,
	denied  bool          // and refused: no more in this call

	// What came of it. The first decision is final.
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

// call makes attempt n on this goroutine.
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
	index := r.slots // taken before the Budget is asked, so that two who ask at once do not get the same
	r.slots++
	r.wanted = true
	r.mu.Unlock()

	granted := r.policy.withdraw(index, err)

	// The race may have ended meanwhile. A token that comes too late goes back.
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
	if over { // failures of cancelled attempts say nothing, not even to the Budget
		return -1
	}
	retryable := r.policy.retryable(err)
	if retryable {
		r.policy.failed(index, err)
	}
	switch {
	case pushback(err):
		// The server, or a breaker before it, wants to be left alone. To end the
		// call would be worse than to wait for what already runs.
		return -1
	case retryable:
		return r.more(err)
	}
	// A failure for good would be the same in every other attempt.
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
	// The primary's failure stands for all: which one comes last is chance, and
	// a loop around this call needs to see what failed rather than an error made
	// here.
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
