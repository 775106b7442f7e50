package eventsource

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/eventsource/internal/wiring"
)

// deliver has a batch applied; after MaxAttempts failures event by event, since
// then one of them is the cause and the others should not wait for it.
func (w *worker) deliver(b Batch) error {
	from := w.through
	gaveUp, err := w.attempt(b)
	if gaveUp == nil || err != nil {
		return err
	}
	if len(b.Events) == 1 {
		return w.park(b, gaveUp)
	}
	if b, err = w.feed.again(w.rest, w.part, from, b); err != nil {
		return err
	}
	for i := range b.Events {
		one := b.single(i)
		gaveUp, err := w.attempt(one)
		if gaveUp != nil {
			err = w.park(one, gaveUp)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// single is the part of b that ends with event i.
func (b Batch) single(i int) Batch {
	one := Batch{Events: b.Events[i : i+1 : i+1], Through: b.Events[i].Position, Replay: b.Replay}
	if i == len(b.Events)-1 {
		one.Through, one.CaughtUp = b.Through, b.CaughtUp
	}
	return one
}

// attempt has b applied, again and again until Apply has failed MaxAttempts
// times: gaveUp is its last error then. err ends the delivery.
func (w *worker) attempt(b Batch) (gaveUp, err error) {
	from := w.through
	for tries, failures := 1, 0; ; tries++ {
		failed, err := w.apply(b)
		if err == nil {
			return nil, nil
		}
		if err := w.verdict(b, failed, err); err != nil {
			return nil, err
		}
		if failed { // and not only the save, which says nothing about the events
			failures++
		}
		w.report(Progress{Attempt: tries, Err: err})
		if failures > 0 && failures == w.p.MaxAttempts {
			return err, nil
		}
		if b, err = w.rested(tries, from, b); err != nil {
			return nil, err
		}
	}
}

// park takes away an event that Apply has given up on. An error of Park is one
// more failure, after which Apply is asked first.
func (w *worker) park(one Batch, cause error) error {
	if w.p.Park == nil {
		return &finalError{fmt.Errorf("eventsource: projection %s failed %d times on the event at position %d: %w",
			w.p.Name, w.p.MaxAttempts, one.Events[0].Position, cause)}
	}
	from := w.through
	for tries := w.p.MaxAttempts + 1; ; tries++ {
		one, err := w.feed.again(w.rest, w.part, from, one)
		if err != nil {
			return err
		}
		failed, err := w.save(one.Through, func(ctx context.Context) error { return w.p.Park(ctx, one.Events[0], cause) })
		if err == nil {
			w.through = one.Through
			w.report(Progress{Parked: 1})
			return nil
		}
		if err := w.verdict(one, failed, err); err != nil {
			return err
		}
		w.report(Progress{Attempt: tries, Err: err})
		if one, err = w.rested(tries, from, one); err != nil {
			return err
		}
		if failed, cause = w.apply(one); cause == nil {
			return nil
		}
		if err := w.verdict(one, failed, cause); err != nil {
			return err
		}
	}
}

// apply makes one attempt. failed says that the error is Apply's own.
func (w *worker) apply(b Batch) (failed bool, err error) {
	failed, err = w.save(b.Through, func(ctx context.Context) error { return w.p.Apply(ctx, b) })
	if err == nil {
		w.through = b.Through
		w.report(Progress{Events: len(b.Events)})
	}
	return failed, err
}

// verdict returns nil if a failure is worth another attempt, else how the
// delivery ends.
func (w *worker) verdict(b Batch, failed bool, err error) error {
	switch {
	case !failed && errors.Is(err, errLost):
		return err
	case w.rest.Err() != nil:
		return context.Cause(w.rest)
	case !failed && isFinal(err):
		return err
	case failed && w.hopeless(err):
		return &finalError{fmt.Errorf("eventsource: projection %s, batch up to position %d: %w", w.p.Name, b.Through, err)}
	}
	return nil
}

// hopeless tells of an error of Apply whether no repeat can help, and no Park.
func (w *worker) hopeless(err error) bool {
	if _, wrong := errors.AsType[*wiring.Error](err); wrong {
		return true
	}
	return errors.Is(err, ErrInvalid) && (w.p.Park == nil || w.p.MaxAttempts == 0)
}

// rested waits for Backoff and returns b with fresh copies of its events, since
// those of before belong to Apply.
func (w *worker) rested(tries int, from Position, b Batch) (Batch, error) {
	if err := w.pause(tries); err != nil {
		return b, err
	}
	return w.feed.again(w.rest, w.part, from, b)
}
