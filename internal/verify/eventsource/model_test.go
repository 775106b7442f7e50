package eventsource_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keelson-go/keelson/eventsource"
)

type (
	event  = eventsource.Event
	record = eventsource.Recorded
	cond   = eventsource.Condition
	query  = eventsource.Query
)

// model is a store as a slice and a linear scan. It learns positions, times
// and made ids from the store under test, and nothing else.
type model struct {
	log     []record
	tracked map[string]eventsource.Position
}

func (m *model) version(stream string) (v uint64) {
	for _, r := range m.log {
		if r.Stream == stream {
			v = r.Version
		}
	}
	return v
}

// repeat returns the records of the events' ids; ok is false for a mix.
func (m *model) repeat(events []event) (known []record, ok bool) {
	ok = true
	for _, e := range events {
		i := slices.IndexFunc(m.log, func(r record) bool { return e.ID != "" && r.ID == e.ID })
		if i < 0 {
			continue
		}
		r := m.log[i]
		ok = ok && r.Stream == e.Stream && r.Type == e.Type && (len(known) == 0 || known[len(known)-1].Position < r.Position)
		known = append(known, r)
	}
	return known, ok && (len(known) == 0 || len(known) == len(events))
}

// check returns what the ConflictError must say, nil if all conditions hold.
func (m *model) check(conds []cond) *eventsource.ConflictError {
	for i, c := range conds {
		want := &eventsource.ConflictError{Condition: c, Index: i}
		holds := true
		if stream, v, ok := c.Version(); ok {
			want.Version = m.version(stream)
			holds = want.Version == v
		} else if stream, ok := c.Exists(); ok {
			holds = m.version(stream) > 0
		} else if source, p, ok := c.Track(); ok {
			want.Position = m.tracked[source]
			holds = p > want.Position
		} else if q, after, ok := c.NoneSince(); ok {
			for _, r := range m.log {
				if r.Position > after && q.Match(r.Event) {
					want.Position, holds = r.Position, false
				}
			}
		}
		if !holds {
			return want
		}
	}
	return nil
}

func (m *model) write(events []event, conds []cond) {
	for _, c := range conds {
		if source, p, ok := c.Track(); ok {
			m.tracked[source] = p
		}
	}
	for _, e := range events {
		r := record{Event: e}
		if e.Stream != "" {
			r.Version = m.version(e.Stream) + 1
		}
		m.log = append(m.log, r)
	}
}

func (m *model) read(q query, o eventsource.ReadOptions) (want []record) {
	for _, r := range m.log {
		if q.Match(r.Event) && r.Position > o.After && (o.UpTo == 0 || r.Position <= o.UpTo) &&
			(o.AfterVersion == 0 && o.UpToVersion == 0 || r.Version > o.AfterVersion && (o.UpToVersion == 0 || r.Version <= o.UpToVersion)) &&
			(o.AsOf.IsZero() || !r.Time.After(o.AsOf)) {
			want = append(want, r)
		}
	}
	if o.Backward {
		slices.Reverse(want)
	}
	if o.Limit > 0 {
		want = want[:min(o.Limit, len(want))]
	}
	return want
}

func oneOf(prefix string, n int) *rapid.Generator[string] {
	return rapid.Map(rapid.IntRange(0, n-1), func(i int) string { return fmt.Sprint(prefix, i) })
}

var (
	streams = rapid.OneOf(rapid.Just(""), oneOf("s", 4), oneOf("s", 4))
	ids     = rapid.OneOf(rapid.Just(""), rapid.Just(""), oneOf("id", 12), oneOf("018f2f6e-7c1a-7bcd-9e00-0123456789a", 8))
	events  = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
		return event{
			ID: ids.Draw(t, "id"), Stream: streams.Draw(t, "stream"), Type: oneOf("t", 3).Draw(t, "type"),
			Tags: rapid.SliceOfN(oneOf("g", 4), 0, 3).Draw(t, "tags"), Data: rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "data"),
		}
	}), 0, 4)
	queries = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) eventsource.Item {
		return eventsource.Item{
			Streams: rapid.SliceOfN(streams, 0, 2).Draw(t, "streams"), Types: rapid.SliceOfN(oneOf("t", 4), 0, 2).Draw(t, "types"),
			Tags: rapid.SliceOfN(oneOf("g", 5), 0, 2).Draw(t, "tags"),
		}
	}), 0, 3)
)

// position is one of the log, or about one, or far away.
func (m *model) position(t *rapid.T) eventsource.Position {
	all := []eventsource.Position{0, math.MaxUint64}
	for _, r := range m.log {
		all = append(all, r.Position, r.Position-1)
	}
	return rapid.SampledFrom(all).Draw(t, "position")
}

// conditions mostly hold, or nothing would ever be written.
func (m *model) conditions(t *rapid.T) (conds []cond) {
	used := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		name := oneOf("s", 5).Draw(t, "name")
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		if kind != 2 && used[fmt.Sprint(kind == 3, name)] {
			continue
		}
		switch used[fmt.Sprint(kind == 3, name)] = true; kind {
		case 0:
			conds = append(conds, eventsource.AtVersion(name, m.version(name)+uint64(max(0, rapid.IntRange(-6, 1).Draw(t, "off")))))
		case 1:
			conds = append(conds, eventsource.Exists(name))
		case 2:
			conds = append(conds, eventsource.NoneSince(queries.Draw(t, "query"), m.position(t)))
		case 3:
			conds = append(conds, eventsource.Track(name, eventsource.Position(rapid.IntRange(0, 20).Draw(t, "track"))))
		}
	}
	return conds
}

