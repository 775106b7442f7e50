package eventsource

import (
	"context"
	"iter"
)

// defaultBatch is how many events a batch holds at most, if nobody says otherwise.
const defaultBatch = 512

// Batch is a piece of a store's history: Events, and the promise that everything
// that matches at or below Through is delivered with it.
type Batch struct {
	// Events are in the order of positions. There are none where nothing matched
	// up to Through.
	Events []Recorded
	// Through is as far as this batch goes. It never decreases.
	Through Position
	// CaughtUp says that Through was Head when the batch was read.
	CaughtUp bool
	// Replay says that the batch is older than the first run of this Version of
	// a [Projection], so that side effects were had before: suppress them.
	// Always false in a subscription.
	Replay bool
}

// Subscribe yields what matches q after the position `after`: first history,
// then live, for ever, in batches of at most 512 events. Nothing is skipped or
// repeated in between, and nothing above Head is yielded. A range without
// matches gives batches without events, so that Through can be saved; so does
// the start at Head, where there is nothing yet but CaughtUp to tell.
//
// The loop pulls: a slow one reads later, and never holds an append back. It
// ends after an error of the store, or of ctx, which comes with a zero Batch.
// To go on, subscribe again after the last Through. A [Projection] does that,
// keeps the position, and shares the work.
func Subscribe(ctx context.Context, s Store, q Query, after Position) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		b, err := liveBatch(ctx, s, q, after, true)
		for err == nil && yield(b, nil) {
			b, err = liveBatch(ctx, s, q, b.Through, false)
		}
		if err != nil {
			yield(Batch{}, err)
		}
	}
}

// liveBatch returns the batch after `after`, and waits for it at Head; with
// evenEmpty it does not wait there.
func liveBatch(ctx context.Context, s Store, q Query, after Position, evenEmpty bool) (b Batch, err error) {
	for ctx.Err() == nil {
		head, err := s.Head(ctx)
		if err != nil {
			return b, err
		}
		if head > after || evenEmpty && head == after {
			b, err = readBatch(ctx, s, q, after, head, defaultBatch)
			b.CaughtUp = b.Through == head
			return b, err
		}
		if err = s.Wait(ctx, after); err != nil {
			return b, err
		}
	}
	return b, context.Cause(ctx)
}

// readBatch returns at most limit events, 0 for all, after `after` and up to
// upTo.
func readBatch(ctx context.Context, s Store, q Query, after, upTo Position, limit int) (b Batch, err error) {
	if upTo <= after {
		return Batch{Through: after}, nil
	}
	for r, err := range s.Read(ctx, q, ReadOptions{After: after, UpTo: upTo, Limit: limit}) {
		if err != nil {
			return Batch{}, err
		}
		b.Events = append(b.Events, r)
	}
	b.Through = upTo
	if limit > 0 && len(b.Events) == limit {
		b.Through = b.Events[limit-1].Position
	}
	return b, nil
}
