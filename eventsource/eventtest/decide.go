package eventtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

// What is built on a store, on the store: each of these fails if the store
// breaks a promise that it rests on.
var decideTests = []storeTest{
	{"Handle on one stream loses no update", handleStream},
	{"Handle within a query admits one", handleWithin},
	{"Handle with a key decides once", handleKey},
	{"Fold gives the state at a version, a position and a time", foldAt},
	{"Subscribe gives exactly the tail from every position", subscribeTails},
	{"a projection applies each event", project},
}

// counted is the n-th event of its history.
type counted struct{ N int }

var (
	counts = eventsource.NewCodec(map[string]counted{"counted": {}})
	count  = eventsource.Decider[int, counted, int]{
		Evolve: func(n int, _ counted) int { return n + 1 },
		Decide: func(n, most int) ([]counted, error) {
			if n >= most {
				return nil, errFull
			}
			return []counted{{n + 1}}, nil
		},
	}
	errFull = errors.New("eventtest: full")
)

func handleStream(s store) {
	const each = 8
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			for range each {
				if _, err := count.Handle(s.ctx, s, counts, eventsource.Scope{Stream: "a", MaxAttempts: 1000}, racers*each); err != nil {
					s.Errorf("Handle: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for i, r := range s.stream("a") {
		if e, err := counts.Decode(r); err != nil || e.N != i+1 {
			s.Fatalf("event %d was decided as number %d, %v", i+1, e.N, err)
		}
	}
}

// T16: places of an event that belongs to no stream.
func handleWithin(s store) {
	for round := range 10 {
		tag := fmt.Sprint("round-", round)
		in := eventsource.Scope{Within: byTags("counted", tag), MaxAttempts: 1000}
		codec := eventsource.NewCodec(map[string]place{"counted": {}})
		decider := eventsource.Decider[int, place, int]{
			Evolve: func(n int, _ place) int { return n + 1 },
			Decide: func(n, most int) ([]place, error) {
				if n >= most {
					return nil, errFull
				}
				return []place{{counted{n + 1}, tag}}, nil
			},
		}
		full := 0
		for _, a := range race(racers, func(int) (eventsource.Result, error) {
			out, err := decider.Handle(s.ctx, s, codec, in, 3)
			return out.Result, err
		}) {
			if a.err != nil && !is(a.err, errFull) {
				s.Fatalf("Handle: %v", a.err)
			}
			if a.err != nil {
				full++
			}
		}
		if n := len(s.read(in.Within, eventsource.ReadOptions{})); n != 3 || full != racers-3 {
			s.Fatalf("%d places of 3 are taken, %d of %d were turned away", n, full, racers)
		}
	}
}

// place is counted with a tag.
type place struct {
	counted
	Tag string
}

// EventTags is what the codec asks for.
func (p place) EventTags() []string { return []string{p.Tag} }

func handleKey(s store) {
	for round := range 5 {
		in := eventsource.Scope{Stream: fmt.Sprint("a", round), Key: "request", MaxAttempts: 1000}
		for _, a := range race(racers, func(int) (eventsource.Result, error) {
			out, err := count.Handle(s.ctx, s, counts, in, 99)
			if err == nil && (out.State != 1 || !slices.Equal(out.Events, []counted{{1}})) {
				err = fmt.Errorf("eventtest: the outcome is %+v", out)
			}
			return out.Result, err
		}) {
			if a.err != nil || a.result.First != a.result.Last {
				s.Fatalf("Handle with a key is %+v, %v", a.result, a.err)
			}
		}
		if n := len(s.stream(in.Stream)); n != 1 {
			s.Fatalf("ten calls with one key wrote %d events", n)
		}
	}
}

func foldAt(s store) {
	for n := range 9 {
		s.fresh([]eventsource.Event{{Stream: "a", Type: "counted", Data: fmt.Appendf(nil, `{"N":%d}`, n+1)}, {Stream: "b", Type: "other"}})
	}
	all := s.stream("a")
	fold := func(o eventsource.ReadOptions) int {
		s.Helper()
		sum, last, err := eventsource.Fold(s.ctx, s, counts, eventsource.Stream("a"), o, 0, func(n int, e counted) int { return n + e.N })
		if err != nil || last.Version*(last.Version+1)/2 != uint64(sum) {
			s.Fatalf("Fold with %+v is %d at %+v, %v", o, sum, last, err)
		}
		return sum
	}
	for i, r := range all {
		want := (i + 1) * (i + 2) / 2
		for _, o := range []eventsource.ReadOptions{{UpToVersion: r.Version}, {UpTo: r.Position}} {
			if got := fold(o); got != want {
				s.Fatalf("the sum with %+v is %d, want %d", o, got, want)
			}
		}
		if got := fold(eventsource.ReadOptions{AsOf: r.Time}); got < want {
			s.Fatalf("the sum as of %v is %d, want %d at least", r.Time, got, want)
		}
	}
}

// T20: whoever subscribes while others write gets what comes after its
// position, each once, in order.
func subscribeTails(s store) {
	write, stop := s.writers()
	var wg sync.WaitGroup
	type tail struct {
		after eventsource.Position
		seen  []eventsource.Recorded
		err   error
	}
	tails := make([]tail, 0, 12)
	for i := range cap(tails) {
		write(8)
		after := s.head() / eventsource.Position(1+i%3)
		tails = append(tails, tail{after: after})
		mine := &tails[len(tails)-1]
		wg.Go(func() {
			for b, err := range eventsource.Subscribe(s.ctx, s, eventsource.All(), after) {
				if mine.seen, mine.err = append(mine.seen, b.Events...), err; err != nil || ends(mine.seen) {
					return
				}
			}
		})
	}
	stop()
	s.fresh(one("end", "end"))
	wg.Wait()
	all := s.all()
	for _, tail := range tails {
		want := selected(all, eventsource.All(), eventsource.ReadOptions{After: tail.after})
		if tail.err != nil || !sameRecords(tail.seen, want) {
			s.Fatalf("after %d Subscribe gives %d events, %v; want %d", tail.after, len(tail.seen), tail.err, len(want))
		}
	}
}

func ends(seen []eventsource.Recorded) bool {
	return len(seen) > 0 && seen[len(seen)-1].Type == "end"
}

// project runs only on a store that has checkpoints as well.
func project(s store) {
	cps, ok := s.Store.(eventsource.Checkpoints)
	if !ok {
		return
	}
	var mu sync.Mutex
	applied := map[string]uint64{} // the last version of each stream
	n := 0
	p := eventsource.Projection{
		Name: "applied", Query: eventsource.Query{{Types: []string{"first", "second", "end"}}}, Partitions: 2,
		Apply: func(_ context.Context, b eventsource.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Events {
				if r.Version != applied[r.Stream]+1 {
					return fmt.Errorf("eventtest: version %d of %q comes after %d", r.Version, r.Stream, applied[r.Stream])
				}
				applied[r.Stream] = r.Version
				n++
			}
			return nil
		},
	}
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, s, cps) }()
	write, stop := s.writers()
	write(100)
	stop()
	last := s.fresh(one("end", "end")).Last
	if err := p.WaitFor(s.ctx, cps, last); err != nil {
		s.Errorf("WaitFor(%d): %v", last, err)
	}
	cancel()
	if err := <-done; !is(err, context.Canceled) {
		s.Errorf("Run: %v", err)
	}
	if n != 201 {
		s.Errorf("%d events were applied, want 201", n)
	}
}
