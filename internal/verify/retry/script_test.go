package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// outcome is how one attempt ends, with what the table of the contract asks
// about it, told apart from the error that the code under test has to read.
type outcome struct {
	name  string
	err   error
	takes time.Duration // whatever the context says

	hang      bool          // until the attempt's context ends, and returns its error
	cancels   bool          // cancels the caller's ctx first
	panics    bool          // instead of returning
	exits     bool          // runtime.Goexit instead of returning
	permanent bool          // has that mark
	inner     bool          // an inner loop gave up
	timeout   bool          // is, or an inner loop gave up because of, a timeout
	after     bool          // has that mark
	refused   bool          // not retryable by default
	canceled  bool          // matches context.Canceled
	delay     time.Duration // the server's
}

// foreign is the error of another package.
type foreign struct {
	retry bool
	after time.Duration
}

func (f foreign) Error() string             { return "foreign" }
func (f foreign) Retryable() bool           { return f.retry }
func (f foreign) RetryAfter() time.Duration { return f.after }

var (
	errDown = errors.New("down")
	errStop = errors.New("stopped by the caller")
)

func outcomes() []outcome {
	gaveUp := func(reason error) error { return fmt.Errorf("inner: %w", &retry.Error{Err: errDown, Reason: reason}) }
	return []outcome{
		{name: "ok"},
		{name: "slow ok", takes: 700 * time.Millisecond},
		{name: "down", err: errDown},
		{name: "down", err: errDown},
		{name: "down", err: errDown},
		{name: "slow down", err: errDown, takes: 300 * time.Millisecond},
		{name: "down, cancels", err: errDown, cancels: true},
		{name: "ok, cancels", cancels: true},
		{name: "permanent", err: fmt.Errorf("x: %w", retry.Permanent(errDown)), permanent: true, refused: true},
		{name: "permanent and after", err: retry.After(time.Second, retry.Permanent(errDown)), permanent: true, after: true, refused: true},
		{name: "after 0", err: retry.After(0, errDown), after: true},
		{name: "after 300ms", err: errors.Join(errDown, retry.After(300*time.Millisecond, errDown)), after: true, delay: 300 * time.Millisecond},
		{name: "after 3s", err: retry.After(3*time.Second, foreign{}), after: true, delay: 3 * time.Second},
		{name: "after 2h", err: retry.After(2*time.Hour, errDown), after: true, delay: 2 * time.Hour},
		{name: "foreign yes", err: foreign{true, time.Second}, delay: time.Second},
		{name: "foreign no", err: fmt.Errorf("x: %w", foreign{false, 500 * time.Millisecond}), refused: true, delay: 500 * time.Millisecond},
		{name: "canceled", err: context.Canceled, refused: true, canceled: true},
		{name: "timeout", err: fmt.Errorf("x: %w", context.DeadlineExceeded), timeout: true},
		{name: "timeout, cancels", err: context.DeadlineExceeded, timeout: true, cancels: true},
		{name: "inner exhausted", err: gaveUp(retry.ErrExhausted), inner: true, refused: true},
		{name: "inner timeout", err: gaveUp(context.DeadlineExceeded), inner: true, timeout: true, refused: true},
		{name: "hang", hang: true},
		{name: "panic", panics: true},
		{name: "exit", exits: true},
	}
}

// script is one call: a policy, what the attempts do, and when the caller leaves.
type script struct {
	max                      int
	elapsed, limit, maxAfter time.Duration
	backoff                  time.Duration // see wait
	predicate                int           // 0: none, 1: always true, 2: always false
	exact                    bool          // waits that end just at the deadline or at MaxElapsed, and nothing else that takes time
	tokens                   int           // -1: no budget
	deadline, cancelAt       time.Duration // 0: none
	cancelInEvent            int           // 0: never
	steps                    []outcome     // then ok for ever
	quietEvents              bool          // no OnEvent
}

func pick[T any](r *rand.Rand, choice ...T) T { return choice[r.IntN(len(choice))] }

// newScript draws a script. Odd nanoseconds keep the caller's times apart from
// all others, so that no order is left to chance.
func newScript(r *rand.Rand, from []outcome) script {
	s := script{
		max:       pick(r, -1, 0, 0, 1, 2, 6),
		elapsed:   pick(r, 0, 0, 0, time.Second, 4*time.Second),
		limit:     pick(r, 0, 0, 500*time.Millisecond),
		maxAfter:  pick(r, 0, 0, -1, time.Second),
		backoff:   pick(r, 0, 0, 100*time.Millisecond, time.Second, 1<<62),
		predicate: pick(r, 0, 0, 1, 2),
		tokens:    pick(r, -1, 0, 1, 9),
		deadline:  pick(r, 0, 0, 0, 600*time.Millisecond+3, 5*time.Second+3),
		cancelAt:  pick(r, 0, 0, 0, 150*time.Millisecond+7, 2*time.Second+7),
	}
	if s.exact = r.IntN(8) == 0; s.exact {
		s.elapsed, s.deadline, s.backoff = pick(r, 0, time.Second), pick(r, 0, time.Second), 500*time.Millisecond
		s.cancelAt, s.limit = 0, 0
	}
	if s.backoff > time.Hour && s.elapsed == 0 && s.deadline == 0 {
		s.backoff = time.Hour // virtual time ends in the year 2262
	}
	s.cancelInEvent = pick(r, 0, 0, 0, 0, 1, 2)
	s.quietEvents = s.cancelInEvent == 0 && r.IntN(3) == 0
	for range r.IntN(8) {
		step := pick(r, from...)
		if s.exact && (step.takes > 0 || step.hang) {
			continue
		}
		if step.hang && s.limit == 0 && s.deadline == 0 && s.cancelAt == 0 {
			continue // for ever
		}
		s.steps = append(s.steps, step)
	}
	return s
}

func (s script) step(n int) outcome {
	if n <= len(s.steps) {
		return s.steps[n-1]
	}
	return outcome{name: "ok"}
}

// wait is the Backoff: it grows up to the third failure, and draws half.
func (s script) wait(step int, u float64) time.Duration {
	if s.exact {
		return s.backoff
	}
	if s.backoff < time.Hour {
		return (s.backoff*time.Duration(min(step, 3)) + time.Duration(u*float64(s.backoff))) / 2
	}
	return s.backoff
}
