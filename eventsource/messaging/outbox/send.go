package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

var (
	errLate = errors.New("outbox: Publish took longer than three quarters of Config.Lease")
	errLost = errors.New("outbox: lanes were lost to another relay, which sends their messages again")
)

// maxStreak is how many single messages in a row may fail before a round ends:
// the broker is down, mostly, and each failure may take as long as its timeout.
// If they are poison, the next round leaves them out.
const maxStreak = 8

// mark is what a relay remembers of a message that failed.
type mark struct {
	taken uint64 // relay.taken at the time
	tries int
}

// maxMarks bounds what is remembered; forgetting makes a failure count less.
const maxMarks = 10_000

// failure is a message that the broker did not take.
type failure struct {
	row
	attempts int
	wait     time.Duration
	park     bool
	err      error
}

// send publishes the rows of b: chains of which a message failed before one by
// one, so that they do not spoil the batch, the rest at once, and that one by one
// too if it fails.
func (r *relay) send(ctx context.Context, b *batch) {
	ctx, cancel := context.WithDeadlineCause(ctx, b.until, errLate)
	defer cancel()
	s := sending{relay: r, batch: b, blocked: make(map[string]bool)}
	suspect, rest := suspects(b.rows)
	for _, w := range suspect {
		s.one(ctx, w)
	}
	switch {
	case len(rest) == 0 || s.over(ctx):
	case len(rest) == 1:
		s.one(ctx, rest[0])
	default:
		s.together(ctx, rest)
	}
	if s.late(ctx) {
		r.batch = max(1, r.batch/2)
	} else if b.err == nil {
		r.batch = min(2*r.batch, r.o.cfg.Batch)
	}
}

// sending is the sending of one batch.
type sending struct {
	*relay
	batch   *batch
	blocked map[string]bool // chains whose head has failed
	streak  int
}

func (s *sending) over(ctx context.Context) bool { return ctx.Err() != nil || s.streak >= maxStreak }

func (s *sending) late(ctx context.Context) bool { return context.Cause(ctx) == errLate } //nolint:errorlint // it is set bare

func suspects(rows []row) (suspect, rest []row) {
	chains := make(map[string]bool)
	for i := range rows {
		if rows[i].attempts > 0 {
			chains[chain(&rows[i].Message)] = true
		}
	}
	if len(chains) == 0 {
		return nil, rows
	}
	for _, w := range rows {
		if chains[chain(&w.Message)] {
			suspect = append(suspect, w)
		} else {
			rest = append(rest, w)
		}
	}
	return suspect, rest
}

func (s *sending) together(ctx context.Context, rows []row) {
	msgs := make([]messaging.Message, len(rows))
	for i := range rows {
		msgs[i] = rows[i].Message
	}
	err := s.pub.Publish(ctx, msgs...)
	if err == nil {
		s.took(rows...)
		return
	}
	s.note(ctx, err)
	for _, w := range rows {
		s.one(ctx, w)
	}
}

// one publishes a message on its own, unless its chain waits or the round is over.
func (s *sending) one(ctx context.Context, w row) {
	if s.over(ctx) || s.blocked[chain(&w.Message)] {
		return
	}
	err := s.pub.Publish(ctx, w.Message)
	if err == nil {
		s.took(w)
		return
	}
	s.note(ctx, err)
	s.blocked[chain(&w.Message)] = true
	if ctx.Err() != nil && (!s.late(ctx) || s.relay.batch > 1) {
		return // that says nothing about the message
	}
	s.streak++
	s.failed(w, err)
}

func (s *sending) took(rows ...row) {
	s.streak = 0
	s.taken += uint64(len(rows))
	s.batch.taken = append(s.batch.taken, rows...)
	if len(s.marks) > 0 {
		for _, w := range rows {
			delete(s.marks, w.seq)
		}
	}
}

// note keeps the first error, and the longest wait that one asks for.
func (s *sending) note(ctx context.Context, err error) {
	s.batch.after = max(s.batch.after, retryAfter(err))
	if s.batch.err == nil {
		s.batch.err = ended(ctx, err)
	}
}

// failed counts a failure. The first counts, and each one since whose
// predecessor the broker has taken something else.
func (s *sending) failed(w row, err error) {
	m, seen := s.marks[w.seq]
	proven := seen && s.taken > m.taken
	f := failure{row: w, attempts: w.attempts, err: err, wait: max(s.o.backoff(m.tries), retryAfter(err))}
	if w.attempts == 0 || proven {
		f.attempts++
	}
	limit := s.o.cfg.MaxAttempts
	f.park = final(err) || limit > 0 && proven && f.attempts >= limit
	if f.park {
		delete(s.marks, w.seq) // its chain goes on in the next round, when that is on record
	} else {
		if len(s.marks) >= maxMarks {
			clear(s.marks)
		}
		s.marks[w.seq] = mark{taken: s.taken, tries: m.tries + 1}
	}
	s.batch.failed = append(s.batch.failed, f)
}

// final tells that the same message will never be taken.
func final(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](err)
	return ok && !e.Retryable() && retryAfter(err) <= 0
}

// retryAfter is what the error asks for: an open breaker's rejection is not
// retryable and says when to come back.
func retryAfter(err error) time.Duration {
	e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err)
	if !ok {
		return 0
	}
	return e.RetryAfter()
}
