package eventsource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// Handle folds the history, decides, and appends on condition that the history
// has not moved meanwhile; after a conflict it starts again, up to
// [Scope.MaxAttempts] times with a random wait of at most 2, 4, 8 ... 100 ms in
// between. Evolve runs over new events before they are appended, so that one
// which it cannot take is not written.
//
// The history is [Scope.Stream], guarded by AtVersion, or [Scope.Within],
// guarded by NoneSince. Events that match Within and are committed above Head,
// which an open transaction may hold back, are waited for, before a refusal as
// well as after a conflict. Without new events nothing is appended, unless there
// are Conditions to check. Errors:
//
//	Decide's        as it is, with the State that it saw in the Outcome
//	*ConflictError  of Handle's own condition (Index 0) after the last attempt,
//	                or of Scope.Conditions[Index-1], which is final
//	ErrInvalid      neither Stream nor Within; SnapshotEvery on a Store that is
//	                no Checkpoints (embed both in one struct to combine two)
//	ErrUnknownType  the history holds what the codec does not know
//	ErrUncertain    is retried if there is a Key, since then it is harmless
//
// With Key, event i has the UUIDv8 of SHA-256 over Stream, Key and i as its id.
// A repeat is found in the history or by those ids, whatever the state is by
// then, and Decide is not called. A decision without events is not remembered.
func (d Decider[C, E, S]) Handle(ctx context.Context, s Store, c *Codec[E], in Scope, cmd C) (Outcome[E, S], error) {
	if err := d.validate(s, c, in); err != nil {
		return Outcome[E, S]{}, err
	}
	for attempt := 1; ; attempt++ {
		t := try[C, E, S]{d: &d, store: s, codec: c, in: &in}
		out, err := t.run(ctx, cmd)
		out.Attempts = attempt
		if !t.again || attempt >= attemptsOf(in.MaxAttempts) {
			return out, err
		}
		if werr := t.pause(ctx, attempt); werr != nil && err != nil {
			return out, fmt.Errorf("eventsource: %w, while a retry was due after: %w", werr, err)
		} else if werr != nil {
			return out, werr
		}
	}
}

func (d *Decider[C, E, S]) validate(s Store, c *Codec[E], in Scope) error {
	_, keeps := s.(Checkpoints)
	switch {
	case in.Stream == "" && len(in.Within) == 0:
		return invalid("Scope", "neither Stream nor Within", "want a history")
	case d.Evolve == nil || d.Decide == nil || c == nil:
		return invalid("Decider", "Evolve, Decide or the codec is nil", "all three are required")
	case d.SnapshotEvery < 0:
		return invalid("Decider.SnapshotEvery", d.SnapshotEvery, "zero or more")
	case d.SnapshotEvery > 0 && !keeps:
		return invalid("Decider.SnapshotEvery", d.SnapshotEvery, "zero on a Store that is no Checkpoints")
	case strings.Contains(d.Version, "/"):
		return invalid("Decider.Version", fmt.Sprintf("%q", d.Version), "no slash, which separates it from the stream")
	}
	return firstOf(badText("Scope.Stream", in.Stream), badText("Decider.Version", d.Version))
}

func attemptsOf(n int) int {
	if n == 0 {
		return 10
	}
	return max(n, 1)
}

// A try is one attempt of Handle.
type try[C, E, S any] struct {
	d     *Decider[C, E, S]
	store Store
	codec *Codec[E]
	in    *Scope

	base    base[S]   // the snapshot that the fold began with
	state   S         // after the history
	version uint64    // of the last event of the history
	last    Position  // of the last event of the history
	lastID  string    // of the same, if it was folded
	folded  int       // events, beyond those of the snapshot
	again   bool      // run's error is worth another attempt
	above   Position  // of the event behind a conflict of NoneSince
	own     Condition // that the history has not moved
	ready   []byte    // a snapshot of the Within that is due
	unready error     // why there is none although it is due
}

func (t *try[C, E, S]) run(ctx context.Context, cmd C) (out Outcome[E, S], err error) {
	repeat, err := t.history(ctx)
	if err != nil {
		return out, err
	}
	if repeat {
		return t.repeat(ctx)
	}
	out.State = t.state
	out.First, out.Last, out.Version = t.last, t.last, t.version
	events, err := t.d.Decide(t.state, cmd)
	if err != nil || len(events)+len(t.in.Conditions) == 0 {
		if nerr := t.newer(ctx); nerr != nil {
			return out, nerr
		}
		return out, err
	}
	encoded, err := t.encode(events)
	if err != nil {
		return out, err
	}
	t.prepare()
	state := t.d.evolve(t.state, events)
	result, err := t.append(ctx, encoded)
	switch {
	case t.in.Key != "" && (result.Duplicate || errors.Is(err, ErrInvalid)):
		// A twin was faster. ErrInvalid: it decided on other events, or more.
		if found, ferr := t.known(ctx); ferr != nil || found {
			return t.repeat(ctx)
		}
		return out, err
	case err != nil:
		return out, err
	case len(events) > 0:
		out.Result = result
	}
	out.State, out.Events = state, events
	out.SnapshotErr = t.snapshot(ctx, out.Result, encoded, state)
	return out, nil
}

