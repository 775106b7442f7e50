// Package shop is a small web shop on keelson: services that talk over HTTP
// alone, a load that never stops, and a control part outside the failure domain
// that breaks services on request and watches what follows.
//
// A visitor signs up, which opens a wallet and sends a mail; browses products, which
// come out of three layers of caches; and orders, which takes money, stock and a parcel
// from three services that each have a log of their own, by a saga, by events, or, as a
// monolith, by one append.
//
// # Where to begin
//
// Whoever is here for the patterns reads package wire: client.go is the chain that
// an outgoing call runs through, settings.go the numbers behind it, host.go what a
// service gets. Then orders/saga.go, the steps of an order, and shipping, the smallest
// of those who take part in one. payments and inventory decide by tag, products is
// about caches, users about shards and the outbox. All else serves the show: fault
// breaks a service, load keeps it busy, collect gathers what it tells, check judges
// it, page shows that, scenario does the same from a script.
//
// # Two halves
//
// The services are one half: they know of each other by address, and share no
// memory even where they share a process. Control is the other: load, collector,
// page and scenarios. Control reaches a service by HTTP alone, as it would reach
// one on another host, but for what has no other form: it starts and stops services,
// in its own process or, with -procs, in processes of their own. The broker and L2 keep
// nothing over a crash and so belong to it, behind HTTP like all the rest.
package shop

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/check"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga/choreography"
)

// Config says what shop to run.
type Config struct {
	Engines   Engines
	Preset    Preset    // of FindPreset
	Data      string    // directory of the stores; empty keeps them in memory
	Sabotage  string    // a pattern to break on purpose; empty breaks none
	Mode      string    // micro or monolith; empty is micro
	Saga      string    // orchestration or choreography; empty is orchestration
	Procs     bool      // a process for each replica
	Seed      uint64    // of load and faults
	RPS       int       // of the load; zero sends nothing
	FreePorts bool      // takes any ports and not those of the table, for shops beside each other
	Registry  string    // URL of a registry with Consul's API; empty is the shop's own
	History   io.Writer // of every call of the load; nil keeps none
	Logger    *slog.Logger
}

// Shop is a running shop. Close ends it.
type Shop struct {
	config    Config
	network   wire.Network
	secret    string               // between control and services; new in every run
	key       []byte               // that tokens are signed with
	collect   string               // where telemetry goes
	topics    messaging.Subscriber // for control itself
	trace     *choreography.Trace  // nil with a coordinator
	monolith  *monolith            // nil unless the shop is one
	load      *load.Generator
	collector *collect.Collector
	checker   *check.Checker
	control   control
	ingest    *http.Server
	http      *http.Client // of control: health checks, faults

	ctx      context.Context // of everything that control runs
	cancel   context.CancelCauseFunc
	stopLoad context.CancelFunc // on its own, since the load ends before all else
	wg       sync.WaitGroup     // control
	loadDone sync.WaitGroup

	fleet    sync.Mutex
	replicas []*replica
	scaling  chan struct{} // a lock that is held while replicas start and stop

	mu       sync.Mutex
	active   []activeFault
	lastID   int
	version  uint64           // of active, for those who are told
	closing  bool             // nothing new begins
	scenario *runningScenario // nil when none runs
}

// activeFault is a fault in force, and how to end the wait for its end.
type activeFault struct {
	rule   fault.Rule
	since  time.Time
	cancel context.CancelFunc // ends the wait for its end
}

// Start starts every service, the load and the collector. The shop runs when it
// returns, until Close.
func Start(c Config) (*Shop, error) {
	// The preset is a copy: what is sabotaged here stays whole for the next shop.
	preset, err := c.Preset.Sabotage(c.Sabotage)
	if err != nil {
		return nil, err
	}
	c.Preset, c.Mode, c.Saga = preset, cmp.Or(c.Mode, "micro"), cmp.Or(c.Saga, "orchestration")
	if err := orderEvents.Check(); err != nil {
		return nil, err
	}
	foreign := c.Engines.Broker
	c.Engines = c.Engines.withDefaults(c.Data)
	if c.Mode == "monolith" && (c.Procs || c.Saga != "orchestration") {
		return nil, errors.New("a monolith is one process, and its orders need no saga")
	}
	s := &Shop{config: c, network: c.Engines.Network, secret: rand.Text(), key: make([]byte, 32), scaling: make(chan struct{}, 1), control: control{switches: scenario.Switches()}}
	if c.Mode == "monolith" {
		s.monolith = &monolith{open: c.Engines.Events}
		s.config.Engines.Events = s.monolith.events
	}
	_, _ = rand.Read(s.key) // never fails, says its documentation
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.http = &http.Client{Transport: &http.Transport{DialContext: s.network.DialContext, IdleConnTimeout: 5 * time.Second}}
	if err := s.listen(); err != nil {
		s.Close()
		return nil, err
	}
	if foreign != nil {
		s.topics = foreign(nil)
	}
	if err := s.startAll(); err != nil {
		s.Close()
		return nil, err
	}
	s.run()
	return s, nil
}

