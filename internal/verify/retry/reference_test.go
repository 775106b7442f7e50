package retry_test

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// trace is what can be seen of a call, in order: calls, what the budget is told,
// events and the end, each with its time.
type trace []string

func (t *trace) add(at time.Duration, format string, args ...any) {
	*t = append(*t, fmt.Sprintf("%v ", at)+fmt.Sprintf(format, args...))
}

// world is the caller's side of the reference: the clock and the context.
type world struct {
	script
	now    time.Duration
	ended  error // ctx.Err
	events int
	trace
}

// until passes time, and ends ctx on the way.
func (w *world) until(t time.Duration) {
	for _, end := range []struct {
		at  time.Duration
		err error
	}{{w.cancelAt, context.Canceled}, {w.deadline, context.DeadlineExceeded}} {
		if end.at > 0 && end.at <= t && w.ended == nil && !(end.at == w.deadline && w.cancelAt > 0 && w.cancelAt < end.at) {
			w.ended = end.err
		}
	}
	w.now = max(w.now, t)
}

// end is when ctx ends by itself.
func (w *world) end() time.Duration {
	end := time.Duration(math.MaxInt64)
	for _, at := range []time.Duration{w.cancelAt, w.deadline} {
		if at > 0 {
			end = min(end, at)
		}
	}
	return end
}

func (w *world) cause() error {
	if w.ended == context.Canceled {
		return errStop
	}
	return w.ended
}

func (w *world) budget(format string, n int) {
	if w.tokens >= 0 {
		w.add(w.now, format, n)
	}
}

func (w *world) emit(n int, err string, delay time.Duration, last bool) {
	if w.quietEvents {
		return
	}
	w.events++
	w.add(w.now, "event %d %s %v %v", n, err, delay, last)
	if w.events == w.cancelInEvent && w.ended == nil {
		w.ended = context.Canceled
	}
}

// attempt runs step n and returns it, a hang as what it came to.
func (w *world) attempt(n int) outcome {
	w.add(w.now, "call %d", n)
	o := w.step(n)
	if o.cancels && w.ended == nil {
		w.ended = context.Canceled
	}
	w.until(w.now + o.takes)
	if o.hang {
		limit := time.Duration(math.MaxInt64)
		if w.limit > 0 {
			limit = w.now + w.limit
		}
		if w.ended != nil { // the child of an ended ctx
			o.name, o.canceled, o.timeout = w.ended.Error(), w.ended == context.Canceled, w.ended != context.Canceled
		} else if end := w.end(); end < limit {
			w.until(end)
			o.name, o.canceled, o.timeout = w.ended.Error(), w.ended == context.Canceled, w.ended != context.Canceled
		} else {
			w.until(limit)
			o.name, o.timeout = context.DeadlineExceeded.Error(), true
		}
		o.refused = o.canceled
	}
	return o
}

// reference is the loop of the contract, slow and straight. us are the draws
// that the code under test made.
func reference(s script, us []float64) trace {
	w := &world{script: s}
	var step int
	stop := func(n int, o outcome, reason error, delay time.Duration) trace {
		w.emit(n, "gave up", 0, true)
		w.add(w.now, "gave up on %s: %v after %d, %v", o.name, reason, n, delay)
		return w.trace
	}
	for n := 1; ; n++ {
		o := w.attempt(n)
		ok := o.err == nil && !o.hang
		switch {
		case o.panics || o.exits:
			return w.trace
		case ok:
			w.budget("success %d", n)
			if n > 1 {
				w.emit(n, "ok", 0, true)
			}
			w.add(w.now, "returned ok")
			return w.trace
		}
		retryable := !o.inner && (o.after || s.predicate == 1 || s.predicate == 0 && !o.refused)
		if s.limit > 0 && w.ended == nil && o.timeout {
			retryable = true
		}
		matches := w.ended == context.Canceled && o.canceled || w.ended == context.DeadlineExceeded && o.timeout
		if o.permanent || !retryable && !matches { // rows 1, 2
			w.emit(n, o.name, 0, true)
			w.add(w.now, "returned %s", o.name)
			return w.trace
		}
		if w.ended != nil { // row 3
			return stop(n, o, w.cause(), 0)
		}
		w.budget("failure %d", n) // row 4
		if most := map[bool]int{true: 3, false: s.max}[s.max == 0]; n == most {
			return stop(n, o, retry.ErrExhausted, 0)
		}
		if most := map[bool]time.Duration{true: time.Minute, false: s.maxAfter}[s.maxAfter == 0]; most > 0 && o.delay > most { // row 5
			return stop(n, o, retry.ErrRetryAfter, o.delay)
		}
		u := us[n-1]
		wait, told := s.wait(step+1, u), o.delay+time.Duration(u*float64(o.delay)/10)
		if step++; told > wait {
			wait, step = told, 0
		}
		if s.elapsed > 0 && wait > s.elapsed-w.now { // row 6
			return stop(n, o, retry.ErrElapsed, wait)
		}
		if s.deadline > 0 && wait > 0 && wait >= s.deadline-w.now { // row 7
			return stop(n, o, context.DeadlineExceeded, wait)
		}
		if w.budget("withdraw %d", n); n > s.tokens && s.tokens >= 0 { // row 8
			return stop(n, o, retry.ErrBudget, wait)
		}
		w.emit(n, o.name, wait, false) // row 9
		if w.ended == nil {
			w.until(min(w.now+wait, w.end()))
		}
		if w.ended != nil {
			w.budget("refund %d", n)
			return stop(n, o, w.cause(), wait)
		}
	}
}
