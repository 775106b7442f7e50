// Package breaker_test compares the breaker with a model of it, over long
// random histories in virtual time.
package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keelson-go/keelson/breaker"
)

var errDown = errors.New("down")

// later is a failure that says when to come back.
type later time.Duration

func (l later) Error() string             { return "come back later" }
func (l later) RetryAfter() time.Duration { return time.Duration(l) }

// machine runs a breaker and its model side by side.
type machine struct {
	*rapid.T
	b        *breaker.Breaker
	m        *model
	start    time.Time
	events   []breaker.Event
	checked  int
	permits  []*permit
	releases []release
}

type release struct {
	f    func()
	s    breaker.State
	over bool
}

func (x *machine) now() int64 { return int64(time.Since(x.start)) }

// Every random history leads the breaker and the model to the same state,
// statistics and events at each step; and after each of them 1.1*MaxOpenFor +
// ProbeTimeout and Probes good calls end closed.
func TestBreakerFollowsItsModel(t *testing.T) {
	ops, seen := 0, map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(t *rapid.T) {
			x := newMachine(t)
			// One draw decides the history, since a thousand draws of single
			// steps take rapid longer than the steps.
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			for range rapid.SampledFrom([]int{10, 100, 1000, 5000, 20_000}).Draw(t, "steps") {
				x.step(r)
				x.check()
				ops++
			}
			x.recovers()
			for _, ev := range x.events {
				seen[ev.Reason]++
			}
		})
	})
	if ops < 100_000 {
		t.Errorf("%d steps, want 1e5", ops)
	}
	for _, reason := range reasons {
		if seen[reason] < 10 {
			t.Errorf("%d events %q in %d steps: the histories lead nowhere", seen[reason], reason, ops)
		}
	}
	t.Logf("%d steps, events %v", ops, seen)
}

var reasons = []string{
	"consecutive", "failure-rate", "slow-rate", "trip", "timer", "probe-failed", "probe-slow", "probe-lost",
	"recovered", "reset", "hold", "release",
}

// noDeadline hides the method Deadline, which a bubble has not.
type noDeadline struct{ testing.TB }

func newMachine(t *rapid.T) *machine {
	c := breaker.Config{
		FailureRate: rapid.SampledFrom([]float64{-1, 0.1, 0.5, 1}).Draw(t, "FailureRate"),
		SlowAfter:   rapid.SampledFrom([]time.Duration{-1, 400 * time.Millisecond}).Draw(t, "SlowAfter"),
		SlowRate:    rapid.SampledFrom([]float64{0.25, 1}).Draw(t, "SlowRate"),
		Consecutive: rapid.SampledFrom([]int{0, 3, 8}).Draw(t, "Consecutive"),
		MinCalls:    rapid.IntRange(1, 10).Draw(t, "MinCalls"),
		OpenFor:     time.Second,
		MaxOpenFor:  rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second}).Draw(t, "MaxOpenFor"),
		Probes:      rapid.IntRange(1, 4).Draw(t, "Probes"),

		ProbeTimeout: 3 * time.Second,
	}
	if rapid.Bool().Draw(t, "LastCalls") {
		c.LastCalls = 10
	} else {
		c.Window = time.Second
	}
	x := &machine{T: t, start: time.Now()}
	x.m = &model{cfg: c, flying: map[*permit]bool{}}
	c.OnEvent = func(ev breaker.Event) {
		x.events = append(x.events, ev)
		if ev.To == breaker.Open && ev.OpenFor > 0 {
			x.m.opened = append(x.m.opened, ev.OpenFor)
		}
	}
	x.b = breaker.New(c)
	return x
}

// step does one random thing.
func (x *machine) step(r *rand.Rand) {
	switch n := r.IntN(100); {
	case n < 40:
		x.allow(r.IntN(20) == 0)
	case n < 75:
		x.settle(r)
	case n < 79:
		x.cancel(r)
	case n < 95:
		x.sleep(r)
	case n < 96:
		if r.IntN(3) > 0 {
			return
		}
		d := time.Duration(1 + r.Int64N(int64(x.m.cfg.MaxOpenFor)))
		x.b.Trip(d, errDown)
		x.m.manualTrip(x.now(), d)
	case n < 97:
		if r.IntN(3) == 0 {
			x.b.Reset()
			x.m.reset(x.now())
		}
	case n < 98:
		if r.IntN(4) > 0 {
			return
		}
		s := []breaker.State{breaker.Open, breaker.Closed}[r.IntN(2)]
		x.releases = append(x.releases, release{f: x.b.Hold(s), s: s})
		x.m.hold(x.now(), s, 1, "hold")
	case len(x.releases) > 0:
		x.release(max(0, len(x.releases)-1-r.IntN(3))) // often again
	}
}

// gone is the context of a caller that has left.
var gone = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errDown)
	return ctx
}()

