package eventsource

import (
	"context"
	"sync"
)

// A feed gives the partitions of one Run their events. Those near each other in
// the history share a ring of the last events, so that the process reads the
// store once for all; one that is behind the ring reads for itself until it has
// come up. Nobody reads ahead of the fastest.
type feed struct {
	store Store
	query Query
	parts int
	key   func(Recorded) string

	mu      sync.Mutex
	ring    ring
	head    Position      // when ring.high was read
	loading chan struct{} // closed when whoever reads the store now is done
}

// next waits for the batch of partition part after `after`, of at most limit
// events and, if bound is not 0, not beyond bound. Batches may have no events.
func (f *feed) next(ctx context.Context, part int, after, bound Position, limit int) (b Batch, head Position, err error) {
	if f.parts == 1 { // nobody to share with, and no copy to make
		return f.direct(ctx, part, after, bound, limit)
	}
	for {
		f.mu.Lock()
		if f.loading == nil && after > f.ring.high { // the ring goes where the fastest are
			f.ring = ring{low: after, high: after}
		}
		b, ok := f.ring.collect(part, after, bound, limit)
		b.CaughtUp = b.Through == f.head
		head, loading := f.head, f.loading
		mine := ok && b.Through == after && loading == nil
		if mine {
			loading = make(chan struct{})
			f.loading = loading
		}
		f.mu.Unlock()
		switch {
		case !ok:
			return f.direct(ctx, part, after, bound, limit)
		case b.Through > after:
			return b, head, nil
		case mine:
			if err := f.load(ctx, after); err != nil {
				return Batch{}, head, err
			}
		default:
			select {
			case <-loading:
			case <-ctx.Done():
				return Batch{}, head, context.Cause(ctx)
			}
		}
	}
}

// direct reads the store for one partition.
func (f *feed) direct(ctx context.Context, part int, after, bound Position, limit int) (b Batch, head Position, err error) {
	if head, err = f.wait(ctx, after); err != nil {
		return b, head, err
	}
	upTo := head
	if bound > 0 {
		upTo = min(head, bound)
	}
	read := limit
	if f.parts > 1 {
		read = max(limit, defaultBatch)
	}
	if b, err = readBatch(ctx, f.store, f.query, after, upTo, read); err != nil {
		return b, head, err
	}
	b.Events = f.only(part, b.Events)
	if len(b.Events) > limit {
		b.Events = b.Events[:limit:limit]
		b.Through = b.Events[limit-1].Position
	}
	b.CaughtUp = b.Through == head
	return b, head, nil
}

// again reads the events of a batch once more, for an Apply that has failed and
// may have changed its copies.
func (f *feed) again(ctx context.Context, part int, after Position, b Batch) (Batch, error) {
	all, err := readBatch(ctx, f.store, f.query, after, b.Through, 0)
	b.Events = f.only(part, all.Events)
	return b, err
}

func (f *feed) only(part int, events []Recorded) []Recorded {
	if f.parts == 1 {
		return events
	}
	kept := events[:0]
	for _, r := range events {
		if partition(f.key(r), f.parts) == part {
			kept = append(kept, r)
		}
	}
	return kept
}

// wait returns Head once it is greater than after.
func (f *feed) wait(ctx context.Context, after Position) (Position, error) {
	head, err := f.store.Head(ctx)
	for err == nil && head <= after {
		if err = f.store.Wait(ctx, after); err == nil {
			head, err = f.store.Head(ctx)
		}
	}
	return head, err
}

// load reads what comes after high into the ring, for all that wait for
// loading. Key is the user's: it may panic, so no lock is held.
func (f *feed) load(ctx context.Context, high Position) error {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(f.loading)
		f.loading = nil
	}()
	head, err := f.wait(ctx, high)
	if err != nil {
		return err
	}
	b, err := readBatch(ctx, f.store, f.query, high, head, defaultBatch)
	if err != nil {
		return err
	}
	parts := make([]int, len(b.Events))
	for i, r := range b.Events {
		parts[i] = partition(f.key(r), f.parts)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range b.Events {
		f.ring.push(ringed{r, parts[i], false})
	}
	f.ring.high, f.head = b.Through, head
	return nil
}
