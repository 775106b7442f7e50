package retry

import (
	"context"
	"iter"
	"time"
)

// Attempts is the loop form of Do: the body is one attempt and leaves its
// outcome in *err (assign with =, not :=). The loop ends by itself when *err is
// nil after a pass, or final; *err is then what Do would return.
//
//	var err error
//	for a := range policy.Attempts(ctx, &err) {
//		page, err = get(a.Context(), cursor)
//	}
//
// Every pass begins with *err == nil, so a pass that assigns nothing has
// succeeded. break and return end the loop and keep *err: nil is a success,
// anything else no verdict, of which a Budget is not told. If ctx has ended
// already, there is no pass. Attempts panics on a nil err.
//
// Calls, waits, tokens and events are those of Do. An inlined loop without
// waits allocates nothing.
func (p *Policy) Attempts(ctx context.Context, err *error) iter.Seq[*Attempt] {
	if err == nil {
		panic("retry: Attempts needs a place for the error")
	}
	if p == nil {
		p = &zeroPolicy
	}
	// Short enough to be inlined into the caller's function together with the
	// loop's body. The compiler then sees that nothing keeps a.
	return func(yield func(*Attempt) bool) {
		if p.AttemptTimeout > 0 {
			limitedAttempts(ctx, p, err, yield)
			return
		}
		a := Attempt{ctx: ctx, loop: loop{policy: p}}
		for a.loop.next(ctx, err) {
			if !yield(&a) {
				a.loop.left(ctx, *err)
				return
			}
		}
	}
}

// limitedAttempts is the loop under AttemptTimeout.
func limitedAttempts(ctx context.Context, p *Policy, err *error, yield func(*Attempt) bool) {
	a := Attempt{loop: loop{policy: p}}
	for a.loop.next(ctx, err) {
		if !a.limited(ctx, yield) {
			a.loop.left(ctx, *err)
			return
		}
	}
}

// limited is one pass under AttemptTimeout. The deferred cancel also runs when
// the body panics or ends its goroutine.
func (a *Attempt) limited(ctx context.Context, yield func(*Attempt) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, a.loop.policy.AttemptTimeout)
	defer cancel()
	a.ctx = ctx
	return yield(a)
}

// Attempt is one pass of a loop over [Policy.Attempts]. It is for the goroutine
// of the loop, and not to be kept beyond its pass.
type Attempt struct {
	ctx  context.Context
	loop loop
}

// Context is the context for the body. Under AttemptTimeout it ends with the
// pass.
func (a *Attempt) Context() context.Context { return a.ctx }

// N is the number of the pass: 1, 2, ... since the start or the last Progress.
func (a *Attempt) N() int { return a.loop.n }

// Progress says that this pass got somewhere, such as one page further or one
// message received. Attempts, backoff and MaxElapsed start afresh: should this
// pass fail, it is failure number 1.
func (a *Attempt) Progress() {
	l := &a.loop
	l.n, l.step, l.prev = 1, 0, 0
	if l.policy.MaxElapsed > 0 {
		l.began = time.Now()
	}
}

// left ends a loop whose body was left by break or return.
func (l *loop) left(ctx context.Context, err error) {
	switch {
	case err == nil:
		l.succeeded(ctx)
	default:
		l.emit(ctx, Event{N: l.n, Err: err, Last: true})
	}
}
