package eventtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

var errOwn = errors.New("an error of its own")

var offenders = []offender{
	{"head from one", "an empty store has no events and head 0", func() eventsource.Store {
		return &broken{Memory: eventsource.NewMemory(), head: func(m mem, c ctx) (pos, error) {
			h, err := m.Head(c)
			return h + 1, err
		}}
	}},
	{"data as C strings", "events come back as they were appended", changes(trimNUL)},
	{"tags as a list", "events come back as they were appended", returns(func(_ int, r *rec) bool {
		if len(r.Tags) > 1 {
			r.Tags = append(r.Tags, r.Tags[0])
		}
		return true
	})},
	{"schema zero", "events come back as they were appended", returns(func(_ int, r *rec) bool {
		r.Schema &^= 1
		return true
	})},
	{"streams by LIKE", "events come back as they were appended", asks(func(q *query, _ *opts) {
		if len(*q) == 1 && slices.Equal((*q)[0].Streams, []string{"%"}) {
			*q = eventsource.All()
		}
	})},
	{"random ids", "an event without an id gets a UUIDv7", returns(func(_ int, r *rec) bool {
		r.ID = r.ID[:14] + "4" + r.ID[15:]
		return true
	})},
	{"reversed batches", "positions follow the slice and versions count on", appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		events = slices.Clone(events)
		slices.Reverse(events)
		return m.Append(c, events, conds...)
	})},
	{"a clock that steps back", "time is UTC in microseconds and does not decrease", returns(func(_ int, r *rec) bool {
		ownClock(r)
		return true
	})},
	{"local time", "time is UTC in microseconds and does not decrease", returns(func(_ int, r *rec) bool {
		r.Time = r.Time.Local()
		return true
	})},
	{"one copy for all", "appended and returned memory is the caller's", caching},
	{"cuts long texts", "invalid appends are refused", changes(cutText)},
	{"drops tags", "invalid appends are refused", changes(func(e *event) { e.Tags = e.Tags[:min(64, len(e.Tags))] })},
	{"ignores ids of conditions", "invalid appends are refused", conditions(func(c cond) cond {
		q, after, ok := c.NoneSince()
		if !ok {
			return c
		}
		q = slices.Clone(q)
		for i := range q {
			q[i].IDs = nil
		}
		return eventsource.NoneSince(q, after)
	})},
	{"short limits", "limits are inclusive", changes(func(e *event) {
		if len(e.Tags) > 63 {
			e.Type = ""
		}
	})},
	{"cut data", "data of 16 MiB comes back", returns(func(_ int, r *rec) bool {
		r.Data = r.Data[:min(len(r.Data), 8<<20)]
		return true
	})},
	{"one page", "ten thousand events are one append", returns(func(i int, _ *rec) bool { return i < 1000 })},
	{"works for nobody", "ended contexts are not ignored", appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		return m.Append(context.WithoutCancel(c), events, conds...)
	})},

	{"repeats at head", "a repeated append is a duplicate", appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		r, err := m.Append(c, events, conds...)
		if r.Duplicate {
			r.Last, _ = m.Head(c)
		}
		return r, err
	})},
	{"conditions before ids", "a repeat evaluates and tracks nothing", conditionsFirst},
	{"a duplicate by one append", "all ids known in order is a repeat, whatever append they came from", appends(func(m mem, c ctx, events []event, conds []cond) (eventsource.Result, error) {
		r, err := m.Append(c, events, conds...)
		if r.Duplicate && events[0].Stream != events[len(events)-1].Stream {
			return r, eventsource.ErrInvalid
		}
		return r, err
	})},
	{"writes the rest", "half-known ids write nothing", theRest},
	{"ids without case", "ids are compared as text", changes(lowerID)},
	{"forgets its own ids", "an id that the store made is known to it", changes(func(e *event) {
		if len(e.ID) == 36 && e.ID[14] == '7' {
			e.ID = ""
		}
	})},
	{"the twin loses", "of concurrent twins one writes", noDuplicate},

	{"accepts later versions", "AtVersion holds at that version alone", mended(func(c *eventsource.ConflictError, events []event, conds []cond) ([]event, []cond) {
		if _, v, ok := c.Condition.Version(); ok && v > c.Version {
			conds = nil
		}
		return events, conds
	})},
	{"everything exists", "NoStream and Exists tell whether a stream has events", conditions(func(c cond) cond {
		if stream, ok := c.Exists(); ok && stream != "" {
			return eventsource.NoneSince(nil, 0)
		}
		return c
	})},
	{"last failure", "the first condition that fails is reported and nothing is written", backwards},
	{"checks what it writes", "conditions may name what the append does not write", onlyWritten},
	{"ANDs items", "NoneSince sees items ORed and tags ANDed", conditions(func(c cond) cond {
		q, after, ok := c.NoneSince()
		if !ok || len(q) < 2 {
			return c
		}
		return eventsource.NoneSince(query{{Streams: q[0].Streams, Types: q[0].Types, Tags: append(slices.Clone(q[0].Tags), q[1].Tags...)}}, after)
	})},
	{"after is included", "NoneSince agrees with Match", conditions(func(c cond) cond {
		if q, after, ok := c.NoneSince(); ok && after > 0 {
			return eventsource.NoneSince(q, after-1)
		}
		return c
	})},
	{"tracks again", "Track moves forward alone", mended(func(c *eventsource.ConflictError, events []event, conds []cond) ([]event, []cond) {
		if _, p, ok := c.Condition.Track(); ok && p > 0 {
			conds = nil
		}
		return events, conds
	})},

	{"racy", "of ten appends under one NoneSince one wins", func() eventsource.Store { return racy() }},
	{"racy versions", "of ten appends under one AtVersion one wins", racy},
	{"racy creates", "of ten creates under NoStream one wins", racy},
	{"racy tracks", "of ten equal Tracks one wins", racy},
	{"exists before it is", "Exists holds under concurrent creates", conditions(func(c cond) cond {
		if _, ok := c.Exists(); ok {
			return eventsource.NoneSince(nil, 0)
		}
		return c
	})},
	{"write skew", "two appends that each exclude the other cannot both win", racy},
	{"racy checks", "a version that is only checked does not move", racy},
	{"optimistic", "unconditional appends never conflict", optimistic},
	{"in two", "a reader sees whole appends, in order", inTwo},
	{"late commits", "whoever follows Head misses nothing", late},
	{"late below head", "nothing appears at or below Head", late},

	{"nil is all", "a nil query matches nothing", asks(func(q *query, _ *opts) {
		if len(*q) == 0 {
			*q = eventsource.All()
		}
	})},
	{"each item its own", "a nil query matches nothing", reads(func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			for i := range q {
				m.Read(c, q[i:i+1], o)(yield)
			}
		}
	})},
	{"empty leading entries", "a version bound leaves out what is before it", reads(func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			for range o.AfterVersion % 100 {
				if !yield(rec{}, nil) {
					return
				}
			}
			m.Read(c, q, o)(yield)
		}
	})},
	{"bounds of versions are ignored", "reads agree with Match under all options", asks(func(_ *query, o *opts) { o.AfterVersion = 0 })},
	{"the newest tag only", "reads agree with Match under all options", asks(func(q *query, _ *opts) {
		*q = slices.Clone(*q)
		for i := range *q {
			(*q)[i].Tags = (*q)[i].Tags[max(0, len((*q)[i].Tags)-1):]
		}
	})},
	{"before, not as of", "AsOf on one stream is a prefix", asks(func(_ *query, o *opts) {
		if !o.AsOf.IsZero() {
			o.AsOf = o.AsOf.Add(-1000)
		}
	})},
	{"limits count from the oldest", "limits count in the direction of the read", reads(func(m mem, c ctx, q query, o opts) seq {
		return func(yield func(rec, error) bool) {
			backward := o.Backward
			o.Backward = false
			var all []rec
			for r := range m.Read(c, q, o) {
				all = append(all, r)
			}
			if backward {
				slices.Reverse(all)
			}
			for _, r := range all {
				if !yield(r, nil) {
					return
				}
			}
		}
	})},
	{"live reads", "a read shows the start of the loop, and the loop may append", reads(live)},
	{"single use", "a read can be broken off and repeated", reads(single)},
	{"deaf reads", "a context that ends in the loop ends it", reads(func(m mem, c ctx, q query, o opts) seq {
		return m.Read(context.WithoutCancel(c), q, o)
	})},

	{"waits for one more", "Wait returns at once below Head", waits(func(m mem, c ctx, after pos) error { return m.Wait(c, after+1) })},
	{"does not wait", "Wait returns after an append", waits(func(mem, ctx, pos) error { return nil })},
	{"an error of its own", "Wait ends with its context", waits(func(m mem, c ctx, after pos) error {
		if m.Wait(c, after) != nil {
			return errOwn
		}
		return nil
	})},
}

