package eventtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/keelson-go/keelson/eventsource"
)

var conditionTests = []storeTest{
	{"AtVersion holds at that version alone", atVersion},
	{"NoStream and Exists tell whether a stream has events", existence},
	{"the first condition that fails is reported and nothing is written", firstFailure},
	{"conditions may name what the append does not write", checkOnly},
	{"NoneSince sees items ORed and tags ANDed", noneSinceItems},
	{"NoneSince agrees with Match", noneSinceOracle},
	{"Track moves forward alone", track},
}

// T1: also at the ends, where a store may overwrite, or drop in silence.
func atVersion(s store) {
	s.fresh(in("a", "t", "t", "t"))
	for _, v := range []uint64{0, 1, 2, 4, 5, math.MaxInt64, math.MaxUint64} {
		if c := s.conflict(one("a", "t"), eventsource.AtVersion("a", v)); c.Version != 3 {
			s.Fatalf("AtVersion %d of a stream at 3 reports version %d", v, c.Version)
		}
	}
	for _, v := range []uint64{1, 4, math.MaxUint64} {
		if c := s.conflict(one("missing", "t"), eventsource.AtVersion("missing", v)); c.Version != 0 {
			s.Fatalf("AtVersion %d of no stream reports version %d", v, c.Version)
		}
	}
	if r := s.fresh(in("a", "t", "t"), eventsource.AtVersion("a", 3)); r.Version != 5 {
		s.Fatalf("two events after version 3 end at %d", r.Version)
	}
	if r := s.fresh(one("missing", "t"), eventsource.AtVersion("missing", 0)); r.Version != 1 {
		s.Fatalf("the first event has version %d", r.Version)
	}
}

func existence(s store) {
	if c := s.conflict(one("a", "t"), eventsource.Exists("a")); c.Version != 0 {
		s.Fatalf("Exists of no stream reports version %d", c.Version)
	}
	s.fresh(one("a", "t"), eventsource.NoStream("a"))
	if c := s.conflict(one("a", "t"), eventsource.NoStream("a")); c.Version != 1 {
		s.Fatalf("NoStream of a stream at 1 reports version %d", c.Version)
	}
	s.fresh(one("a", "t"), eventsource.Exists("a"))
	s.fresh(tagged("t", "b"))
	s.conflict(one("b", "t"), eventsource.Exists("b")) // a tag is no stream
}

func firstFailure(s store) {
	s.fresh(one("a", "t"))
	s.fresh(nil, eventsource.Track("source", 3))
	h := s.head()
	holds := []eventsource.Condition{
		eventsource.Exists("a"), eventsource.NoStream("b"), eventsource.NoneSince(eventsource.All(), h), eventsource.Track("other", 7),
	}
	fails := []eventsource.Condition{
		eventsource.AtVersion("c", 9), eventsource.Exists("d"), eventsource.NoneSince(byTags("t"), h-1), eventsource.Track("source", 3),
	}
	for i, c := range fails {
		target := eventsource.ErrConflict
		if isTrack(c) {
			target = eventsource.ErrTracked
		}
		conds := append(slices.Clone(holds), c)
		conds = append(conds, slices.Delete(slices.Clone(fails), i, i+1)...)
		err := s.conflictOf(s.refuse(target, one("new", "t"), conds...))
		if err.Index != len(holds) || text(err.Condition) != text(c) {
			s.Fatalf("condition %d %v is reported, want %d %v", err.Index, err.Condition, len(holds), c)
		}
	}
	s.fresh(nil, eventsource.Track("other", 7)) // was not tracked by a refused append
}

func checkOnly(s store) {
	s.fresh(in("a", "t", "t"))
	conds := []eventsource.Condition{eventsource.AtVersion("a", 2), eventsource.NoStream("b"), eventsource.NoneSince(byTags("u"), 0)}
	r := s.fresh(nil, conds...)
	if h := s.head(); r.First != h || r.Last != h || r.Version != 0 || len(s.all()) != 2 {
		s.Fatalf("an append of conditions alone is %+v, want Head %d twice", r, h)
	}
	s.fresh(one("c", "u"), conds...)
	s.conflict(nil, conds...)
	s.conflict(one("d", "t"), eventsource.AtVersion("a", 1))
	s.conflict(one("d", "t"), eventsource.Exists("d")) // what it is about to write does not count
	s.fresh(one("d", "t"), eventsource.NoneSince(byTags("t", "x"), 0))
}

