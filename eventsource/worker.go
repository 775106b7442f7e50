package eventsource

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A worker is the one goroutine of a partition that this process owns.
type worker struct {
	p      *Projection
	part   int
	name   string // of its checkpoint
	owner  string // the Run's id
	store  Store
	cps    Checkpoints
	feed   *feed
	replay Position

	// ctx is Apply's: it ends with Run, and when the partition is lost. rest ends
	// with it, and when the partition is wanted elsewhere, which can wait until
	// the batch is done.
	ctx  context.Context
	lose context.CancelCauseFunc
	rest context.Context
	stop context.CancelFunc

	saved    Checkpoint // as the store has it
	savedAt  time.Time
	through  Position // how far it is; beyond saved after a range without matches
	head     Position
	failures int // since the last step that went well, for Backoff
}

func newWorker(ctx context.Context, w worker) *worker {
	w.ctx, w.lose = context.WithCancelCause(ctx)
	w.rest, w.stop = context.WithCancel(w.ctx)
	return &w
}

// work returns nil when the partition was given up or lost, or when ctx has
// ended, and an error that ends Run.
func (w *worker) work() error {
	err := w.until(w.take)
	for err == nil {
		err = w.until(w.step)
	}
	switch {
	case errors.Is(context.Cause(w.ctx), ErrFenced) || errors.Is(err, errLost):
		w.report(Progress{Err: ErrFenced})
		return nil
	case w.rest.Err() != nil:
		w.flush() //nolint:errcheck // somebody reads this range again, which has no matches
		return nil
	}
	return err
}

// errLost says that a save of this worker was fenced.
var errLost = fmt.Errorf("%w: the partition has another owner", ErrFenced)

// until calls step until it succeeds, with Backoff in between: a database that
// restarts does not end Run. It returns what does end the worker.
func (w *worker) until(step func() error) error {
	for {
		err := step()
		switch {
		case err == nil:
			w.failures = 0
			return nil
		case w.rest.Err() != nil:
			return err
		case errors.Is(err, errLost) || isFinal(err):
			return err
		}
		w.failures++
		w.report(Progress{Attempt: w.failures, Err: err})
		if err := w.pause(w.failures); err != nil {
			return err
		}
	}
}

// isFinal tells what no repeat can change.
func isFinal(err error) bool {
	var f *finalError
	return errors.As(err, &f) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrClosed) || errors.Is(err, ErrCorrupt)
}

// A finalError ends Run although what it wraps need not.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

func (w *worker) pause(failures int) error { return sleep(w.rest, w.p.Backoff(failures)) }

// take raises the epoch, and so fences the former owner, before it believes the
// position.
func (w *worker) take() error {
	for w.rest.Err() == nil {
		was, err := w.cps.LoadCheckpoint(w.rest, w.name)
		if err != nil {
			return err
		}
		now := Checkpoint{Position: was.Position, Epoch: was.Epoch + 1, Data: []byte(w.owner)}
		if was.Epoch == 0 {
			now.Position = w.p.From
		}
		err = w.cps.SaveCheckpoint(w.rest, w.name, was, now, nil)
		if errors.Is(err, ErrFenced) {
			continue // the former owner has just saved
		}
		if err != nil {
			return err
		}
		w.saved, w.savedAt, w.through = now, time.Now(), now.Position
		w.head, err = w.store.Head(w.rest)
		if err == nil && now.Position > max(w.head, w.p.From) {
			return fmt.Errorf("%w: checkpoint %s is at position %d, Head at %d", ErrCorrupt, w.name, now.Position, w.head)
		}
		return err
	}
	return context.Cause(w.rest)
}

// step waits for the next batch and delivers it.
func (w *worker) step() error {
	b, err := w.next()
	if err != nil {
		return err
	}
	if len(b.Events) > 0 {
		return w.deliver(b)
	}
	w.through = b.Through
	return w.flushDue()
}

// next returns the next batch. It is without events when it is time to save an
// advance without events.
func (w *worker) next() (Batch, error) {
	ctx := w.rest
	if w.through > w.saved.Position {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.savedAt.Add(saveEmpty))
		defer cancel()
	}
	bound := Position(0)
	if w.through < w.replay {
		bound = w.replay
	}
	b, head, err := w.feed.next(ctx, w.part, w.through, bound, w.p.BatchSize)
	if err != nil && ctx.Err() != nil && w.rest.Err() == nil {
		return Batch{Through: w.through}, nil
	}
	b.Replay = b.Through <= w.replay
	w.head = max(w.head, head)
	return b, err
}

// flushDue saves an advance without events, at most every saveEmpty.
func (w *worker) flushDue() error {
	if time.Since(w.savedAt) < saveEmpty {
		return nil
	}
	return w.flush()
}

func (w *worker) flush() error {
	if w.through == w.saved.Position {
		return nil
	}
	if _, err := w.save(w.through, nil); err != nil {
		return err
	}
	w.report(Progress{})
	return nil
}

func (w *worker) report(e Progress) {
	e.Partition, e.Through, e.Head = w.part, w.through, w.head
	w.p.report(e)
}