// deciding are offenders of what is built on a store.
var deciding = []offender{
	{"racy streams", "Handle on one stream loses no update", racy},
	{"racy queries", "Handle within a query admits one", racy},
	{"drops ids", "Handle with a key decides once", changes(func(e *event) { e.ID = "" })},
	{"no versions", "Fold gives the state at a version, a position and a time", asks(func(_ *query, o *opts) { o.UpToVersion = 0 })},
	{"late for subscribers", "Subscribe gives exactly the tail from every position", late},
	{"late for projections", "a projection applies each event", late},
}

func waits(f func(m mem, c ctx, after pos) error) func() eventsource.Store {
	return func() eventsource.Store { return &broken{Memory: eventsource.NewMemory(), wait: f} }
}

type (
	point   = eventsource.Checkpoint
	applies = func(context.Context) error
)

// save makes checkpoints with a mistake in SaveCheckpoint.
func save(f func(m mem, c ctx, name string, old, new point, apply applies) error) func() eventsource.Checkpoints {
	return func() eventsource.Checkpoints { return &saves{Memory: eventsource.NewMemory(), save: f} }
}

// reloads saves over whatever is there.
func reloads(m mem, c ctx, name string, _, new point, apply applies) error {
	old, _ := m.LoadCheckpoint(c, name)
	return m.SaveCheckpoint(c, name, old, new, apply)
}

