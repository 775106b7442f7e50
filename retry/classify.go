package retry

import (
	"context"
	"errors"
	"time"
)

// What an error may say about itself, beside the marks of this package. Two
// packages understand each other by these methods without importing each other:
// that is how an open breaker's rejection ends a call at once.
type (
	opinionated interface{ Retryable() bool }
	delaying    interface{ RetryAfter() time.Duration }
	matching    interface{ Is(error) bool }
	wrapping    interface{ Unwrap() error }
	joining     interface{ Unwrap() []error }
)

// DefaultRetryable reports whether err is worth a retry. The marks of this
// package decide; without one, the nearest Retryable() bool in err's tree;
// without that, everything but nil and [context.Canceled] is.
func DefaultRetryable(err error) bool {
	if err == nil {
		return false
	}
	var s signs
	s.walk(err)
	switch {
	case s.permanent || s.gaveUp != nil:
		return false
	case s.after:
		return true
	default:
		return s.byDefault()
	}
}

// signs is what one walk over an error's tree finds.
type signs struct {
	gaveUp    *Error        // the first one: an inner loop stopped
	delay     time.Duration // the longest RetryAfter
	permanent bool          // a Permanent mark
	after     bool          // an After mark
	canceled  bool          // matches context.Canceled
	spoken    bool          // has a Retryable method,
	opinion   bool          // the nearest of which says this
}

// byDefault is DefaultRetryable's verdict on an error without a mark. Why not
// retry only what is known to be temporary: nearly nothing says so of itself,
// and a retry that does not help costs less than one that is missing.
func (s *signs) byDefault() bool {
	if s.spoken {
		return s.opinion
	}
	return !s.canceled
}

// retryable is whether p retries err, whose signs are s, if time permits.
// ended tells that the caller's ctx has.
func (p *Policy) retryable(err error, s *signs, ended bool) bool {
	switch {
	// Its own limit is the policy's doing, so no predicate is asked about it.
	case p.AttemptTimeout > 0 && !ended && timedOut(err, s.gaveUp):
		return true
	case s.gaveUp != nil:
		return false
	case s.after:
		return true
	case p.Retryable != nil:
		return p.Retryable(err)
	default:
		return s.byDefault()
	}
}

// timedOut: an inner loop is judged by why it stopped, not by what failed last
// in it. One that spent its attempts on timeouts has had its retries.
func timedOut(err error, gaveUp *Error) bool {
	if gaveUp != nil {
		err = gaveUp.Reason
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// walk visits err's tree in pre-order, as errors.Is does, and all of it: a
// Permanent mark counts wherever it is. One walk that gathers everything costs
// less than one errors.As for each question. As methods are not consulted: an
// error that passes for another one has not been marked.
func (s *signs) walk(err error) {
	for err != nil {
		switch e := err.(type) {
		case *permanentError:
			s.permanent = true
			err = e.err
		case *afterError:
			s.after = true
			s.delay = max(s.delay, e.delay)
			err = e.err
		case *Error:
			if e == nil {
				return // a typed nil says nothing
			}
			if s.gaveUp == nil {
				s.gaveUp = e
			}
			s.walk(e.Err)
			err = e.Reason
		// One switch over all behaviours costs one lookup for an error that has
		// none of them, which most leaves are; five assertions cost five.
		case opinionated, delaying, matching, wrapping, joining:
			s.listen(err)
			err = s.below(err)
		default:
			s.canceled = s.canceled || err == context.Canceled
			return
		}
	}
}

// listen notes what an error of another package says about itself.
func (s *signs) listen(err error) {
	if e, ok := err.(opinionated); ok && !s.spoken {
		s.spoken, s.opinion = true, e.Retryable()
	}
	if e, ok := err.(delaying); ok {
		s.delay = max(s.delay, e.RetryAfter())
	}
	// Package net's errors, for instance, are context.Canceled by their Is alone.
	if e, ok := err.(matching); ok && !s.canceled {
		s.canceled = e.Is(context.Canceled)
	}
}

// below walks all but the last child of err and returns that one.
func (s *signs) below(err error) error {
	switch e := err.(type) {
	case wrapping:
		return e.Unwrap()
	case joining:
		for _, child := range e.Unwrap() {
			s.walk(child)
		}
	}
	return nil
}
