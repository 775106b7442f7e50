package retry

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

const (
	defaultAttempts      = 3
	defaultMaxRetryAfter = time.Minute
)

var defaultBackoff = FullJitter(100*time.Millisecond, 10*time.Second)

// draw gives the u of a wait. The generator of math/rand/v2 is seeded by the
// runtime and per thread: no lock, and loops that start in the same nanosecond
// wait differently. Tests replace it.
var draw = rand.Float64

// loop is the state of one call of Do or Run, or of one range over Attempts. It
// lives on its caller's stack and holds nothing of earlier attempts, so a loop
// without end takes no more memory than a short one.
type loop struct {
	policy *Policy
	began  time.Time     // of the call, or the last Progress; kept only under MaxElapsed
	timer  *time.Timer   // made for the first wait; not pooled, since a timer belongs to its synctest bubble
	prev   time.Duration // the Backoff's last delay
	n      int           // the number of the attempt that runs; 0 before the first
	step   int           // failures since the Backoff started
	failed bool          // some attempt has, so that the end is an event even if it is a success
	atOnce bool          // the Backoff is Constant(0); known once failed
}

// next is told the outcome of attempt n in *err and reports whether another
// one follows now: whatever wait there was is over, and *err is nil. If not,
// *err is what the call returns. The first next, before any attempt, has n = 0.
func (l *loop) next(ctx context.Context, err *error) bool {
	switch failure := *err; {
	case l.n == 0:
		*err = l.start(ctx)
	case failure == nil:
		l.succeeded(ctx)
		return false
	default:
		if !l.failed {
			l.failed, l.atOnce = true, l.policy.Backoff.isAtOnce()
		}
		wait, stop := l.judge(ctx, failure)
		// Without a wait, and without anybody's code that could have ended ctx,
		// it is as judge has just seen it.
		if stop == nil && (wait > 0 || !l.policy.quiet()) {
			stop = l.pause(ctx, failure, wait)
		}
		*err = stop
	}
	if *err != nil {
		l.emit(ctx, Event{N: l.n, Err: *err, Last: true})
		return false
	}
	l.n++
	return true
}

// start checks ctx before anything is done, and reads the clock if anybody will
// want to know how long it took.
func (l *loop) start(ctx context.Context) error {
	if ctx.Err() != nil {
		return l.stopped(nil, context.Cause(ctx), 0)
	}
	if l.policy.MaxElapsed > 0 {
		l.began = time.Now()
	}
	return nil
}

// succeeded ends the call with a success. An event tells of it only if there was
// one of a failure before: a call that succeeds at once is silent.
func (l *loop) succeeded(ctx context.Context) {
	if b := l.policy.Budget; b != nil {
		b.Success(l.n)
	}
	if l.failed {
		l.emit(ctx, Event{N: l.n, Last: true})
	}
}

// judge decides what follows attempt n, which failed with err: a wait, or the
// error that ends the call. The order of the checks is part of the contract:
// what fn said goes before the context, the context before the policy's limits,
// and the Budget is asked last, so that it is never asked in vain.
func (l *loop) judge(ctx context.Context, err error) (wait time.Duration, stop error) {
	p := l.policy
	ended := ctx.Err()
	var s signs
	s.walk(err)
	if s.permanent {
		return 0, err
	}
	// A cancelled call fails with context.Canceled, which is not retryable. That
	// is a consequence and no verdict: the caller gets the reason beside it.
	if !p.retryable(err, &s, ended != nil) && (ended == nil || !errors.Is(err, ended)) {
		return 0, err
	}
	if ended != nil {
		return 0, l.stopped(err, context.Cause(ctx), 0)
	}
	// Also after the last attempt: a throttle counts failures, not retries.
	if p.Budget != nil {
		p.Budget.Failure(l.n, err)
	}
	if l.n == p.maxAttempts() {
		return 0, l.stopped(err, ErrExhausted, 0)
	}
	if s.delay > p.maxRetryAfter() {
		return 0, l.stopped(err, ErrRetryAfter, s.delay)
	}
	if !l.atOnce || s.delay > 0 { // else there is neither a wait nor a draw
		wait = l.wait(s.delay)
	}
	if p.MaxElapsed > 0 && wait > p.MaxElapsed-time.Since(l.began) { // the sum could overflow
		return 0, l.stopped(err, ErrElapsed, wait)
	}
	// The deadline is read only for a wait, and no wait is cut to fit: an attempt
	// that starts when time is up serves nobody.
	if wait > 0 && !fits(ctx, wait) {
		return 0, l.stopped(err, context.DeadlineExceeded, wait)
	}
	if p.Budget != nil && !p.Budget.Withdraw(l.n, err) {
		return 0, l.stopped(err, ErrBudget, wait)
	}
	return wait, nil
}