// startAll starts every service; processes all at once, as none waits for another.
func (s *Shop) startAll() error {
	all := s.all()
	errs := make([]error, len(all))
	var starting sync.WaitGroup
	for i, r := range all {
		if r.spawn == nil {
			errs[i] = r.start()
			continue
		}
		starting.Go(func() { errs[i] = r.start() })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// listen takes all addresses before anything is built: services may start in
// any order, since each knows the others' addresses from the beginning.
func (s *Shop) listen() error {
	ingest, err := s.network.Listen("127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	s.collect = "http://" + ingest.Addr().String() + "/ingest"
	for _, svc := range services {
		if _, err := s.enlist(s.adapt(svc), 1); err != nil {
			ingest.Close()
			return err
		}
	}
	// Only now is every address known, so only now can anybody be told of his peers.
	for _, r := range s.all() {
		s.brief(r)
	}
	// The load knows the gateway and nothing else, like any client.
	s.load = load.New(s.loadConfig())
	s.collector = collect.New(collect.Config{
		Run: rand.Text()[:8], Preset: s.config.Preset.Name, Mode: s.config.Mode, Saga: s.config.Saga, Sabotage: s.config.Sabotage,
		Seed: s.config.Seed, Secret: s.secret, Load: s.load,
	})
	s.checker = s.newChecker()
	s.collector.SetSwitches(s.Switches(), "")
	// Telemetry has a listener of its own and no place on the page's: the page may
	// be absent, and its rules on hosts and origins are for browsers.
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ingest", s.collector.Ingest)
	s.ingest = &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	s.wg.Go(func() { _ = s.ingest.Serve(ingest) }) // ends with Close, and says only that
	return nil
}

// run starts what control does all the time.
func (s *Shop) run() {
	loadCtx, stopLoad := context.WithCancel(context.Background())
	s.stopLoad = stopLoad
	s.loadDone.Go(func() { s.load.Run(loadCtx) })
	s.wg.Go(func() { s.collector.Run(s.ctx) })
	s.wg.Go(func() { s.checker.Run(s.ctx) })
	if s.config.Saga == "choreography" {
		s.trace = choreography.NewTrace(orderEvents, 0)
		s.wg.Go(func() { _ = s.trace.Serve(s.ctx, s.topics) }) // ends with the shop
	}
	for _, r := range s.all() {
		s.collector.SetService(r.Name, "unknown", r.addr, r.pid())
		s.wg.Go(func() { s.watch(r) })
	}
}

// Close ends the shop: the load first, so that nothing is cut that somebody
// waits for, then the services from the gateway inwards, then control. No
// goroutine is left when it returns; it takes less than two seconds.
func (s *Shop) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel(context.Canceled)
	if s.stopLoad != nil {
		s.stopLoad()
		s.loadDone.Wait()
	}
	// One limit for all services together: with one for each, three that hang would
	// take three times as long, and whoever waits at the terminal presses again.
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	s.http.CloseIdleConnections() // a connection without a request would hold up a shutdown
	for _, r := range s.all() {
		r.end(ctx)
	}
	if s.monolith != nil {
		s.monolith.close()
	}
	if s.ingest != nil { // after the services, whose last words it takes
		if s.ingest.Shutdown(ctx) != nil {
			s.ingest.Close()
		}
		s.collector.Hub.Close()
	}
	s.wg.Wait()
	s.http.CloseIdleConnections() // those that the last health checks have opened
}

// URL is the base URL of a replica, or of the first one of a service; "" for an
// unknown one.
func (s *Shop) URL(name string) string {
	for _, r := range s.all() {
		if r.Name == name || r.Service.Name == name {
			return "http://" + r.addr
		}
	}
	return ""
}

// Hub is the stream of events.
func (s *Shop) Hub() *collect.Hub { return s.collector.Hub }

// State is the document of GET /state.
func (s *Shop) State() collect.State { return s.collector.State() }

// Totals are the figures of the load since the start.
func (s *Shop) Totals() map[string]load.Totals { return s.load.Totals() }

// Progress tells how far a scenario is.
func (s *Shop) Progress(p collect.Scenario) { s.collector.SetScenario(p) }

// watch asks a service for its health until the shop ends. It asks from outside,
// since a service that hangs does not know it; what the service tells of itself
// by telemetry is never taken for its health.
//
// Whoever is well, in a shop where nothing is broken on purpose, is asked more rarely,
// until something is.
func (s *Shop) watch(r *replica) {
	every := s.config.Preset.HealthEvery
	pause := every
	for s.ctx.Err() == nil {
		state := ""
		if !r.retired.Load() {
			state = s.health(r.addr)
			s.collector.SetService(r.Name, state, r.addr, r.pid())
		}
		wait := min(2*pause, max(every, wire.Rest))
		pause = wait
		switch {
		case state != "up" || s.faulty():
			wait, pause = every, every
		case pause == wire.Rest:
			wait = wire.Beat()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.look:
			pause = every
		case <-s.ctx.Done():
		}
		timer.Stop()
	}
}

// health asks once. Whoever refuses the connection is stopped; whoever takes it
// and does not answer well within the limit is failing.
func (s *Shop) health(addr string) string {
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Preset.HealthLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return "unknown"
	}
	resp, err := s.http.Do(req)
	if err != nil {
		if isDial(err) {
			return "stopped"
		}
		return "failing"
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // the connection is used again only once it has been read
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "failing" // also one that drains: it is alive, and wants no requests
	}
	return "up"
}

// isDial reports whether nobody listens.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