func (x *machine) allow(dead bool) {
	ctx := context.Background()
	if dead {
		ctx = gone
	}
	p, err := x.b.Allow(ctx)
	reason, admitted := x.m.allow(x.now(), dead)
	rejected, refused := errors.AsType[*breaker.RejectedError](err)
	switch {
	case admitted != nil && err == nil:
		admitted.real = &p
		x.permits = append(x.permits, admitted)
	case reason != "" && refused && rejected.Reason == reason && rejected.Gate == x.b:
	case admitted == nil && reason == "" && errors.Is(err, errDown):
	default:
		x.Fatalf("Allow returned %v, want refusal %q, permit %v", err, reason, admitted != nil)
	}
	if len(x.permits) > 15 { // forget the oldest, settled or not
		x.permits = x.permits[1:]
	}
}

// settle ends a call in one of all ways, also one that is over already.
func (x *machine) settle(r *rand.Rand) {
	if len(x.permits) == 0 {
		return
	}
	p := x.permits[r.IntN(len(x.permits))]
	asked := time.Duration(r.Int64N(int64(10 * time.Second)))
	switch r.IntN(7) {
	case 0, 1:
		p.real.Done(errDown)
		x.m.settle(x.now(), p, breaker.Failure, 0)
	case 2:
		p.real.Done(fmt.Errorf("users: %w", later(asked)))
		x.m.settle(x.now(), p, breaker.Failure, asked)
	case 3:
		p.real.Done(fmt.Errorf("users: %w", breaker.ErrRejected))
		x.m.settle(x.now(), p, breaker.Ignored, 0)
	default:
		p.real.Done(nil)
		x.m.settle(x.now(), p, breaker.Success, 0)
	}
}

func (x *machine) cancel(r *rand.Rand) {
	if len(x.permits) > 0 {
		p := x.permits[r.IntN(len(x.permits))]
		p.real.Cancel()
		x.m.cancel(p)
	}
}

// sleep lets time pass, often to an edge or one nanosecond before it.
func (x *machine) sleep(r *rand.Rand) {
	c, now := &x.m.cfg, x.now()
	edges := []time.Duration{
		time.Duration(r.Int64N(int64(100 * time.Millisecond))),
		time.Duration(r.Int64N(int64(2 * time.Second))),
		x.b.RetryAfter(),
		c.ProbeTimeout - time.Duration(now-x.m.lastProbe),
	}
	if c.Window > 0 {
		width := int64(c.Window) / 10
		edges = append(edges, time.Duration(width-now%width), c.Window)
	}
	if c.SlowAfter > 0 {
		edges = append(edges, c.SlowAfter, time.Duration(x.m.quarter()-now%x.m.quarter()))
	}
	d := edges[r.IntN(len(edges))]
	if r.IntN(4) == 0 {
		d--
	}
	time.Sleep(d)
}

func (x *machine) release(i int) {
	rel := &x.releases[i]
	rel.f() // also again, which must do nothing
	if !rel.over {
		rel.over = true
		x.m.hold(x.now(), rel.s, -1, "release")
	}
}

// check compares all that can be seen.
func (x *machine) check() {
	want, got := x.m.expect(x.now()), x.b.Stats()
	got.Name, got.Threshold, got.Cause = "", 0, nil
	if got != want {
		x.Fatalf("statistics\n got %+v\nwant %+v", got, want)
	}
	if x.b.State() != want.State || x.b.RetryAfter() != want.RetryAfter {
		x.Fatalf("%v, %v; want %v, %v", x.b.State(), x.b.RetryAfter(), want.State, want.RetryAfter)
	}
	if len(x.events) != len(x.m.events) || len(x.m.wrong) > 0 || len(x.m.opened) > 0 {
		x.Fatalf("%d events, want %d; %v, %v", len(x.events), len(x.m.events), x.m.wrong, x.m.opened)
	}
	for ; x.checked < len(x.events); x.checked++ {
		ev := x.events[x.checked]
		if text := fmt.Sprint(ev.From, " ", ev.To, " ", ev.Reason); text != x.m.events[x.checked] || ev.Seq != uint64(x.checked+1) {
			x.Fatalf("event %d is %q, want %q", ev.Seq, text, x.m.events[x.checked])
		}
	}
}

// recovers checks that nothing wedges the breaker. Calls that hang may open it
// once more, if slow calls are looked at.
func (x *machine) recovers() {
	for i := range x.releases {
		x.release(i)
	}
	rounds := 1
	if x.m.cfg.SlowAfter > 0 {
		rounds = 2
	}
	for range rounds {
		time.Sleep(x.m.cfg.MaxOpenFor + x.m.cfg.MaxOpenFor/10 + x.m.cfg.ProbeTimeout)
		for range x.m.cfg.Probes {
			_ = breaker.Run(context.Background(), x.b, func(context.Context) error { return nil })
		}
		if x.b.State() == breaker.Closed {
			return
		}
	}
	x.Fatalf("still %v: %+v", x.b.State(), x.b.Stats())
}
