// Package collect gathers what the services tell of themselves and offers it in
// two forms: one JSON document of the present state, and one stream of events.
// It belongs to control, outside the failure domain: services push to it, it
// never calls them, and nothing of theirs waits for it.
//
// Pushed and not scraped: an event, such as a breaker that opens, lies between two
// scrapes, and a service that hangs answers none. What a service cannot say of
// itself, that it is down, comes from control's health checks by SetService.
package collect

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

const (
	stateEvery = 100 * time.Millisecond
	pointEvery = 200 * time.Millisecond
	restEvery  = time.Second     // of both, while nothing happens
	restAfter  = 2 * time.Second // that nothing has happened
	keepFor    = 2 * time.Minute // as much as the page can show
	keepPoints = int(keepFor / pointEvery)
	keepNews   = 200 // lines of the event log that a new page starts with
	keepMoves  = 500 // changes of breakers, for the strips of a new page
)

// Config is what the document says of the run as a whole.
type Config struct {
	Run, Preset, Mode, Saga, Sabotage string
	Seed                              uint64
	Secret                            string // that services prove themselves with
	Load                              *load.Generator
}

// Collector holds the present state. Safe for concurrent use.
type Collector struct {
	Hub    *Hub
	config Config

	mu       sync.Mutex
	services map[string]*source
	faults   []Fault
	scenario Scenario
	lamps    map[string]Lamp
	switches map[string]string
	tails    map[string]*tail // by kind
	points   []Point          // the last two minutes
	news     []News           // the last changes worth a line
	moves    []wire.Record    // breaker events, for the strips
	prior    map[string]prior // totals of the last second, by breaker
	read     map[string]reading
	stirred  time.Time     // when something has happened last
	woken    chan struct{} // holds a token when something has happened since Run looked
}

// source is what is known of one service.
type source struct {
	Service
	stats   wire.Stats
	history []sample // of the last ten seconds
}

type sample struct {
	at       time.Time
	requests uint64
	attempts uint64 // calls of other services
}

// News is one line of the event log.
type News struct {
	At   int64  `json:"at"`
	Kind string `json:"kind"` // kind of the stream
	Text string `json:"text"`
}

// New returns a collector that knows nothing yet.
func New(c Config) *Collector {
	out := &Collector{
		config: c, services: map[string]*source{}, prior: map[string]prior{}, read: map[string]reading{}, faults: []Fault{},
		lamps: map[string]Lamp{}, switches: map[string]string{}, tails: map[string]*tail{}, woken: make(chan struct{}, 1),
	}
	for kind, keep := range tails {
		out.tails[kind] = &tail{keep: keep}
	}
	out.Hub = NewHub(c.Run, out.snapshot)
	return out
}

// Run publishes the state ten times a second and a point five times, until ctx
// ends; each once a second while nothing happens, so that a shop at rest costs next to
// nothing with a page open on it.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for n := 0; c.pause(ctx, tick); n++ {
		// The state is a fleeting frame: whoever misses one has the next. A point of
		// the charts is not, as a gap in a line stays.
		if n%int(pointEvery/stateEvery) == 0 || c.AtRest() {
			c.Hub.Publish("load", c.addPoint(), false)
		}
		if c.Hub.Watched() { // the dearest frame, and nobody comes back for one that he has missed
			c.Hub.Publish("state", c.State(), true)
		}
		c.publishTails()
	}
}

// pause returns when it is time for the next frame, or with false at the end of ctx. At
// rest it does not wake to see that there is still nothing.
func (c *Collector) pause(ctx context.Context, tick *time.Ticker) bool {
	next, woken := tick.C, c.woken
	if c.AtRest() {
		rest := time.NewTimer(restEvery)
		defer rest.Stop()
		next = rest.C
	} else {
		woken = nil // the next frame is near
	}
	select {
	case <-next:
	case <-woken:
	case <-ctx.Done():
		return false
	}
	return true
}

// Stir says that something has happened, and what is told of it comes soon.
func (c *Collector) Stir() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stir()
}

