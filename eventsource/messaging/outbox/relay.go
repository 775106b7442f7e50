package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Relay publishes what transactions have put, until ctx ends; it then returns an
// error that matches context.Cause(ctx). Run one per process: several share the
// work, and one is enough. It runs everything, pub and OnEvent too, on the
// caller's goroutine; a panic there goes on after the lanes are free. An error of
// the broker or the database does not end it: it waits and goes on.
//
// Delivery is at least once: a message is sent again if the process dies between
// Publish and the DELETE. The first deliveries of a key are in order, also when a
// relay that was paused for longer than Lease wakes up and repeats what it holds,
// provided that pub keeps a prefix, and not any subset, of what it fails to
// publish at once.
//
// When a batch fails, its messages are sent one by one. One that fails holds up
// its key and nothing else. It is parked at once if a method Retryable() bool of
// its error returns false and no method RetryAfter() of it says when to come
// back, else after MaxAttempts failures between which the broker took some other
// message: so an outage parks nothing, however long. Its key then goes on; see
// [Outbox.Parked]. Negative MaxAttempts parks only what cannot be retried.
//
// Relay also deletes inbox rows older than Keep. A claim costs three round trips
// and one fsync, a look at an empty outbox one round trip, which writes nothing.
func (o *Outbox) Relay(ctx context.Context, pub messaging.Publisher) error {
	if pub == nil {
		return fmt.Errorf("%w: outbox: the publisher is nil", messaging.ErrInvalid)
	}
	r := &relay{o: o, pub: pub, id: id.New().String(), marks: make(map[int64]mark), batch: o.cfg.Batch}
	for ctx.Err() == nil {
		b := r.round(ctx)
		swept, err := r.sweep(ctx)
		if b.err == nil {
			b.err = err
		}
		if b.claimed || b.err != nil && ctx.Err() == nil {
			r.tell(ctx, b)
		}
		if b.progress() || swept {
			r.streak = 0
			continue
		}
		r.rest(ctx, b)
	}
	return fmt.Errorf("outbox: relay ended: %w", context.Cause(ctx))
}

// Wake makes the Relay of this Outbox look at once: call it after a commit, or
// from LISTEN. It never blocks. A relay that waits because of a failure goes on
// waiting.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default: // it is about to look
	}
}

// relay is the state of one Relay.
type relay struct {
	o     *Outbox
	pub   messaging.Publisher
	id    string
	turn  uint64
	open  string // a claim whose end is not known, "" if there is none
	batch int    // at most Config.Batch; less after a Publish that took too long

	taken  uint64         // messages that the broker has taken so far
	marks  map[int64]mark // by seq, of messages that have failed here
	shun   []string       // chains that failed since the broker last took something: others go first
	streak int            // rounds in a row that brought nothing forward
	swept  time.Time
}

// batch is one claim and what becomes of it.
type batch struct {
	claim   string
	claimed bool
	lanes   []int64
	settled bool      // the database did what became of it
	until   time.Time // when Publish must be over, by this process's clock
	rows    []row

	taken  []row
	failed []failure // with their new attempts, or to be parked
	parked int
	after  time.Duration // the longest RetryAfter of what failed
	err    error
}

// row is a message in line.
type row struct {
	messaging.Message
	seq, lane int64
	attempts  int
	waits     bool // it failed a moment ago
}

// progress tells whether to look again at once.
func (b *batch) progress() bool { return b.settled && (len(b.taken) > 0 || b.parked > 0) }

// round is one claim: lanes, messages, Publish, DELETE.
func (r *relay) round(ctx context.Context) (b *batch) {
	r.turn++
	b = &batch{claim: fmt.Sprintf("%s/%d", r.id, r.turn)}
	b.until = time.Now().Add(r.o.cfg.Lease * 3 / 4) // before the claim, whose lease begins later
	open := r.open
	r.open = b.claim
	if b.lanes, b.err = r.o.claim(ctx, b.claim, open); b.err != nil {
		return b
	}
	if len(b.lanes) == 0 {
		r.open = ""
		return b
	}
	b.claimed = true
	done := false
	defer func() {
		if !done { // a panic or Goexit: what was taken is taken
			r.settle(ctx, b)
		}
	}()
	if b.err = r.o.pick(ctx, b, r.batch, r.shun); b.err == nil {
		r.send(ctx, b)
		r.remember(b)
	}
	done = true
	r.settle(ctx, b)
	return b
}

// maxShun bounds the statement that leaves them out.
const maxShun = 1000

// remember sees to it that the next round tries others, while nothing is taken:
// any amount of poison at the head of the line is passed by.
func (r *relay) remember(b *batch) {
	if len(b.taken) > 0 || len(b.rows) == 0 || len(r.shun) >= maxShun {
		r.shun = nil
		return
	}
	for i := range b.failed {
		r.shun = append(r.shun, chain(&b.failed[i].Message))
	}
}

// settling is how long what was published may take to be deleted when ctx has
// ended.
const settling = 5 * time.Second

func (r *relay) settle(ctx context.Context, b *batch) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	err := r.o.settle(ctx, b)
	b.settled = err == nil
	if err == nil || errors.Is(err, errLost) {
		r.open = ""
	}
	if err != nil && b.err == nil {
		b.err = err
	}
}

func (r *relay) tell(ctx context.Context, b *batch) {
	if r.o.cfg.OnEvent == nil {
		return
	}
	e := Event{Published: len(b.taken), Parked: b.parked, Err: b.err}
	lag, err := r.o.lag(ctx)
	if e.Lag = lag; e.Err == nil && ctx.Err() == nil {
		e.Err = err
	}
	r.o.cfg.OnEvent(e)
}

// rest waits for the next look. Only a wait without a failure is cut short.
func (r *relay) rest(ctx context.Context, b *batch) {
	pause, wake := r.o.cfg.Poll, r.o.wake
	if b.err != nil {
		pause, wake = max(r.o.backoff(r.streak), min(b.after, r.o.cfg.Lease)), nil
		r.streak++
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// backoff doubles from Poll to ten times Poll.
func (o *Outbox) backoff(n int) time.Duration {
	return min(o.cfg.Poll<<min(n, 4), 10*o.cfg.Poll)
}

// sweepEvery is how often the inbox is looked at.
const sweepEvery = time.Minute

// sweep deletes old inbox rows, and tells whether there may be more.
func (r *relay) sweep(ctx context.Context) (more bool, err error) {
	keep := r.o.cfg.Keep
	if keep < 0 || time.Since(r.swept) < min(sweepEvery, keep) {
		return false, nil
	}
	n, err := r.o.sweep(ctx)
	if err == nil && n == sweepRows {
		return true, nil
	}
	r.swept = time.Now()
	return false, ended(ctx, err)
}