// history folds what the decision rests on. It tells whether this is a repeat.
func (t *try[C, E, S]) history(ctx context.Context) (repeat bool, err error) {
	if len(t.in.Within) > 0 {
		repeat, err = t.foldWithin(ctx)
	} else {
		repeat, err = t.foldStream(ctx)
		t.own = AtVersion(t.in.Stream, t.version)
		if t.base.version == 0 {
			return repeat, err // a whole stream has shown all that its keys made
		}
	}
	if err != nil || repeat || t.in.Key == "" {
		return repeat, err
	}
	return t.known(ctx)
}

// fold stops at the first event of a command with this Key. If base.id is set,
// the first event read must have it and is in the state already; base.id stays
// set if that is not so.
func (t *try[C, E, S]) fold(ctx context.Context, q Query, o ReadOptions) (repeat bool, err error) {
	first := t.id(0)
	err = each(ctx, t.store, t.codec, q, o, func(r Recorded, e E) bool {
		switch {
		case first != "" && r.ID == first:
			repeat, t.base.id = true, ""
			return false
		case t.base.id != "":
			if r.ID != t.base.id {
				return false
			}
			t.base.id, t.version = "", r.Version
			return true
		}
		t.state, t.last, t.lastID = t.d.Evolve(t.state, e), r.Position, r.ID
		t.folded++
		t.version = r.Version
		return true
	})
	return repeat, err
}

// newer looks, after a refusal, for committed events above the Head that the
// history ends at. An append would have met them as a conflict; a refusal must
// not miss what its caller has seen, so it is decided again once Head is there.
func (t *try[C, E, S]) newer(ctx context.Context) error {
	if len(t.in.Within) == 0 {
		return nil
	}
	_, head, _ := t.own.NoneSince()
	for r, err := range t.store.Read(ctx, t.in.Within, ReadOptions{After: head, Limit: 1}) {
		if err != nil {
			return err
		}
		t.again, t.above = true, r.Position
	}
	return nil
}

// id is that of event i of the command, "" without a Key.
func (t *try[C, E, S]) id(i int) string {
	if t.in.Key == "" {
		return ""
	}
	return id.Keyed(t.in.Stream, t.in.Key, i).String()
}

func (t *try[C, E, S]) encode(events []E) ([]Event, error) {
	encoded := make([]Event, len(events))
	for i, e := range events {
		event, err := t.codec.Encode(e)
		if err != nil {
			return nil, err
		}
		event.ID, event.Stream, event.Meta = t.id(i), t.in.Stream, t.in.Meta
		encoded[i] = event
	}
	t.sign(encoded)
	return encoded, nil
}

// append adds Handle's own condition to those of the caller, and judges what
// came back.
func (t *try[C, E, S]) append(ctx context.Context, events []Event) (Result, error) {
	conds, index, err := t.conditions()
	if err != nil {
		return Result{}, err
	}
	result, err := t.store.Append(ctx, events, conds...)
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		t.again, t.above = conflict.Index == 0, conflict.Position
		final := *conflict
		final.Index = index[conflict.Index]
		return result, &final
	}
	t.again = t.in.Key != "" && errors.Is(err, ErrUncertain) && ctx.Err() == nil
	return result, err
}

// conditions returns those of the append, and for each the Index that the
// caller knows it by. A store takes one condition per stream, so one on the
// stream of the history is judged here: own holds exactly if it still does.
func (t *try[C, E, S]) conditions() (conds []Condition, index []int, err error) {
	conds, index = append(conds, t.own), append(index, 0)
	for i, cond := range t.in.Conditions {
		stream, version, exact := cond.Version()
		if !exact {
			stream, _ = cond.Exists()
		}
		if stream == "" || stream != t.in.Stream || len(t.in.Within) > 0 {
			conds, index = append(conds, cond), append(index, i+1)
			continue
		}
		if exact && version != t.version || !exact && t.version == 0 {
			return nil, nil, &ConflictError{Condition: cond, Index: i + 1, Version: t.version}
		}
	}
	return conds, index, nil
}

// pause waits a random time, and until Head has reached the event that was in
// the way: a history that is read before would not show it.
func (t *try[C, E, S]) pause(ctx context.Context, attempt int) error {
	most := min(time.Millisecond<<min(attempt, 10), 100*time.Millisecond)
	timer := time.NewTimer(rand.N(most + 1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	if len(t.in.Within) > 0 && t.above > 0 {
		return t.store.Wait(ctx, t.above-1)
	}
	return nil
}
