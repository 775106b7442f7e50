package eventtest

import (
	"fmt"
	"math"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
)

// badTexts are what no text may be.
var badTexts = []string{filled(256), "NUL\x00", "\x00", "bad \xff UTF-8", "\xed\xa0\x80"}

func refuseInvalid(s store) {
	s.fresh(one("a", "t"))
	refuse := func(events []eventsource.Event, conds ...eventsource.Condition) {
		s.Helper()
		s.refuse(eventsource.ErrInvalid, events, conds...)
	}
	refuse(nil)
	refuse([]eventsource.Event{})
	refuse([]eventsource.Event{{Stream: "a"}})
	refuse(append(one("a", "t"), eventsource.Event{Stream: "a"}))
	for _, bad := range badTexts {
		refuse([]eventsource.Event{{ID: bad, Type: "t"}})
		refuse([]eventsource.Event{{Stream: bad, Type: "t"}})
		refuse([]eventsource.Event{{Type: bad}})
		refuse([]eventsource.Event{{Type: "t", Tags: []string{"good", bad}}})
		refuse([]eventsource.Event{{Type: "t", Meta: map[string]string{bad: "v"}}})
		if len(bad) < 256 { // a value may be long
			refuse([]eventsource.Event{{Type: "t", Meta: map[string]string{"k": bad}}})
		}
	}
	refuse(base(func(e *eventsource.Event) { e.Schema = -1 }))
	refuse(base(func(e *eventsource.Event) { e.Tags = manyTags(65) }))
	refuse(base(func(e *eventsource.Event) { e.Meta = map[string]string{"k": filled(64 << 10)} }))
	refuse(base(func(e *eventsource.Event) { e.Data = make([]byte, 16<<20+1) }))
	refuse([]eventsource.Event{{ID: "twice", Type: "t"}, {ID: "once", Type: "t"}, {ID: "twice", Type: "t"}})
	refuse(make([]eventsource.Event, 10_001))
	refuse(in("a", strings.Split(strings.Repeat("t ", 10_000)+"t", " ")...))
	large := base(func(e *eventsource.Event) { e.Data = make([]byte, 13<<20) })[0]
	refuse([]eventsource.Event{large, large, large, large, large})

	good := one("a", "t")
	for _, bad := range append(badTexts, "") {
		refuse(good, eventsource.AtVersion(bad, 0))
		refuse(good, eventsource.NoStream(bad))
		refuse(good, eventsource.Exists(bad))
		refuse(good, eventsource.Track(bad, 1))
	}
	refuse(good, eventsource.Condition{})
	refuse(good, eventsource.AtVersion("a", 1), eventsource.AtVersion("a", 1))
	refuse(good, eventsource.AtVersion("a", 1), eventsource.Exists("a"))
	refuse(good, eventsource.NoStream("b"), eventsource.Exists("a"), eventsource.NoStream("b"))
	refuse(good, eventsource.Track("s", 1), eventsource.Track("s", 2))
	for _, q := range badQueries() {
		refuse(good, eventsource.NoneSince(q, 0))
	}
	refuse(good, eventsource.NoneSince(eventsource.Query{{}, {IDs: []string{"x"}}}, 0))
	for _, q := range badQueries() {
		s.refuseRead(q, eventsource.ReadOptions{})
	}
	s.refuseRead(eventsource.All(), eventsource.ReadOptions{Limit: -1})
}

func badQueries() (all []eventsource.Query) {
	for _, bad := range badTexts {
		all = append(all, eventsource.Stream(bad), byTags(bad), byTags("t", bad))
	}
	return append(all, make(eventsource.Query, 129), byTags("t", manyTags(128)...),
		eventsource.Query{{}, {Streams: manyTags(129)}}, eventsource.Query{{}, {Types: manyTags(129)}})
}

// refuseRead checks that a read yields ErrInvalid and ends.
func (s store) refuseRead(q eventsource.Query, o eventsource.ReadOptions) {
	s.Helper()
	n := 0
	for r, err := range s.Read(s.ctx, q, o) {
		if n++; !is(err, eventsource.ErrInvalid) || n > 1 {
			s.Fatalf("Read of %.200s with %+v yields %+v, %v; want ErrInvalid once", text(q), o, r, err)
		}
	}
	if n != 1 {
		s.Fatalf("Read of %.200s with %+v yields nothing, want ErrInvalid", text(q), o)
	}
}

// A limit names what is allowed, so that much must work.
func limits(s store) {
	events := []eventsource.Event{
		{ID: filled(255), Stream: filled(255), Type: filled(255), Tags: []string{filled(255)}},
		{Type: "t", Tags: manyTags(64), Schema: math.MaxInt32},
		{Type: "t", Tags: append(manyTags(63), "tag-0")},
		{Type: "t", Meta: map[string]string{filled(255): filled(64<<10 - 255)}},
	}
	s.fresh(events, eventsource.NoStream(filled(255)))
	for i, r := range s.all() {
		if !same(r.Event, events[i]) {
			s.Fatalf("event %d of %.100s comes back as %.100s", i, text(events[i]), text(r.Event))
		}
	}
	full := byTags("t", manyTags(127)...)
	s.fresh(one("a", "t"), eventsource.NoneSince(full, 0))
	if got := s.read(full, eventsource.ReadOptions{}); len(got) != 0 {
		s.Fatalf("nothing has 127 tags, and Read gives %+v", got)
	}
	var items eventsource.Query
	for i := range 128 {
		items = append(items, eventsource.Item{Tags: []string{fmt.Sprint("tag-", i)}})
	}
	if got := s.read(items, eventsource.ReadOptions{}); len(got) != 2 {
		s.Fatalf("Read of 128 items gives %d events, want 2", len(got))
	}
	if err := s.conflict(one("a", "t"), eventsource.NoneSince(items, 0)); err.Position != s.all()[2].Position {
		s.Fatalf("the newest match of 128 items is at %d, want %d", err.Position, s.all()[2].Position)
	}
}

// largeData is the most Data of an event, which is not all of one byte.
func largeData(s store) {
	e := eventsource.Event{Type: "t", Data: make([]byte, 16<<20)}
	for i := 0; i < len(e.Data); i += 1 << 10 {
		e.Data[i] = byte(i >> 10)
	}
	s.fresh([]eventsource.Event{e})
	if all := s.all(); len(all) != 1 || !same(all[0].Event, e) {
		s.Fatalf("an event with %d bytes of data does not come back", len(e.Data))
	}
}

// largest is the most events of an append, and reads far beyond one batch.
func largest(s store) {
	events := make([]eventsource.Event, 10_000)
	for i := range events {
		events[i] = eventsource.Event{Stream: fmt.Sprint("s", i%7), Type: "t", Data: fmt.Append(nil, i)}
	}
	r := s.fresh(events)
	all := s.all()
	if len(all) != len(events) || all[0].Position != r.First || all[len(all)-1].Position != r.Last {
		s.Fatalf("%d events come back, result %+v; want %d", len(all), r, len(events))
	}
	for i := range all {
		if !same(all[i].Event, events[i]) || all[i].Version != uint64(i/7)+1 {
			s.Fatalf("event %d is %+v with version %d", i, all[i].Event, all[i].Version)
		}
	}
	if got := s.read(eventsource.Stream("s3"), eventsource.ReadOptions{AfterVersion: 1000, Limit: 2}); len(got) != 2 || got[0].Version != 1001 {
		s.Fatalf("Read after version 1000 gives %+v", got)
	}
}
