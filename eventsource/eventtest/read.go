package eventtest

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

var readTests = []storeTest{
	{"a nil query matches nothing", nilQuery},
	{"a version bound leaves out what is before it", versionBounds},
	{"reads agree with Match under all options", readOracle},
	{"AsOf on one stream is a prefix", asOf},
	{"limits count in the direction of the read", limit},
	{"a read shows the start of the loop, and the loop may append", appendInLoop},
	{"a read can be broken off and repeated", breakOff},
	{"a context that ends in the loop ends it", cancelInLoop},
}

func nilQuery(s store) {
	s.fresh(in("a", "t", "t"))
	for _, q := range []eventsource.Query{nil, {}} {
		if got := s.read(q, eventsource.ReadOptions{}); len(got) != 0 {
			s.Fatalf("Read of %#v gives %+v", q, got)
		}
	}
	if got := s.read(eventsource.Query{{}, {}}, eventsource.ReadOptions{}); len(got) != 2 {
		s.Fatalf("Read of two items that match all gives %d events, want each once", len(got))
	}
}

// T2: nothing stands in for the versions left out.
func versionBounds(s store) {
	s.fresh(in("a", "1", "2", "3", "4", "5"))
	s.fresh(in("", "none"))
	s.fresh(in("b", "b1", "b2"))
	for _, c := range []struct {
		q     eventsource.Query
		o     eventsource.ReadOptions
		types []string
	}{
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: 3}, []string{"4", "5"}},
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: 5}, nil},
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: 6}, nil},
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: math.MaxUint64}, nil},
		{eventsource.Stream("a"), eventsource.ReadOptions{UpToVersion: 2}, []string{"1", "2"}},
		{eventsource.Stream("a"), eventsource.ReadOptions{UpToVersion: math.MaxUint64}, []string{"1", "2", "3", "4", "5"}},
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: 1, UpToVersion: 3, Backward: true}, []string{"3", "2"}},
		{eventsource.Stream("a"), eventsource.ReadOptions{AfterVersion: 3, UpToVersion: 3}, nil},
		{eventsource.Stream("missing"), eventsource.ReadOptions{AfterVersion: 1}, nil},
		{eventsource.Stream(""), eventsource.ReadOptions{UpToVersion: 9}, nil},
		{eventsource.All(), eventsource.ReadOptions{UpToVersion: 1}, []string{"1", "b1"}},
		{eventsource.All(), eventsource.ReadOptions{AfterVersion: 1}, []string{"2", "3", "4", "5", "b2"}},
	} {
		var types []string
		for _, r := range s.read(c.q, c.o) {
			types = append(types, r.Type)
		}
		if !slices.Equal(types, c.types) {
			s.Fatalf("Read of %+v with %+v gives %q, want %q", c.q, c.o, types, c.types)
		}
	}
}

// readOracle compares random reads with a linear scan.
func readOracle(s store) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		s.fresh(randomEvents(r, 1+r.IntN(12)))
	}
	all := s.all()
	var ids []string
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	ids = append(ids, "unknown", "018f2f6e-7c1a-7bcd-9e00-0123456789ab")
	for range 400 {
		q, o := randomQuery(r, ids), randomOptions(r, all)
		if got, want := s.read(q, o), selected(all, q, o); !sameRecords(got, want) {
			s.Fatalf("Read of %+v with %+v\ngives %v\nwant  %v", q, o, positions(got), positions(want))
		}
	}
}

func randomOptions(r *rand.Rand, all []eventsource.Recorded) (o eventsource.ReadOptions) {
	position := func() eventsource.Position {
		switch r.IntN(6) {
		case 0, 1:
			return 0
		case 2:
			return math.MaxUint64
		default:
			return all[r.IntN(len(all))].Position
		}
	}
	version := func() uint64 { return uint64(max(0, r.IntN(16)-8)) }
	o = eventsource.ReadOptions{After: position(), UpTo: position(), AfterVersion: version(), UpToVersion: version(), Backward: r.IntN(2) == 0}
	if o.After == math.MaxUint64 && r.IntN(4) > 0 {
		o.After = 0
	}
	if r.IntN(3) == 0 {
		o.AsOf = all[r.IntN(len(all))].Time.Add(time.Duration(r.IntN(3)-1) * time.Microsecond)
	}
	if r.IntN(3) == 0 {
		o.Limit = 1 + r.IntN(20)
	}
	return o
}