// stir is Stir; the caller holds mu.
func (c *Collector) stir() {
	c.stirred = time.Now()
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// AtRest reports whether nothing has happened for a while, and nothing is under way. A
// service at work says so, and a fault or a broken lamp is told by who has it.
func (c *Collector) AtRest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.stirred) > restAfter && !c.scenario.Running && c.config.Load.RPS() == 0
}

// State returns the document.
func (c *Collector) State() State {
	s := State{
		Run: c.config.Run, Seq: c.Hub.Seq(), At: time.Now().UnixMilli(), Preset: c.config.Preset, Mode: c.config.Mode,
		Saga: c.config.Saga, Seed: c.config.Seed, Sabotage: c.config.Sabotage, Load: loadState(c.config.Load),
		Services: map[string]Service{}, Breakers: map[string]json.RawMessage{}, Retry: map[string]wire.RetryStats{},
		Cache: map[string]CacheLayer{}, Lag: map[string]float64{}, Outbox: map[string]uint64{}, Broker: map[string]Group{},
		Projections: map[string]string{}, Dead: map[string]int{},
	}
	// The load has locks of its own, and none is taken under this one.
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Faults, s.Scenario = slices.Clone(c.faults), c.scenario
	s.Lamps, s.Switches = maps.Clone(c.lamps), maps.Clone(c.switches)
	for name, src := range c.services {
		view := src.Service
		view.RPS, view.Errors, view.InFlight = src.rps(), src.stats.Errors, src.stats.InFlight
		s.Services[name] = view
		s.Telemetry.Dropped += src.stats.Dropped
		maps.Copy(s.Breakers, src.stats.Breakers)
		maps.Copy(s.Retry, src.stats.Retry)
		if src.State != "stopped" { // what it said last is no longer so
			s.addSections(name, src.stats.Sections)
		}
		s.Calls.Total += attempts(src.stats)
	}
	for _, t := range c.tails {
		s.Telemetry.Dropped += t.dropped
	}
	s.Calls.PerOrder = c.callsPerOrder()
	return s
}

// callsPerOrder is how many calls of other services the order service has made for
// each request it got, over the last ten seconds; the caller holds mu.
func (c *Collector) callsPerOrder() float64 {
	src := c.services["orders"]
	if src == nil || len(src.history) < 2 {
		return 0
	}
	first, last := src.history[0], src.history[len(src.history)-1]
	if last.requests == first.requests {
		return 0
	}
	return float64(last.attempts-first.attempts) / float64(last.requests-first.requests)
}

func attempts(s wire.Stats) (n uint64) {
	for _, r := range s.Retry {
		n += r.Attempts
	}
	return n
}