// Random operations, one after the other, on the store and on the model.
func TestStoresAgreeWithTheModel(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) eventsource.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			s, m := open(t), &model{tracked: map[string]eventsource.Position{}}
			rt.Repeat(map[string]func(*rapid.T){
				"append": func(rt *rapid.T) { m.appendTo(rt, t, s) },
				"read":   func(rt *rapid.T) { m.readFrom(rt, t, s) },
				"": func(rt *rapid.T) {
					h, err := s.Head(t.Context())
					require.NoError(rt, err)
					if n := len(m.log); n > 0 {
						require.GreaterOrEqual(rt, h, m.log[n-1].Position)
					}
				},
			})
		})
	})
}

func (m *model) appendTo(rt *rapid.T, t *testing.T, s eventsource.Store) {
	batch, conds := events.Draw(rt, "events"), m.conditions(rt)
	r, err := s.Append(t.Context(), batch, conds...)
	known, valid := m.repeat(batch)
	if eventsource.Validate(batch, conds...) != nil || !valid {
		require.ErrorIs(rt, err, eventsource.ErrInvalid)
		return
	}
	if len(known) > 0 {
		last := known[len(known)-1]
		require.NoError(rt, err)
		require.Equal(rt, eventsource.Result{First: known[0].Position, Last: last.Position, Version: last.Version, Duplicate: true}, r)
		return
	}
	if want := m.check(conds); want != nil {
		got, ok := errors.AsType[*eventsource.ConflictError](err)
		require.True(rt, ok, "%v, want %v", err, want)
		require.Equal(rt, want.Error(), got.Error())
		require.Equal(rt, want.Index, got.Index)
		return
	}
	require.NoError(rt, err)
	before := len(m.log)
	m.write(batch, conds)
	m.learn(rt, t, s, before, r)
}

// learn takes positions, times and ids from the store, and checks the rest.
func (m *model) learn(rt *rapid.T, t *testing.T, s eventsource.Store, before int, r eventsource.Result) {
	fresh := m.log[before:]
	if len(fresh) == 0 {
		require.Equal(rt, r.First, r.Last)
		return
	}
	after := eventsource.Position(0)
	if before > 0 {
		after = m.log[before-1].Position
	}
	i := 0
	for got, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{After: after}) {
		require.NoError(rt, err)
		require.Less(rt, i, len(fresh))
		require.Greater(rt, got.Position, after)
		want := &fresh[i]
		after, want.Position, want.Time, want.Schema = got.Position, got.Position, got.Time, 1
		if want.ID == "" {
			want.ID = got.ID
		}
		want.Tags = slices.Compact(slices.Sorted(slices.Values(want.Tags)))
		i++
	}
	require.Equal(rt, len(fresh), i)
	last := fresh[len(fresh)-1]
	require.Equal(rt, eventsource.Result{First: fresh[0].Position, Last: last.Position, Version: last.Version}, r)
	m.same(rt, fresh, collect(rt, t, s, eventsource.All(), eventsource.ReadOptions{After: fresh[0].Position - 1}))
}

func collect(rt *rapid.T, t *testing.T, s eventsource.Store, q query, o eventsource.ReadOptions) (all []record) {
	for r, err := range s.Read(t.Context(), q, o) {
		require.NoError(rt, err)
		all = append(all, r)
	}
	return all
}

func (m *model) readFrom(rt *rapid.T, t *testing.T, s eventsource.Store) {
	q := queries.Draw(rt, "query")
	for i := range q {
		if rapid.IntRange(0, 4).Draw(rt, "by id") == 0 && len(m.log) > 0 {
			q[i].IDs = rapid.SliceOfN(rapid.Map(rapid.SampledFrom(m.log), func(r record) string { return r.ID }), 1, 4).Draw(rt, "ids")
		}
	}
	version := rapid.Map(rapid.IntRange(-6, 4), func(i int) uint64 { return uint64(max(0, i)) })
	o := eventsource.ReadOptions{
		After: m.position(rt), UpTo: m.position(rt), AfterVersion: version.Draw(rt, "after version"), UpToVersion: version.Draw(rt, "up to version"),
		Backward: rapid.Bool().Draw(rt, "backward"), Limit: max(0, rapid.IntRange(-4, 5).Draw(rt, "limit")),
	}
	if o.After > 1<<60 && rapid.Bool().Draw(rt, "from the beginning") {
		o.After = 0
	}
	if len(m.log) > 0 && rapid.IntRange(0, 3).Draw(rt, "as of") == 0 {
		o.AsOf = rapid.SampledFrom(m.log).Draw(rt, "time").Time.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "off")) * time.Microsecond)
	}
	m.same(rt, m.read(q, o), collect(rt, t, s, q, o))
}

func (m *model) same(rt *rapid.T, want, got []record) {
	require.Len(rt, got, len(want))
	for i := range want {
		slices.Sort(got[i].Tags)
		require.Equal(rt, fmt.Sprintf("%+v", want[i]), fmt.Sprintf("%+v", got[i]))
	}
}