var checkpointOffenders = []checkpointOffender{
	{"an error when absent", "an absent checkpoint is the zero one", func() eventsource.Checkpoints {
		return &saves{Memory: eventsource.NewMemory(), load: func(m mem, c ctx, name string) (point, error) {
			p, _ := m.LoadCheckpoint(c, name)
			if p.Position+pos(p.Epoch) == 0 {
				return p, errOwn
			}
			return p, nil
		}}
	}},
	{"no data", "a checkpoint comes back as it was saved", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		new.Data = nil
		return m.SaveCheckpoint(c, name, old, new, apply)
	})},
	{"names without case", "names are any text", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		return m.SaveCheckpoint(c, strings.ToLower(name), old, new, apply)
	})},
	{"the last wins", "position and epoch of old must be those of the record", save(reloads)},
	{"epoch is not compared", "position and epoch of old must be those of the record", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		if now, _ := m.LoadCheckpoint(c, name); now.Position == old.Position {
			old = now
		}
		return m.SaveCheckpoint(c, name, old, new, apply)
	})},
	{"zero is a record", "a zero old creates and a zero new deletes", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		if old.Position == 0 && old.Epoch == 0 {
			return reloads(m, c, name, old, new, apply)
		}
		return m.SaveCheckpoint(c, name, old, new, apply)
	})},
	{"apply last", "apply runs first and its error stops the save", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		if err := m.SaveCheckpoint(c, name, old, new, nil); err != nil || apply == nil {
			return err
		}
		return apply(c)
	})},
	{"keeps its lock", "a panic in apply saves nothing and leaves nothing locked", func() eventsource.Checkpoints {
		var mu sync.Mutex
		return &saves{Memory: eventsource.NewMemory(), save: func(m mem, c ctx, name string, old, new point, apply applies) error {
			if !mu.TryLock() {
				return errOwn
			}
			err := m.SaveCheckpoint(c, name, old, new, apply)
			mu.Unlock()
			return err
		}}
	}},
	{"swallows panics", "a panic in apply saves nothing and leaves nothing locked", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		defer func() { _ = recover() }()
		return m.SaveCheckpoint(c, name, old, new, apply)
	})},
	{"one array", "saved and loaded data is the caller's", func() eventsource.Checkpoints {
		kept := map[string]point{}
		return &saves{
			Memory: eventsource.NewMemory(),
			save:   func(_ mem, _ ctx, name string, _, new point, _ applies) error { kept[name] = new; return nil },
			load:   func(_ mem, _ ctx, name string) (point, error) { return kept[name], nil },
		}
	}},
	{"applies first", "invalid saves are refused", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		if apply != nil {
			if err := apply(c); err != nil {
				return err
			}
		}
		return m.SaveCheckpoint(c, name, old, new, nil)
	})},
	{"the last of ten wins", "of ten saves of the same old one wins", save(reloads)},
	{"increments get lost", "no increment is lost", save(reloads)},
	{"saves for nobody", "ended contexts are not ignored", save(func(m mem, c ctx, name string, old, new point, apply applies) error {
		return m.SaveCheckpoint(context.WithoutCancel(c), name, old, new, apply)
	})},
}
