package eventtest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

var raceTests = []storeTest{
	{"of ten appends under one NoneSince one wins", raceNoneSince},
	{"of ten appends under one AtVersion one wins", raceAtVersion},
	{"of ten creates under NoStream one wins", raceNoStream},
	{"of ten equal Tracks one wins", raceTrack},
	{"Exists holds under concurrent creates", raceExists},
	{"two appends that each exclude the other cannot both win", raceSkew},
	{"a version that is only checked does not move", raceCheckOnly},
	{"unconditional appends never conflict", raceUnconditional},
	{"a reader sees whole appends, in order", raceReaders},
	{"whoever follows Head misses nothing", raceFollowers},
	{"nothing appears at or below Head", raceHead},
}

const (
	rounds = 50
	racers = 10
)

// winners counts them; the others must have lost to target, and say so with a
// *ConflictError (T10).
func (s store) winners(attempts []attempt, target error) (n int) {
	s.Helper()
	for _, a := range attempts {
		if a.err == nil {
			n++
			continue
		}
		if !is(a.err, target) {
			s.Fatalf("the loser of a race got %T %v, want %v", a.err, a.err, target)
		}
		s.conflictOf(a.err)
	}
	return n
}

// oneWins runs rounds of races under the same conditions.
func (s store) oneWins(target error, events func(round, i int) []eventsource.Event, cond func(round int) eventsource.Condition) {
	s.Helper()
	for round := range rounds {
		c, before := cond(round), len(s.all())
		attempts := race(racers, func(i int) (eventsource.Result, error) {
			return s.Append(s.ctx, events(round, i), c)
		})
		if n, wrote := s.winners(attempts, target), len(s.all())-before; n != 1 || wrote != 1 {
			s.Fatalf("round %d under %v: %d of %d won, %d events; want one", round, c, n, racers, wrote)
		}
	}
}

// T3: by tag and type, by tag, by type, by stream, and by nothing at all.
func raceNoneSince(s store) {
	s.oneWins(eventsource.ErrConflict,
		func(round, i int) []eventsource.Event {
			return []eventsource.Event{{Stream: fmt.Sprint("s", round%3), Type: "t", Tags: []string{"x", fmt.Sprint("mine-", i)}}}
		},
		func(round int) eventsource.Condition {
			q := []eventsource.Query{
				byTags("t", "x"), byTags("", "x"), byTags("t"), eventsource.Stream(fmt.Sprint("s", round%3)), eventsource.All(),
				{{Tags: []string{"none"}}, {Types: []string{"none", "t"}}},
			}[round%6]
			return eventsource.NoneSince(q, s.head())
		})
}

func raceAtVersion(s store) {
	s.oneWins(eventsource.ErrConflict,
		func(int, int) []eventsource.Event { return one("hot", "t") },
		func(round int) eventsource.Condition { return eventsource.AtVersion("hot", uint64(round)) })
}

func raceNoStream(s store) {
	s.oneWins(eventsource.ErrConflict,
		func(round, _ int) []eventsource.Event { return one(fmt.Sprint("s", round), "t") },
		func(round int) eventsource.Condition { return eventsource.NoStream(fmt.Sprint("s", round)) })
}

func raceTrack(s store) {
	s.oneWins(eventsource.ErrTracked,
		func(_, i int) []eventsource.Event { return one(fmt.Sprint("s", i), "t") },
		func(round int) eventsource.Condition {
			return eventsource.Track("source", eventsource.Position(round+1))
		})
}

// T5: an append that holds because the stream exists comes after its creation.
func raceExists(s store) {
	for round := range rounds {
		created, other := fmt.Sprint("created-", round), fmt.Sprint("other-", round)
		attempts := race(racers, func(i int) (eventsource.Result, error) {
			if i == 0 {
				return s.Append(s.ctx, one(created, "t"), eventsource.NoStream(created))
			}
			return s.Append(s.ctx, one(other, "t"), eventsource.Exists(created))
		})
		s.winners(attempts, eventsource.ErrConflict)
		if attempts[0].err != nil {
			s.Fatalf("the only creation got %v", attempts[0].err)
		}
		for _, a := range attempts[1:] {
			if a.err == nil && a.result.First < attempts[0].result.First {
				s.Fatalf("an append at %d relied on a stream that began at %d", a.result.First, attempts[0].result.First)
			}
		}
	}
}

