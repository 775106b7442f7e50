package breaker_test

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

var update = flag.Bool("update", false, "write overload.md")

// backend is a queue in front of servers that take an exponential time per
// call. When the queue is full it refuses, which costs a server less, but not
// nothing. It does not know that a caller has given up, as most do not: work that
// nobody waits for keeps the servers from work that somebody waits for.
type backend struct {
	mean    time.Duration
	busy    int
	queue   []*request
	refused int // calls to be refused, which comes first
}

type request struct {
	permit  breaker.Permit
	settled bool
}

// simulation is a loop over arrivals and completions in virtual time, on one
// goroutine: the gate sees load and latency that depend on what it admitted.
type simulation struct {
	gate    breaker.Gate
	random  *rand.Rand
	backend backend
	due     agenda
	good    int // calls that were answered in time
}

// agenda is what will happen, by time.
type agenda []event

type event struct {
	at time.Time
	do func()
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// phase is a stretch of constant conditions.
type phase struct {
	name string
	load float64 // arrivals per what healthy servers can do
	slow float64 // how many times as long each call takes
}

var phases = []phase{
	{"0.5 x load", 0.5, 1},
	{"1.2 x load", 1.2, 1},
	{"2 x load", 2, 1},
	{"3 x load", 3, 1},
	{"0.8 x load again", 0.8, 1},
	{"0.8 x load, service 3 x slower", 0.8, 3},
	{"0.8 x load, service well again", 0.8, 1},
}

const (
	servers  = 50
	service  = 20 * time.Millisecond
	queue    = 600
	refusal  = 4 * time.Millisecond // time of a server to refuse a call
	patience = 250 * time.Millisecond
	length   = 15 * time.Second
)

const header = `# Goodput under overload

The share of the calls that could be answered which were answered in time, by
TestGoodputUnderOverload (virtual time; "go test -run Goodput -update" writes
this file): %d servers of %v per call behind a queue of %d, %v of a server to
refuse a call, callers that wait %v, phases of %v one after the other.

`

// run returns the goodput of each phase, as a share of what could be answered.
func (s *simulation) run() (goodput []float64) {
	for _, p := range phases {
		s.backend.mean = time.Duration(float64(service) * p.slow)
		s.good = 0
		capacity := float64(servers) / service.Seconds() // calls per second, when healthy
		end := time.Now().Add(length)
		next := time.Now()
		for next.Before(end) {
			s.until(next)
			s.arrive()
			next = next.Add(time.Duration(s.random.ExpFloat64() / (capacity * p.load) * 1e9))
		}
		s.until(end)
		possible := min(p.load, 1/p.slow) * capacity * length.Seconds()
		goodput = append(goodput, float64(s.good)/possible)
	}
	return goodput
}

// until lets happen what is due before then.
func (s *simulation) until(then time.Time) {
	for len(s.due) > 0 && !s.due[0].at.After(then) {
		ev := heap.Pop(&s.due).(event)
		time.Sleep(time.Until(ev.at))
		ev.do()
	}
	time.Sleep(time.Until(then))
}

func (s *simulation) after(d time.Duration, do func()) {
	heap.Push(&s.due, event{time.Now().Add(d), do})
}

func (s *simulation) arrive() {
	r := new(request)
	if s.gate != nil {
		var err error
		if r.permit, err = s.gate.Allow(context.Background()); err != nil {
			return
		}
	}
	s.after(patience, func() { s.settle(r, context.DeadlineExceeded) })
	if b := &s.backend; len(b.queue) < queue {
		b.queue = append(b.queue, r)
	} else {
		b.refused++
		s.settle(r, errDown)
	}
	s.start()
}

// start gives free servers work, also work that nobody waits for any more.
func (s *simulation) start() {
	for b := &s.backend; b.busy < servers && b.refused+len(b.queue) > 0; {
		if b.refused > 0 {
			b.refused--
			b.busy++
			s.after(refusal, func() {
				b.busy--
				s.start()
			})
			continue
		}
		r := b.queue[0]
		b.queue = b.queue[1:]
		b.busy++
		s.after(time.Duration(s.random.ExpFloat64()*float64(b.mean)), func() {
			b.busy--
			s.settle(r, nil)
			s.start()
		})
	}
}

// settle ends a call by its answer or by its deadline, whichever is first.
func (s *simulation) settle(r *request, err error) {
	if r.settled {
		return
	}
	r.settled = true
	if err == nil {
		s.good++
	}
	r.permit.Done(err)
}

// Goodput under overload, in virtual time: without a gate the queue grows until
// every answer is late, and stays so until long after the load is gone; a gate
// keeps the queue short enough to be of use.
func TestGoodputUnderOverload(t *testing.T) {
	gates := []struct {
		name  string
		gate  func() breaker.Gate
		least []float64 // goodput per phase
	}{
		{"none", func() breaker.Gate { return nil }, make([]float64, len(phases))},
		{"Concurrency, 2 per server", func() breaker.Gate {
			return limit.NewConcurrency(limit.ConcurrencyConfig{Max: 2 * servers})
		}, []float64{0.95, 0.95, 0.95, 0.95, 0.95, 0.9, 0.95}},
		{"Throttle, 10 s", func() breaker.Gate {
			return limit.NewThrottle(limit.ThrottleConfig{Window: 10 * time.Second})
		}, []float64{0.9, 0.3, 0.3, 0.3, 0, 0, 0}},
		{"Breaker", func() breaker.Gate { return breaker.New(breaker.Config{}) }, make([]float64, len(phases))},
	}
	var table strings.Builder
	fmt.Fprint(&table, "| gate |")
	for _, p := range phases {
		fmt.Fprintf(&table, " %s |", p.name)
	}
	fmt.Fprint(&table, "\n|---|", strings.Repeat("---|", len(phases)), "\n")
	for _, g := range gates {
		synctest.Test(t, func(t *testing.T) {
			s := &simulation{gate: g.gate(), random: rand.New(rand.NewPCG(1, 2))}
			fmt.Fprintf(&table, "| %s |", g.name)
			for i, goodput := range s.run() {
				fmt.Fprintf(&table, " %.2f |", goodput)
				if g.name == "none" && phases[i].load >= 2 && goodput > 0.1 {
					t.Errorf("%s: goodput %.2f without a gate: the model shows nothing", phases[i].name, goodput)
				}
				if goodput < g.least[i] {
					t.Errorf("%s, %s: goodput %.2f, want %.2f", g.name, phases[i].name, goodput, g.least[i])
				}
			}
			fmt.Fprintln(&table)
		})
	}
	t.Log("\n" + table.String())
	if *update {
		text := fmt.Sprintf(header, servers, service, queue, refusal, patience, length) + table.String()
		if err := os.WriteFile("overload.md", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