// T4: each item with its own tags.
func noneSinceItems(s store) {
	r := s.fresh(append(tagged("t", "x", "y"), tagged("u", "y")...))
	holds := func(q eventsource.Query) {
		s.Helper()
		s.fresh(nil, eventsource.NoneSince(q, 0))
	}
	fails := func(q eventsource.Query, newest eventsource.Position) {
		s.Helper()
		if c := s.conflict(nil, eventsource.NoneSince(q, 0)); c.Position != newest {
			s.Fatalf("the newest match of %+v is %d, want %d", q, c.Position, newest)
		}
		s.fresh(nil, eventsource.NoneSince(q, newest))
		s.fresh(nil, eventsource.NoneSince(q, math.MaxUint64))
	}
	holds(nil)
	holds(eventsource.Query{})
	holds(byTags("u", "x"))
	holds(byTags("", "x", "z"))
	holds(eventsource.Query{{Tags: []string{"z"}}, {Types: []string{"u"}, Tags: []string{"x"}}})
	fails(eventsource.All(), r.Last)
	fails(byTags("", "x", "y"), r.First)
	fails(byTags("", "y"), r.Last)
	fails(eventsource.Query{{Tags: []string{"z"}}, {Tags: []string{"x"}}}, r.First)
	fails(eventsource.Query{{Types: []string{"t", "z"}, Tags: []string{"y"}}}, r.First)
	fails(eventsource.Query{{Streams: []string{"a", ""}, Types: []string{"t"}}}, r.First)
	fails(eventsource.Query{{}, {Tags: []string{"z"}}}, r.Last)
}

// T4: Match is the definition.
func noneSinceOracle(s store) {
	r := rand.New(rand.NewPCG(1, 2))
	s.fresh(randomEvents(r, 60))
	all := s.all()
	newestOf := func(q eventsource.Query, after eventsource.Position) (newest eventsource.Position) {
		for _, e := range all {
			if e.Position > after && q.Match(e.Event) {
				newest = e.Position
			}
		}
		return newest
	}
	for i := range 200 {
		q, after := randomQuery(r, nil), all[r.IntN(len(all))].Position
		if i%2 == 0 { // at the edge
			after = max(1, newestOf(q, 0)) - eventsource.Position(r.IntN(2))
		}
		newest := newestOf(q, after)
		_, err := s.Append(s.ctx, nil, eventsource.NoneSince(q, after))
		if newest == 0 && err == nil {
			continue
		}
		if newest == 0 || err == nil || s.conflictOf(err).Position != newest {
			s.Fatalf("NoneSince(%+v, %d) gives %v, the newest match is %d", q, after, err, newest)
		}
	}
}

func randomEvents(r *rand.Rand, n int) (events []eventsource.Event) {
	for range n {
		e := eventsource.Event{Type: fmt.Sprint("t", r.IntN(3)), Tags: some(r, "g", 4, 3)}
		if r.IntN(5) > 0 {
			e.Stream = fmt.Sprint("s", r.IntN(4))
		}
		events = append(events, e)
	}
	return events
}

// randomQuery also asks for names that no event has, and for ids if given.
func randomQuery(r *rand.Rand, ids []string) (q eventsource.Query) {
	for range r.IntN(4) {
		it := eventsource.Item{Streams: some(r, "s", 5, 2), Types: some(r, "t", 4, 2), Tags: some(r, "g", 5, 2)}
		if len(ids) > 0 && r.IntN(4) == 0 {
			for range 1 + r.IntN(8) {
				it.IDs = append(it.IDs, ids[r.IntN(len(ids))])
			}
		}
		q = append(q, it)
	}
	return q
}

// some returns at most `most` names out of `of`.
func some(r *rand.Rand, prefix string, of, most int) (names []string) {
	for range r.IntN(most + 1) {
		names = append(names, fmt.Sprint(prefix, r.IntN(of)))
	}
	return names
}

func track(s store) {
	tracked := func(source string, p, want eventsource.Position) {
		s.Helper()
		if c := s.conflictOf(s.refuse(eventsource.ErrTracked, one("a", "t"), eventsource.Track(source, p))); c.Position != want {
			s.Fatalf("Track of %d reports %d as tracked, want %d", p, c.Position, want)
		}
	}
	tracked("source", 0, 0)
	s.fresh(one("a", "t"), eventsource.Track("source", 3), eventsource.Track("other", 1))
	tracked("source", 3, 3)
	tracked("source", 2, 3)
	tracked("other", 1, 1)
	s.fresh(nil, eventsource.Track("source", 4))
	tracked("source", 4, 4)
	s.fresh(one("a", "t"), eventsource.Track("source", 1<<62))
	cps, ok := s.Store.(eventsource.Checkpoints)
	if !ok {
		return
	}
	for source, want := range map[string]eventsource.Position{"source": 1 << 62, "other": 1, "none": 0} {
		c, err := cps.LoadCheckpoint(s.ctx, "track/"+source)
		if err != nil || c.Position != want {
			s.Fatalf("checkpoint track/%s is %+v, %v; want position %d", source, c, err, want)
		}
		if err := cps.SaveCheckpoint(s.ctx, "track/"+source, c, eventsource.Checkpoint{Position: want + 1}, nil); !is(err, eventsource.ErrInvalid) {
			s.Fatalf("SaveCheckpoint of track/%s is %v, want ErrInvalid", source, err)
		}
	}
}