// selected is the definition of Read.
func selected(all []eventsource.Recorded, q eventsource.Query, o eventsource.ReadOptions) (want []eventsource.Recorded) {
	for _, r := range all {
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

func asOf(s store) {
	for range 10 {
		s.fresh(in("a", "t", "t"))
	}
	all := s.stream("a")
	times := []time.Time{
		time.Unix(0, 0), time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), all[0].Time.Add(-time.Nanosecond),
	}
	for _, r := range all { // nanoseconds and zones of the caller do not matter
		times = append(times, r.Time, r.Time.Add(999), r.Time.In(time.FixedZone("elsewhere", 3600)))
	}
	for _, at := range times {
		o := eventsource.ReadOptions{AsOf: at}
		got := s.read(eventsource.Stream("a"), o)
		if want := selected(all, eventsource.Stream("a"), o); !sameRecords(got, want) || !sameRecords(got, all[:len(got)]) {
			s.Fatalf("as of %v there are %d events, want %d", at, len(got), len(want))
		}
	}
}

func limit(s store) {
	s.fresh(in("a", "1", "2", "3", "4", "5"))
	all := s.all()
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	for n := 1; n <= 6; n++ {
		forward := s.read(eventsource.All(), eventsource.ReadOptions{Limit: n})
		backward := s.read(eventsource.All(), eventsource.ReadOptions{Limit: n, Backward: true})
		if k := min(n, 5); !sameRecords(forward, all[:k]) || !sameRecords(backward, backwards[:k]) {
			s.Fatalf("limit %d gives %v and backwards %v", n, positions(forward), positions(backward))
		}
	}
	if got := s.read(eventsource.All(), eventsource.ReadOptions{Limit: math.MaxInt}); !sameRecords(got, all) {
		s.Fatalf("a limit beyond all gives %v", positions(got))
	}
}

// T8: no lock is held while an event is yielded.
func appendInLoop(s store) {
	s.fresh(in("a", "t", "t", "t"))
	for _, backward := range []bool{false, true} {
		before, n := s.all(), 0
		for _, err := range s.Read(s.ctx, eventsource.All(), eventsource.ReadOptions{Backward: backward}) {
			if err != nil {
				s.Fatalf("Read: %v", err)
			}
			n++
			s.fresh(one("a", "t"), eventsource.AtVersion("a", uint64(len(before)+n-1)))
			if len(s.all()) != len(before)+n {
				s.Fatalf("a read in the loop does not show what the loop appended")
			}
		}
		if n != len(before) {
			s.Fatalf("the loop saw %d events, at its start there were %d", n, len(before))
		}
	}
	for _, err := range s.Read(s.ctx, eventsource.All(), eventsource.ReadOptions{}) {
		if s.head(); err != nil {
			s.Fatalf("Read: %v", err)
		}
		break // and Head works inside
	}
}

func breakOff(s store) {
	for range 20 {
		s.fresh(in("a", "t", "t", "t", "t", "t", "t", "t", "t", "t", "t"))
	}
	seq := s.Read(s.ctx, eventsource.All(), eventsource.ReadOptions{})
	for want := range 50 {
		n := 0
		for r, err := range seq {
			if err != nil || r.Version != uint64(n+1) {
				s.Fatalf("event %d of a repeated read is %+v, %v", n, r, err)
			}
			if n++; n > want {
				break
			}
		}
	}
	s.fresh(one("a", "t"))
	n := 0
	for range seq {
		n++
	}
	if n != 201 {
		s.Fatalf("the loop saw %d events, at its start there were 201", n)
	}
}

func cancelInLoop(s store) {
	for range 3 {
		s.fresh(in("a", slices.Repeat([]string{"t"}, 1000)...))
	}
	ctx, cancel := withCause(s.ctx)
	cause := errors.New("eventtest: enough")
	events, failed := 0, false
	for _, err := range s.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
		if failed {
			s.Fatalf("a read goes on after its error")
		}
		if failed = err != nil; failed && !is(err, cause) {
			s.Fatalf("the read ends with %v, want the cause", err)
		}
		if events++; events == 10 {
			cancel(cause)
		}
	}
	if !failed {
		s.Fatalf("a read of 3000 events goes to its end although its context has ended")
	}
}
