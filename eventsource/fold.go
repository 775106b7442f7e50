package eventsource

import (
	"context"
	"fmt"
)

// Fold reads what q and o select and applies evolve to each event in turn,
// beginning with state. UpToVersion, UpTo and AsOf of o give the state as it
// was at a version, a position, a time. last is the last event that was folded,
// the zero Recorded if none was.
//
// It reads everything, uses no snapshot, and stops at the first event that the
// codec does not know, with [ErrUnknownType] and the state up to there.
// Backward is refused with [ErrInvalid].
func Fold[E, S any](ctx context.Context, s Store, c *Codec[E], q Query, o ReadOptions, state S, evolve func(S, E) S) (end S, last Recorded, err error) {
	if o.Backward {
		return state, last, invalid("ReadOptions.Backward", true, "a fold goes forward")
	}
	if m, ok := s.(*Memory); ok { // and not a type around it, which may read otherwise
		return foldMemory(ctx, m, c, q, o, state, evolve)
	}
	err = each(ctx, s, c, q, o, func(r Recorded, e E) bool {
		state, last = evolve(state, e), r
		return true
	})
	return state, last, err
}

// foldMemory is Fold on the store's own bytes: it copies nothing but the last
// event. What JSON makes of them shares no memory with them, see
// [json.Unmarshaler]; an [Upcast] gets a copy.
func foldMemory[E, S any](ctx context.Context, m *Memory, c *Codec[E], q Query, o ReadOptions, state S, evolve func(S, E) S) (end S, last Recorded, err error) {
	if err := readable(ctx, q, o); err != nil {
		return state, last, err
	}
	variables, r := scratch{}, m.reader(q, o)
	var at lent
	for at.next(r) {
		if ctx.Err() != nil {
			return state, m.recorded(last.Position), context.Cause(ctx)
		}
		e, err := c.decode(&at.Recorded, variables)
		if err != nil {
			return state, m.recorded(last.Position), fmt.Errorf("%w (%s)", err, place(&at.Recorded))
		}
		state, last.Position = evolve(state, e), at.Position
	}
	return state, m.recorded(last.Position), nil
}

// each decodes what q and o select, one by one, until yield returns false.
func each[E any](ctx context.Context, s Store, c *Codec[E], q Query, o ReadOptions, yield func(Recorded, E) bool) error {
	variables := scratch{}
	for r, err := range s.Read(ctx, q, o) {
		if err != nil {
			return err
		}
		e, err := c.decode(&r, variables)
		if err != nil {
			return fmt.Errorf("%w (%s)", err, place(&r))
		}
		if !yield(r, e) { // by value: a pointer would put each event on the heap
			break
		}
	}
	return nil
}