// raceSkew is write skew: each append writes what the other must not find.
func raceSkew(s store) {
	for round := range rounds {
		h := s.head()
		x, y := fmt.Sprint("x", round), fmt.Sprint("y", round)
		attempts := race(2, func(i int) (eventsource.Result, error) {
			mine, theirs := x, y
			if i == 1 {
				mine, theirs = y, x
			}
			switch round % 3 {
			case 0:
				return s.Append(s.ctx, tagged("t", mine), eventsource.NoneSince(byTags("", theirs), h))
			case 1:
				return s.Append(s.ctx, one(mine, "t"), eventsource.NoStream(theirs))
			default:
				return s.Append(s.ctx, tagged(mine), eventsource.NoneSince(byTags(theirs), h))
			}
		})
		if n := s.winners(attempts, eventsource.ErrConflict); n != 1 {
			s.Fatalf("round %d: %d of two appends that exclude each other won, want one", round, n)
		}
	}
}

// raceCheckOnly: who relied on version v of a stream comes before v+1.
func raceCheckOnly(s store) {
	for round := range rounds {
		v := uint64(round)
		attempts := race(racers, func(i int) (eventsource.Result, error) {
			if i == 0 {
				return s.Append(s.ctx, one("checked", "t"))
			}
			return s.Append(s.ctx, one(fmt.Sprint("s", i), "t"), eventsource.AtVersion("checked", v))
		})
		s.winners(attempts, eventsource.ErrConflict)
		for _, a := range attempts[1:] {
			if a.err == nil && a.result.First > attempts[0].result.First {
				s.Fatalf("an append at %d relied on version %d, which ended at %d", a.result.First, v, attempts[0].result.First)
			}
		}
	}
}

