package eventtest

import (
	"strings"

	"github.com/keelson-go/keelson/eventsource"
)

var idTests = []storeTest{
	{"a repeated append is a duplicate", repeat},
	{"a repeat evaluates and tracks nothing", repeatIgnoresConditions},
	{"all ids known in order is a repeat, whatever append they came from", repeatOfParts},
	{"half-known ids write nothing", halfKnown},
	{"ids are compared as text", idsAreText},
	{"an id that the store made is known to it", repeatOfMade},
	{"of concurrent twins one writes", twins},
}

// duplicate appends what must be a repeat, and checks that it wrote nothing.
func (s store) duplicate(events []eventsource.Event, conds ...eventsource.Condition) eventsource.Result {
	s.Helper()
	before := len(s.all())
	r := s.append(events, conds...)
	if !r.Duplicate {
		s.Fatalf("Append of %+v is no duplicate: %+v", events, r)
	}
	if after := len(s.all()); after != before {
		s.Fatalf("a duplicate wrote %d events", after-before)
	}
	return r
}

func repeat(s store) {
	events := []eventsource.Event{{ID: "1", Stream: "a", Type: "t"}, {ID: "2", Type: "u"}, {ID: "3", Stream: "b", Type: "v", Data: []byte("x")}}
	s.fresh(one("b", "before"))
	first := s.fresh(events)
	s.fresh(in("a", "t", "t"))
	first.Duplicate = true
	if again := s.duplicate(events); again != first {
		s.Fatalf("the repeat is %+v, the first append was %+v", again, first)
	}
	events[2].Data, events[0].Tags = []byte("another body"), []string{"x"} // ids name the event, not its content
	if again := s.duplicate(events); again != first {
		s.Fatalf("the repeat is %+v, the first append was %+v", again, first)
	}
}

// T6: ids come before conditions.
func repeatIgnoresConditions(s store) {
	events := withIDs(in("a", "t", "t"), "1", "2")
	s.fresh(one("check", "t"))
	conds := []eventsource.Condition{
		eventsource.NoStream("a"), eventsource.AtVersion("check", 1), eventsource.NoneSince(byTags("t"), s.head()), eventsource.Track("source", 5),
	}
	first := s.fresh(events, conds...)
	s.fresh(one("check", "t")) // moves the check-only condition
	first.Duplicate = true
	if again := s.duplicate(events, conds...); again != first {
		s.Fatalf("the repeat is %+v, the first append was %+v", again, first)
	}
	s.duplicate(events, eventsource.Exists("missing"))
	s.duplicate(events, eventsource.Track("source", 9))
	if err := s.conflictOf(s.refuse(eventsource.ErrTracked, nil, eventsource.Track("source", 5))); err.Position != 5 {
		s.Fatalf("tracked is %d, want the first append's 5", err.Position)
	}
	s.refuse(eventsource.ErrInvalid, events, eventsource.Condition{}) // rules come before ids
}

func repeatOfParts(s store) {
	a := s.fresh(withIDs(in("a", "t", "t"), "1", "2"))
	b := s.fresh(withIDs(in("b", "t"), "3"))
	r := s.duplicate([]eventsource.Event{{ID: "2", Stream: "a", Type: "t"}, {ID: "3", Stream: "b", Type: "t"}})
	if r.First != a.Last || r.Last != b.Last || r.Version != 1 {
		s.Fatalf("the repeat is %+v, the appends were %+v and %+v", r, a, b)
	}
}

// T6: an append is all new or all known.
func halfKnown(s store) {
	s.fresh(withIDs(in("a", "t", "u"), "1", "2"))
	for _, events := range [][]eventsource.Event{
		withIDs(in("a", "t", "u", "v"), "1", "2", "new"),
		withIDs(in("a", "v", "t", "u"), "new", "1", "2"),
		withIDs(in("a", "t", "u", "v"), "1", "2", ""),
		withIDs(in("a", "v", "t", "u"), "", "1", "2"),
		withIDs(in("a", "u", "t"), "2", "1"),
		withIDs(in("b", "t", "u"), "1", "2"),
		withIDs(in("", "t", "u"), "1", "2"),
		withIDs(in("a", "t", "t"), "1", "2"),
		{{ID: "1", Stream: "a", Type: "t"}, {ID: "2", Stream: "b", Type: "u"}},
	} {
		s.refuse(eventsource.ErrInvalid, events)
		s.refuse(eventsource.ErrInvalid, events, eventsource.NoStream("a"))
	}
	s.fresh(withIDs(in("a", "v"), "new")) // none of them was recorded
}

func idsAreText(s store) {
	const uuid = "018f2f6e-7c1a-7bcd-9e00-0123456789ab"
	ids := []string{uuid, strings.ToUpper(uuid), "{" + uuid + "}", strings.ReplaceAll(uuid, "-", ""), "1", "01", "1 ", " 1", "ä", "a\u0308", "A", "a"}
	for _, id := range ids {
		s.fresh(withIDs(one("s", "t"), id))
	}
	for i, id := range ids {
		r := s.duplicate(withIDs(one("s", "t"), id))
		if r.Version != uint64(i)+1 {
			s.Fatalf("id %q is found at version %d, want %d", id, r.Version, i+1)
		}
		if got := s.read(eventsource.Query{{IDs: []string{id}}}, eventsource.ReadOptions{}); len(got) != 1 || got[0].ID != id {
			s.Fatalf("Read by id %q finds %+v", id, got)
		}
	}
}

func repeatOfMade(s store) {
	s.fresh(one("a", "t"))
	s.fresh(in("a", "t", "u"))
	made := s.all()
	r := s.duplicate([]eventsource.Event{made[1].Event, made[2].Event})
	if r.First != made[1].Position || r.Last != made[2].Position || r.Version != 3 {
		s.Fatalf("the repeat is %+v, want positions %v", r, positions(made[1:]))
	}
	mixed := []eventsource.Event{made[0].Event, {Stream: "a", Type: "t"}}
	s.refuse(eventsource.ErrInvalid, mixed)
	unknown := made[0].Event // as if from another store
	unknown.ID = unknown.ID[:19] + "8000-000000000000"
	if unknown.ID != made[0].ID {
		s.fresh([]eventsource.Event{unknown})
	}
}

func twins(s store) {
	for round := range 20 {
		stream := text(round)
		events := withIDs(in(stream, "t", "t"), stream+"-1", stream+"-2")
		var first eventsource.Result
		wrote := 0
		for _, a := range race(10, func(int) (eventsource.Result, error) {
			return s.Append(s.ctx, events, eventsource.NoStream(stream))
		}) {
			if a.err != nil {
				s.Fatalf("one of ten twins got %v, want a duplicate", a.err)
			}
			if !a.result.Duplicate {
				wrote++
			}
			a.result.Duplicate = false
			if first == (eventsource.Result{}) {
				first = a.result
			}
			if a.result != first {
				s.Fatalf("twins got %+v and %+v", first, a.result)
			}
		}
		if wrote != 1 || len(s.stream(stream)) != 2 {
			s.Fatalf("%d of ten twins wrote, the stream has %d events; want 1 and 2", wrote, len(s.stream(stream)))
		}
	}
}
