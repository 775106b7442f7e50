package eventsource

import (
	"context"
	"fmt"
)

// known tells whether the first event of a command with this Key is stored.
func (t *try[C, E, S]) known(ctx context.Context) (bool, error) {
	for _, err := range t.store.Read(ctx, Query{{IDs: []string{t.id(0)}}}, ReadOptions{Limit: 1}) {
		return err == nil, err
	}
	return false, nil
}

// repeat returns the outcome of the first command with this Key: its events, and
// the state right after them, whatever has happened since.
func (t *try[C, E, S]) repeat(ctx context.Context) (out Outcome[E, S], err error) {
	recorded, err := t.recorded(ctx)
	if err != nil {
		return out, err
	}
	first, last := recorded[0], recorded[len(recorded)-1]
	out.Result = Result{First: first.Position, Last: last.Position, Version: last.Version, Duplicate: true}
	q, o, before := Stream(t.in.Stream), ReadOptions{UpToVersion: first.Version - 1}, first.Version > 1
	if len(t.in.Within) > 0 {
		q, o, before = t.in.Within, ReadOptions{UpTo: first.Position - 1}, first.Position > 1
	}
	out.State = t.d.initial()
	if before { // a bound of 0 would be none
		if out.State, _, err = Fold(ctx, t.store, t.codec, q, o, out.State, t.d.Evolve); err != nil {
			return out, err
		}
	}
	for _, r := range recorded {
		e, err := t.codec.Decode(r)
		if err != nil {
			return out, err
		}
		out.Events, out.State = append(out.Events, e), t.d.Evolve(out.State, e)
	}
	return out, nil
}

// recorded reads the events of the first command with this Key, which nobody
// knows the number of: some ids at a time, until one is missing.
func (t *try[C, E, S]) recorded(ctx context.Context) ([]Recorded, error) {
	const chunk = 64
	var all []Recorded
	for {
		ids := make([]string, chunk)
		for i := range ids {
			ids[i] = t.id(len(all) + i)
		}
		n := 0
		for r, err := range t.store.Read(ctx, Query{{IDs: ids}}, ReadOptions{}) {
			if err != nil {
				return nil, err
			}
			if r.ID != ids[n] {
				return nil, fmt.Errorf("%w: event %d of key %q has id %s, want %s", ErrCorrupt, len(all), t.in.Key, r.ID, ids[n])
			}
			all = append(all, r)
			if n++; n == chunk {
				break
			}
		}
		if n < chunk {
			if len(all) == 0 {
				return nil, fmt.Errorf("%w: event 0 of key %q has gone", ErrCorrupt, t.in.Key)
			}
			return all, nil
		}
	}
}
