package eventtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

var appendTests = []storeTest{
	{"an empty store has no events and head 0", emptyStore},
	{"events come back as they were appended", roundTrip},
	{"an event without an id gets a UUIDv7", madeIDs},
	{"positions follow the slice and versions count on", numbering},
	{"time is UTC in microseconds and does not decrease", recordedTime},
	{"appended and returned memory is the caller's", noAlias},
	{"invalid appends are refused", refuseInvalid},
	{"limits are inclusive", limits},
	{"data of 16 MiB comes back", largeData},
	{"ten thousand events are one append", largest},
	{"ended contexts are not ignored", endedContext},
}

func emptyStore(s store) {
	if h := s.head(); h != 0 {
		s.Fatalf("Head of an empty store is %d", h)
	}
	for _, q := range []eventsource.Query{nil, eventsource.All(), eventsource.Stream("a"), byTags("t", "tag")} {
		if got := s.read(q, eventsource.ReadOptions{}); len(got) != 0 {
			s.Fatalf("Read of an empty store gives %v", got)
		}
	}
}

// nasty are texts that storage formats stumble over: SQL arrays, LIKE, JSON,
// separators, several normal forms.
var nasty = []string{
	`"`, `'`, `\`, `\\`, `{`, `}`, `{a,b}`, `,`, `;`, `%`, `_`, `$1`, `?1`, "NULL", " ", "a b", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f",
	"/", ":", "a:b", "ü", "u\u0308", "日本", "🜁", "\u2028", "\ufeff", "\ufffd", "<html>&amp;", `{"json":"\u0000"}`,
}

// T9: bytes and texts survive.
func roundTrip(s store) {
	var events []eventsource.Event
	for i, n := range nasty {
		events = append(events, eventsource.Event{
			ID: n + "-id", Stream: n, Type: n, Schema: i, Tags: []string{n, "common", n, n + n},
			Meta: map[string]string{n: n, "k" + n: "", "": n}, Data: []byte(n),
		})
	}
	for _, data := range [][]byte{nil, {}, {0}, {0, 0, 0}, {0xff, 0xfe, 0}, []byte("\x00NUL first"), []byte("NUL last\x00"), everyByte()} {
		events = append(events, eventsource.Event{Stream: "bytes", Type: "t", Data: data, Tags: []string{}, Meta: map[string]string{}})
	}
	events = append(events, eventsource.Event{Type: "without anything"}, eventsource.Event{Type: "an empty tag", Tags: []string{""}})
	s.fresh(events)
	got := s.all()
	if len(got) != len(events) {
		s.Fatalf("%d events were appended, %d come back", len(events), len(got))
	}
	for i, want := range events {
		if !same(got[i].Event, want) {
			s.Fatalf("appended %+v\nread     %+v", want, got[i].Event)
		}
	}
	for i, n := range nasty { // each text finds its event, and no other
		for _, q := range []eventsource.Query{
			eventsource.Stream(n), {{Types: []string{n}}}, {{Tags: []string{n + n}}}, {{Tags: []string{"common", n}}}, {{IDs: []string{n + "-id"}}},
		} {
			if found := s.read(q, eventsource.ReadOptions{}); len(found) != s.matching(events, q) || !slices.ContainsFunc(found, func(r eventsource.Recorded) bool { return r.ID == events[i].ID }) {
				s.Fatalf("Read of %q finds %+v", q, found)
			}
		}
	}
}

// matching counts by the oracle.
func (s store) matching(events []eventsource.Event, q eventsource.Query) (n int) {
	for _, e := range events {
		if q.Match(e) {
			n++
		}
	}
	return n
}

func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

var uuidv7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func madeIDs(s store) {
	s.fresh(in("a", "t", "t", "t"))
	s.fresh(tagged("t", "x"))
	seen := map[string]bool{}
	for _, r := range s.all() {
		if !uuidv7.MatchString(r.ID) || seen[r.ID] {
			s.Fatalf("the store made the id %q, want a UUIDv7 of its own", r.ID)
		}
		seen[r.ID] = true
		if got := s.read(eventsource.Query{{IDs: []string{r.ID}}}, eventsource.ReadOptions{}); len(got) != 1 || got[0].Position != r.Position {
			s.Fatalf("Read by id %q finds %+v", r.ID, got)
		}
	}
}

func numbering(s store) {
	first := s.fresh([]eventsource.Event{{Stream: "a", Type: "1"}, {Stream: "b", Type: "2"}, {Type: "3"}, {Stream: "a", Type: "4"}})
	second := s.fresh([]eventsource.Event{{Stream: "b", Type: "5"}, {Stream: "a", Type: "6"}, {Type: "7"}})
	if first.Version != 2 || second.Version != 0 {
		s.Fatalf("the last events' versions are %d and %d, want 2 and 0", first.Version, second.Version)
	}
	all := s.all()
	versions := map[string]uint64{"1": 1, "2": 1, "3": 0, "4": 2, "5": 2, "6": 3, "7": 0}
	for i, r := range all {
		if r.Type != fmt.Sprint(i+1) || r.Version != versions[r.Type] {
			s.Fatalf("event %d is %q with version %d, want version %d", i+1, r.Type, r.Version, versions[r.Type])
		}
		if r.Position == 0 || i > 0 && r.Position <= all[i-1].Position {
			s.Fatalf("positions are %v, want them to increase from 1", positions(all))
		}
	}
	if first.First != all[0].Position || first.Last != all[3].Position || second.First != all[4].Position || second.Last != all[6].Position {
		s.Fatalf("positions are %v, the results %+v and %+v", positions(all), first, second)
	}
	if h := s.head(); h < second.Last {
		s.Fatalf("nobody writes, and Head is %d below the last position %d", h, second.Last)
	}
}

func recordedTime(s store) {
	before := time.Now()
	for range 20 {
		s.fresh(in("a", "t", "t"))
	}
	all := s.all()
	for i, r := range all {
		if r.Time.Location() != time.UTC || r.Time.Nanosecond()%1000 != 0 {
			s.Fatalf("the time is %v, want UTC in microseconds", r.Time)
		}
		if i > 0 && r.Time.Before(all[i-1].Time) {
			s.Fatalf("time decreases from %v to %v", all[i-1].Time, r.Time)
		}
		if d := r.Time.Sub(before).Abs(); d > time.Hour { // another host's clock, perhaps
			s.Fatalf("the time is %v, %v from now", r.Time, d)
		}
	}
}

// T8: what a caller changes afterwards does not change the store.
func noAlias(s store) {
	event := func() eventsource.Event {
		return eventsource.Event{Stream: "a", Type: "t", Tags: []string{"x", "y"}, Meta: map[string]string{"k": "v"}, Data: []byte("data")}
	}
	scribble := func(e eventsource.Event) {
		e.Tags[0], e.Meta["k"], e.Meta["new"], e.Data[0] = "changed", "changed", "changed", 'X'
		_ = beyond(e.Data, []byte("beyond")...)
		_ = beyond(e.Tags, "beyond")
	}
	events := []eventsource.Event{event(), event()}
	s.fresh(events)
	scribble(events[0])
	events[1].Stream = "changed"
	for range 2 {
		all := s.all()
		for i := range all {
			if !same(all[i].Event, event()) {
				s.Fatalf("the stored event %d has become %+v", i, all[i].Event)
			}
			scribble(all[i].Event)
		}
	}
}

// beyond writes behind the end of a slice, as far as its capacity goes.
func beyond[T any](slice []T, more ...T) []T {
	if free := slice[len(slice):cap(slice)]; len(free) > 0 {
		copy(free, more)
	}
	return append(slice, more...)
}

func endedContext(s store) {
	s.fresh(one("a", "t"))
	ctx, cause := ended()
	if r, err := s.Append(ctx, one("a", "t")); !is(err, cause) {
		s.Fatalf("Append is %+v, %v; want the cause", r, err)
	}
	if h, err := s.Head(ctx); !is(err, cause) {
		s.Fatalf("Head is %d, %v; want the cause", h, err)
	}
	for _, after := range []eventsource.Position{0, s.head()} {
		if err := s.Wait(ctx, after); !is(err, cause) {
			s.Fatalf("Wait(%d) is %v, want the cause", after, err)
		}
	}
	n := 0
	for r, err := range s.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
		if n++; !is(err, cause) || n > 1 {
			s.Fatalf("Read yields %+v, %v; want the cause once", r, err)
		}
	}
	if n != 1 || len(s.all()) != 1 {
		s.Fatalf("Read yields %d errors, the store has %d events; want 1 and 1", n, len(s.all()))
	}
}

// manyTags are n different ones.
func manyTags(n int) (tags []string) {
	for i := range n {
		tags = append(tags, fmt.Sprint("tag-", i))
	}
	return tags
}

// filled is a text of n bytes.
func filled(n int) string { return strings.Repeat("x", n) }

// base is an event with one field changed.
func base(change func(e *eventsource.Event)) []eventsource.Event {
	e := eventsource.Event{Stream: "a", Type: "t"}
	change(&e)
	return []eventsource.Event{e}
}