// wait is the longer of the Backoff's delay and what the server asked for,
// which is spread over a further tenth.
func (l *loop) wait(asked time.Duration) time.Duration {
	backoff := l.policy.Backoff
	if backoff == nil {
		backoff = defaultBackoff
	}
	u := draw()
	own := max(backoff(l.step+1, l.prev, u), 0)
	told := stretch(asked, u)
	if told > own {
		// The server knows better than the growth so far, which starts afresh.
		// A delay of 0 never gets here, so it cannot freeze the growth.
		l.step, l.prev = 0, 0
		return told
	}
	l.step, l.prev = l.step+1, own
	return own
}

// stretch adds up to a tenth to d, and is 0 for no delay.
func stretch(d time.Duration, u float64) time.Duration {
	if d <= 0 {
		return 0
	}
	more := time.Duration(u * float64(d) / 10)
	if more > math.MaxInt64-d {
		return math.MaxInt64
	}
	return d + more
}

// fits reports whether ctx leaves time for an attempt after the wait.
func fits(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || wait < time.Until(deadline)
}

// pause announces the wait and waits. It returns the error that ends the call
// if ctx ends first. The token that Withdraw granted is then given back.
func (l *loop) pause(ctx context.Context, err error, wait time.Duration) error {
	if l.policy.OnEvent != nil {
		l.announce(ctx, Event{N: l.n, Err: err, Delay: wait})
	}
	if wait > 0 {
		l.sleep(ctx, wait)
	}
	// Asked again even if the timer fired: when both are ready, select picks
	// either.
	if ctx.Err() == nil {
		return nil
	}
	if l.policy.Budget != nil {
		l.policy.Budget.Refund(l.n, err)
	}
	return l.stopped(err, context.Cause(ctx), wait)
}

// announce emits e, and returns the token should OnEvent panic or exit.
func (l *loop) announce(ctx context.Context, e Event) {
	// A flag and no recover: a panic keeps its stack, and a Goexit has nothing
	// to recover.
	returned := false
	defer func() {
		if !returned && l.policy.Budget != nil {
			l.policy.Budget.Refund(e.N, e.Err)
		}
	}()
	l.policy.OnEvent(ctx, e)
	returned = true
}

// sleep waits for d, or until ctx ends.
func (l *loop) sleep(ctx context.Context, d time.Duration) {
	if l.timer == nil {
		l.timer = time.NewTimer(d)
	} else {
		l.timer.Reset(d)
	}
	select {
	case <-l.timer.C:
	case <-ctx.Done():
		l.timer.Stop()
	}
}

// emit is for events after which nothing has to be given back.
func (l *loop) emit(ctx context.Context, e Event) {
	if l.policy.OnEvent != nil {
		l.policy.OnEvent(ctx, e)
	}
}

// stopped is what the call returns when retrying stops. It is the one allocation
// of giving up.
func (l *loop) stopped(err, reason error, delay time.Duration) error {
	return &Error{Err: err, Reason: reason, Attempts: l.n, Delay: delay}
}

// quiet reports whether p runs no code of its user between two attempts but a
// Backoff, which is pure.
func (p *Policy) quiet() bool {
	return p.OnEvent == nil && p.Budget == nil && p.Retryable == nil
}

func (p *Policy) maxAttempts() int {
	if p.MaxAttempts == 0 {
		return defaultAttempts
	}
	return p.MaxAttempts // negative: no n equals it
}

func (p *Policy) maxRetryAfter() time.Duration {
	switch {
	case p.MaxRetryAfter == 0:
		return defaultMaxRetryAfter
	case p.MaxRetryAfter < 0:
		return math.MaxInt64
	default:
		return p.MaxRetryAfter
	}
}