// T5: nothing is asked for, so nothing can fail.
func raceUnconditional(s store) {
	const each = 20
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			for range each {
				if _, err := s.Append(s.ctx, append(one("hot", "t"), append(one(fmt.Sprint("s", i), "t"), one("hot", "t")...)...)); err != nil {
					s.Errorf("an append without conditions got %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if hot := s.stream("hot"); len(hot) != 2*racers*each {
		s.Fatalf("the stream has %d events, want %d", len(hot), 2*racers*each)
	}
	s.checkVersions(s.all())
}

// checkVersions wants 1, 2, 3 ... in each stream, and time not to decrease.
func (s store) checkVersions(all []eventsource.Recorded) {
	s.Helper()
	last := map[string]eventsource.Recorded{}
	for _, r := range all {
		if r.Stream == "" {
			continue
		}
		before := last[r.Stream]
		if r.Version != before.Version+1 || r.Time.Before(before.Time) {
			s.Fatalf("stream %q has version %d at %v after version %d at %v", r.Stream, r.Version, r.Time, before.Version, before.Time)
		}
		last[r.Stream] = r
	}
}

// writers append batches of three, to streams and tags of their own and to a
// common one: as many as write says, beside whatever the caller does next. stop
// waits for them and returns all that is in the store.
func (s store) writers() (write func(batches int), stop func() []eventsource.Recorded) {
	permits := make(chan int, 1000)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range permits {
				batch := fmt.Sprint(i, "-", n)
				events := []eventsource.Event{
					{Stream: "common", Type: "first", Data: []byte(batch)},
					{Stream: fmt.Sprint("s", i), Type: "second", Tags: []string{"x"}, Data: []byte(batch)},
					{Type: "third", Data: []byte(batch)},
				}
				if _, err := s.Append(s.ctx, events); err != nil {
					s.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	sent := 0
	write = func(batches int) {
		for range batches {
			sent++
			permits <- sent
		}
	}
	return write, func() []eventsource.Recorded {
		s.Helper()
		close(permits)
		wg.Wait()
		all := s.all()
		if !s.Failed() && len(all) != 3*sent {
			s.Fatalf("%d events were written, the store has %d", 3*sent, len(all))
		}
		s.checkVersions(all)
		return all
	}
}

// looks are how often a reader looks while writers write.
const looks = 50

func raceReaders(s store) {
	write, stop := s.writers()
	for range looks {
		write(8)
		runtime.Gosched() // a store in memory may be faster than the scheduler
		if all := s.all(); !s.wholeAppends(all) {
			break
		}
	}
	s.wholeAppends(stop())
}

// wholeAppends checks that the events of an append of writers are neighbours.
func (s store) wholeAppends(all []eventsource.Recorded) bool {
	s.Helper()
	for i := 0; i < len(all); i += 3 {
		if i+2 >= len(all) || string(all[i].Data) != string(all[i+1].Data) || string(all[i].Data) != string(all[i+2].Data) {
			s.Errorf("a reader sees a part of an append: %+v", all[i:min(i+3, len(all))])
			return false
		}
	}
	if p := positions(all); !slices.IsSorted(p) || len(slices.Compact(slices.Clone(p))) != len(p) {
		s.Errorf("a reader sees positions %v", p)
		return false
	}
	return true
}

// follow does what every subscriber does: it reads up to Head, waits for more,
// and never looks back. It ends with the event of type "end", which q matches.
func (s store) follow(q eventsource.Query) (seen []eventsource.Recorded, err error) {
	for after := eventsource.Position(0); ; {
		if err := s.Wait(s.ctx, after); err != nil {
			return seen, err
		}
		h, err := s.Head(s.ctx)
		if err != nil {
			return seen, err
		}
		for r, err := range s.Read(s.ctx, q, eventsource.ReadOptions{After: after, UpTo: h}) {
			if err != nil {
				return seen, err
			}
			if seen = append(seen, r); r.Type == "end" {
				return seen, nil
			}
		}
		after = h
	}
}

// T12: followers who never look back end with all events, in order.
func raceFollowers(s store) {
	queries := []eventsource.Query{eventsource.All(), eventsource.Stream("common"), byTags("second", "x"), byTags("third"), nil}
	seen, errs := make([][]eventsource.Recorded, len(queries)), make([]error, len(queries))
	var wg sync.WaitGroup
	for i := range queries {
		queries[i] = append(queries[i], eventsource.Item{Types: []string{"end"}})
		wg.Go(func() { seen[i], errs[i] = s.follow(queries[i]) })
	}
	write, stop := s.writers()
	write(200)
	stop()
	s.fresh(one("end", "end"))
	wg.Wait()
	for i, q := range queries {
		want := selected(s.all(), q, eventsource.ReadOptions{})
		if errs[i] != nil || !sameRecords(seen[i], want) {
			s.Fatalf("the follower of %+v: %v, %d events at %v, want %d", q, errs[i], len(seen[i]), positions(seen[i]), len(want))
		}
	}
}

// T15: what was at or below a Head once is all there ever will be.
func raceHead(s store) {
	type look struct {
		head eventsource.Position
		seen []eventsource.Recorded
	}
	write, stop := s.writers()
	var seen []look
	for range looks {
		write(8)
		runtime.Gosched()
		h := s.head()
		if n := len(seen); n > 0 && h < seen[n-1].head {
			s.Fatalf("Head went back from %d to %d", seen[n-1].head, h)
		}
		if h > 0 { // no bound, else
			seen = append(seen, look{h, s.read(eventsource.All(), eventsource.ReadOptions{UpTo: h})})
		}
	}
	all := stop()
	for _, l := range seen {
		if now := selected(all, eventsource.All(), eventsource.ReadOptions{UpTo: l.head}); !sameRecords(l.seen, now) {
			s.Fatalf("at or below Head %d there were %d events, and now there are %d", l.head, len(l.seen), len(now))
		}
	}
}