// Ingest takes a batch of telemetry, a record per line, from a service that has
// the secret of this run.
func (c *Collector) Ingest(w http.ResponseWriter, r *http.Request) {
	if !wire.SecretMatches(r, c.config.Secret) {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, 4<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rec wire.Record
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.take(rec)
	}
	if err := lines.Err(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// take keeps one record and passes on what a page shows at once. A kind that is
// not known is dropped: a service that is newer than control must not be
// refused for what it says in addition.
func (c *Collector) take(rec wire.Record) {
	switch rec.Kind {
	case "stats":
		var s wire.Stats
		if json.Unmarshal(rec.Data, &s) == nil {
			c.setStats(rec.Service, rec.At, s)
		}
	case "breaker":
		c.mu.Lock()
		c.moves = appendBounded(c.moves, rec, keepMoves)
		c.mu.Unlock()
		c.Hub.Publish("breaker", rec, false)
		c.tell(rec.At, "breaker", breakerLine(rec.Data))
	case "retry":
		c.Hub.Publish("retry", rec, false)
	default:
		c.addToTail(rec)
	}
}

// setStats takes a snapshot of a service. Totals that fall mean that the
// service has been restarted; a rate over that point would be negative, so the
// past is forgotten.
func (c *Collector) setStats(name string, at time.Time, s wire.Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src := c.source(name)
	if s.Requests < src.stats.Requests {
		src.history = nil // a new life of the service counts from zero
	}
	if s.Stirred != src.stats.Stirred {
		c.stir()
	}
	src.stats = s
	src.history = append(src.history, sample{at, s.Requests, attempts(s)})
	for len(src.history) > 1 && at.Sub(src.history[0].at) > 10*time.Second {
		src.history = src.history[1:]
	}
}

// source returns the entry of a service; the caller holds mu.
func (c *Collector) source(name string) *source {
	src := c.services[name]
	if src == nil {
		src = &source{Service: Service{State: "unknown"}}
		c.services[name] = src
	}
	return src
}

// rps is the rate over the samples that are kept.
func (s *source) rps() float64 {
	if len(s.history) < 2 || s.State == "stopped" {
		return 0
	}
	return rate(s.history[0], s.history[len(s.history)-1])
}

// rate is what came per second between two samples. Two may bear the same time,
// as the last two of a service that stops; a division by zero would be no number,
// which JSON cannot carry, and so take the whole document with it.
func rate(first, last sample) float64 {
	span := last.at.Sub(first.at).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(last.requests-first.requests) / span
}

// SetService says where a service is and how it does.
func (c *Collector) SetService(name, state, addr string, pid int) {
	c.mu.Lock()
	src := c.source(name)
	before := src.State
	src.State, src.Addr, src.PID = state, addr, pid
	if before != state {
		c.stir()
	}
	c.mu.Unlock()
	if before != state && before != "unknown" { // that a service has come up at the start is no news
		c.tell(time.Now(), "log", name+" is "+state)
	}
}

// Forget drops a service that is no more, such as a replica that was scaled away.
func (c *Collector) Forget(name string) {
	c.mu.Lock()
	delete(c.services, name)
	c.mu.Unlock()
	c.tell(time.Now(), "log", name+" is gone")
}

// SetSwitches says how the switches stand.
func (c *Collector) SetSwitches(values map[string]string, why string) {
	c.mu.Lock()
	c.switches = maps.Clone(values)
	c.mu.Unlock()
	if why != "" {
		c.tell(time.Now(), "log", why)
	}
}

// SetLamp says how an invariant stands. One that is broken stays so: the moment
// in which it was is what somebody has to see.
func (c *Collector) SetLamp(name string, l Lamp) {
	c.mu.Lock()
	before := c.lamps[name]
	if before.Status == LampBroken {
		c.mu.Unlock()
		return
	}
	c.lamps[name] = l
	c.mu.Unlock()
	if before.Status != l.Status {
		c.Hub.Publish("lamp", map[string]any{"name": name, "lamp": l}, false)
	}
	if before.Status != l.Status && (before.Status != "" || l.Status == LampBroken) {
		c.tell(time.Now(), "lamp", name+" is "+l.Status+": "+l.Detail)
	}
}

// SetFaults says which faults are in force, and why that changed.
func (c *Collector) SetFaults(faults []Fault, why string) {
	c.mu.Lock()
	c.faults = faults
	c.mu.Unlock()
	c.Hub.Publish("fault", faults, false)
	c.tell(time.Now(), "fault", why)
}

// SetScenario says how far a scenario is.
func (c *Collector) SetScenario(s Scenario) {
	c.mu.Lock()
	c.scenario = s
	c.mu.Unlock()
	c.Hub.Publish("scenario", s, false)
	c.tell(time.Now(), "scenario", s.Name+": "+s.Line)
}

// tell adds a line to the event log.
func (c *Collector) tell(at time.Time, kind, text string) {
	n := News{At: at.UnixMilli(), Kind: kind, Text: text}
	c.mu.Lock()
	c.news = appendBounded(c.news, n, keepNews)
	c.stir()
	c.mu.Unlock()
	c.Hub.Publish("log", n, false)
}

// appendBounded appends v and drops the oldest beyond n.
func appendBounded[T any](s []T, v T, n int) []T {
	if len(s) >= n {
		s = slices.Delete(s, 0, len(s)-n+1)
	}
	return append(s, v)
}
