package eventsource

import (
	"context"
	"errors"
	"sync"
	"time"
)

// save moves the checkpoint to `to`, with what apply does; failed says that the
// error is apply's, and not that of a store. It works on after the worker's ctx has ended: apply's ctx
// ends then, but if it returns nil all the same its batch is saved.
func (w *worker) save(to Position, apply func(context.Context) error) (failed bool, err error) {
	patient := newPatience(w.ctx, w.p.Lease)
	defer patient.end()
	var guarded func(context.Context) error
	var panicked *crash
	if apply != nil {
		guarded = func(ctx context.Context) (err error) {
			patient.hold()
			defer patient.release()
			ctx, cancel := endingWith(ctx, w.ctx)
			defer cancel()
			// The store sees an error, so that it undoes what it has begun.
			defer func() {
				if panicked = crashed(recover()); panicked != nil {
					err = panicked
				}
			}()
			err = apply(ctx)
			failed = err != nil
			return err
		}
	}
	next := Checkpoint{Position: to, Epoch: w.saved.Epoch, Data: w.saved.Data}
	err = w.cps.SaveCheckpoint(patient.ctx, w.name, w.saved, next, guarded)
	if panicked != nil {
		panic(panicked)
	}
	switch {
	case err == nil:
		w.saved, w.savedAt = next, time.Now()
	case !failed && errors.Is(err, ErrFenced):
		err = errLost
	case failed && w.rest.Err() == nil:
		return w.blame(err)
	}
	return failed, err
}

// blame asks whether an error of apply is about the events. It is not if the
// checkpoint has moved, which a store with transactions may find out within
// apply, or cannot be read: an outage, often of the database that apply writes
// to as well, should park nothing.
func (w *worker) blame(err error) (failed bool, _ error) {
	now, loadErr := w.cps.LoadCheckpoint(w.rest, w.name)
	switch {
	case loadErr != nil:
		return false, err
	case now.Position != w.saved.Position || now.Epoch != w.saved.Epoch:
		return false, errLost
	}
	return true, err
}

// endingWith returns a context with the values of ctx that ends with either.
// The values matter: a store hands its transaction over in them.
func endingWith(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// A patience is a context that outlives another, so that work in progress can
// be finished: by grace, which does not run while it is held.
type patience struct {
	ctx    context.Context
	cancel context.CancelFunc
	stop   func() bool
	grace  time.Duration

	mu    sync.Mutex
	held  bool
	over  bool // the other context has ended
	timer *time.Timer
}

func newPatience(other context.Context, grace time.Duration) *patience {
	p := &patience{grace: grace}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(other))
	p.stop = context.AfterFunc(other, func() { p.set(func() { p.over = true }) })
	return p
}

func (p *patience) hold()    { p.set(func() { p.held = true }) }
func (p *patience) release() { p.set(func() { p.held = false }) }

// end frees what the patience holds.
func (p *patience) end() {
	p.stop()
	p.cancel()
	p.set(func() { p.held = true })
}

func (p *patience) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if p.over && !p.held {
		p.timer = time.AfterFunc(p.grace, p.cancel)
	}
}
