package wire

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/retry"
)

// Config is what a node needs to know of its surroundings.
type Config struct {
	Name     string // of this instance: "users", "products-2"
	Service  string // what it is an instance of; empty means Name
	Network  Network
	Peers    map[string][]Instance // where each callee is to be found at first
	Settings Settings
	Seed     uint64
	Saga     string                                // "choreography", or by a coordinator
	Sabotage string                                // the pattern to break on purpose; empty is none
	Entry    bool                                  // faces clients: their claims on time, trace and tries are not believed
	Secret   string                                // of this run; empty closes /_control
	Faults   fault.Orders                          // in force from the first request on
	Switches SwitchOrders                          // the same
	Stores   Stores                                // of the service; those that it does not open may be nil
	Broker   func(*Node) Broker                    // nil for services without; called once at most
	Cache    func(*Node) (cache.Remote, cache.Bus) // the same for L2
	Key      []byte                                // that tokens are signed with, of users and the gateway
	Collect  string                                // URL that takes telemetry; empty sends none
	Registry string                                // URL of the registry; empty leaves Peers as they are
	Check    time.Duration                         // between two health checks by the registry
	CheckFor time.Duration                         // limit of one
	Kill     func()                                // ends this process at once, for crashes on purpose; nil ignores them
	Logger   *slog.Logger                          // nil is silent
}

// Node is one running service: its server, its clients, and what it tells about
// itself. Make it with NewNode, its clients with Client, then Serve. It has one
// life; a restarted service is a new node, with breakers that know nothing, as a
// new process would have.
type Node struct {
	config    Config
	clients   map[string]*Client // by callee; fixed once Serve runs
	faults    *fault.Set
	switches  atomic.Pointer[SwitchOrders] // nil until control has said something
	telemetry *telemetry
	directory *directory // nil without a registry
	server    *http.Server
	end       context.CancelFunc // of requests, background work and telemetry
	wg        sync.WaitGroup

	// What the service has asked for, fixed once Serve runs; see host.go.
	background []func(context.Context)
	logs       []namedLog
	closers    []io.Closer
	sections   []section
	models     []rebuildable
	broker     Broker

	mu       sync.Mutex
	awaited  []string // what the node is not ready without
	serving  bool
	openOnce sync.Once
	open     chan struct{} // closed once the node is ready for the first time
	stopping chan struct{} // closed when the node begins to stop

	requests, errors atomic.Uint64
	inflight         atomic.Int64
	draining         atomic.Bool
}

// NewNode returns a node that does not serve yet.
func NewNode(c Config) *Node {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("service", c.Name)
	n := &Node{config: c, clients: map[string]*Client{}, faults: fault.NewSet(c.Seed), open: make(chan struct{}), stopping: make(chan struct{})}
	n.faults.Kill = c.Kill
	n.faults.Obey(c.Faults)
	n.obeySwitches(c.Switches)
	if c.Collect != "" {
		n.telemetry = &telemetry{
			service: c.Name, url: c.Collect, secret: c.Secret, stats: n.Stats, work: make(chan struct{}, 1),
			client: &http.Client{Transport: &http.Transport{DialContext: c.Network.DialContext}},
		}
	}
	return n
}

// Client returns the client for callee; composite says that the callee has to
// call others before it can answer, and gets more time. It panics for a callee
// without an address, which is a mistake in the wiring.
func (n *Node) Client(callee string, composite bool) *Client {
	peers, ok := n.config.Peers[callee]
	if !ok {
		panic("wire: " + n.config.Name + " knows no address of " + callee)
	}
	s, name := n.config.Settings, n.config.Name+"/"+callee
	// A callee that has to retry a call of its own needs the time for that. With the
	// plain limit its caller would give up in the middle of it, count a failure, and
	// open a breaker on a service that is well.
	limit := s.PerTry
	if composite {
		limit = s.Composite
	}
	onRetry := func(_ context.Context, e retry.Event) { n.telemetry.add("retry", time.Now(), retryEvent(name, e)) }
	budget := retry.NewBudget(retry.BudgetConfig{})
	c := &Client{
		node: n, callee: callee, budget: budget, safe: s.policy(nil, budget), once: s.policy(nothingSent, budget),
		safeFree: s.policy(nil, nil), onceFree: s.policy(nothingSent, nil),
	}
	for _, p := range []*retry.Policy{&c.safe, &c.once, &c.safeFree, &c.onceFree} {
		p.OnEvent = onRetry
	}
	c.balancer.connect = func(to Instance) *instance { return n.connect(to, limit) }
	c.balancer.set(peers)
	n.clients[callee] = c
	return c
}

// connect makes breaker and connections for one instance of a callee.
func (n *Node) connect(to Instance, limit time.Duration) *instance {
	bc := n.config.Settings.breaker(n.config.Name+"/"+to.Name, limit)
	bc.OnEvent = func(e breaker.Event) { n.telemetry.add("breaker", e.At, breakerEvent(e)) }
	i := &instance{
		Instance: to, caller: n.config.Name, limit: limit,
		// Compression is off because answers are small and hops are local.
		transport: &http.Transport{
			DialContext: n.config.Network.DialContext, DisableCompression: true,
			MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second,
		},
	}
	i.answered.Store(time.Now().UnixNano())
	bc.Classify = i.judge
	i.breaker = breaker.New(bc)
	return i
}

// Network is how this node dials.
func (n *Node) Network() Network { return n.config.Network }

// Sabotaged reports whether a pattern is to be broken on purpose.
func (n *Node) Sabotaged(pattern string) bool { return n.config.Sabotage == pattern }

// Stopping is closed when the node begins to stop: who waits for something on a
// caller's behalf tells him how things stand, instead of being cut off.
func (n *Node) Stopping() <-chan struct{} { return n.stopping }

// Name is that of this instance.
func (n *Node) Name() string { return n.config.Name }

// Cache returns the node's way to L2.
func (n *Node) Cache() (cache.Remote, cache.Bus) { return n.config.Cache(n) }

// Secret is that of the run, which control and the gateway prove themselves with.
func (n *Node) Secret() string { return n.config.Secret }

// Key is the key that tokens are signed with; nil for services that need none.
func (n *Node) Key() []byte { return n.config.Key }

// Settings are the durations and thresholds of the shop.
func (n *Node) Settings() Settings { return n.config.Settings }

// Logger is for what nobody else hears of; never nil.
func (n *Node) Logger() *slog.Logger { return n.config.Logger }

// Serve answers on ln with the routes of a service until Stop, and returns at
// once.
func (n *Node) Serve(ln net.Listener, routes *http.ServeMux) {
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	n.mu.Lock()
	n.serving = true
	n.openIfReady()
	n.mu.Unlock()
	n.server = &http.Server{
		Handler: n.chain(n.routes(routes)),
		// No ReadTimeout: it would go on counting while the request is answered.
		// ReadBody has a limit of its own.
		ReadHeaderTimeout: 2 * time.Second,
		IdleTimeout:       30 * time.Second, // above the clients', three beats at most: they close first
		// Against clients that do not read. It bounds the whole request, so it is
		// longer than any answer takes, a late one on purpose included.
		WriteTimeout: time.Minute,
		BaseContext:  func(net.Listener) context.Context { return ctx },
		ErrorLog:     slog.NewLogLogger(n.config.Logger.Handler(), slog.LevelWarn),
	}
	if n.config.Registry != "" {
		n.directory = &directory{
			url: n.config.Registry, service: cmp.Or(n.config.Service, n.config.Name), name: n.config.Name, addr: ln.Addr().String(),
			every: n.config.Check, limit: n.config.CheckFor, clients: n.clients,
			hurry: make(chan struct{}, 1), work: func() uint64 { return n.requests.Load() },
			// A connection for each poll that waits: with the usual two, all others would be
			// made anew every time.
			client: &http.Client{Transport: &http.Transport{
				DialContext: n.config.Network.DialContext, IdleConnTimeout: 3 * Rest, MaxIdleConnsPerHost: len(n.clients) + 1,
			}},
		}
	}
	n.wg.Go(func() {
		if err := n.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.config.Logger.Error("server ended", "err", err)
		}
	})
	for _, work := range n.background {
		n.wg.Go(func() { work(ctx) })
	}
	if n.directory != nil {
		n.wg.Go(func() { n.directory.run(ctx) })
	}
	if n.telemetry != nil {
		n.wg.Go(func() { n.telemetry.run(ctx) })
	}
}

// Stop ends the node: no new requests, those that run may finish until ctx ends
// and are then cut. It returns when no goroutine of the node is left.
func (n *Node) Stop(ctx context.Context) {
	if !n.draining.Swap(true) {
		close(n.stopping)
	}
	if n.directory != nil && ctx.Err() == nil { // who is killed says no good-bye
		n.directory.leave()
	}
	n.faults.Close() // held requests would never finish
	if n.server.Shutdown(ctx) != nil {
		n.server.Close() // time is over; what still runs is cut
	}
	n.end() // not before: it would end the requests that may finish
	n.wg.Wait()
	for _, c := range n.clients {
		for _, i := range c.balancer.instances() {
			i.transport.CloseIdleConnections()
		}
	}
	n.closeAll() // nothing uses them any more
}

// Discard closes what the service has opened, of a node that will never serve.
func (n *Node) Discard() { n.closeAll() }

// routes adds the paths that every service has.
func (n *Node) routes(mux *http.ServeMux) http.Handler {
	// Two questions that must not be one. "Live" is asked by whoever restarts
	// processes, "ready" by whoever sends requests; neither looks at a callee, or
	// the outage of one service would take its callers out of rotation with it.
	mux.Handle("GET /health/live", Handler(func(w http.ResponseWriter, _ *http.Request) error {
		return WriteJSON(w, http.StatusOK, map[string]string{"status": "live"})
	}))
	mux.Handle("GET /health", Handler(n.health))
	mux.Handle("GET /stats", Handler(func(w http.ResponseWriter, r *http.Request) error {
		if n.config.Entry && !SecretMatches(r, n.config.Secret) { // no business of clients
			return NewProblem(http.StatusNotFound, "not-found", "no such path")
		}
		return WriteJSON(w, http.StatusOK, n.Stats())
	}))
	if len(n.logs) > 0 {
		mux.Handle("GET /log", Handler(n.showLog))
	}
	mux.Handle("PUT /_control/faults", Handler(n.setFaults))
	mux.Handle("PUT /_control/switches", n.ForControl(n.setSwitches))
	mux.Handle("POST /_control/breakers/{callee}/{action}", n.ForControl(n.steerBreakers))
	mux.Handle("POST /_control/projections/{name}/rebuild", n.ForControl(n.rebuild))
	return describeMisses(mux)
}

// health says whether the service should get requests. One that is about to
// stop is alive and says no.
func (n *Node) health(w http.ResponseWriter, _ *http.Request) error {
	if n.draining.Load() {
		return NewProblem(http.StatusServiceUnavailable, "draining", "the service is about to stop")
	}
	if what := n.waitsFor(); what != "" {
		return NewProblem(http.StatusServiceUnavailable, "not-ready", "waits for "+what)
	}
	return WriteJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// setFaults takes the rules in force from control. Without the secret of this
// run the path does not exist.
func (n *Node) setFaults(w http.ResponseWriter, r *http.Request) error {
	if !SecretMatches(r, n.config.Secret) {
		return NewProblem(http.StatusNotFound, "not-found", "no such path")
	}
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	var orders fault.Orders
	if err := json.Unmarshal(body, &orders); err != nil {
		return NewProblem(http.StatusBadRequest, "malformed", err.Error())
	}
	n.faults.Obey(orders)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// SecretMatches reports whether r carries the secret. An empty secret matches
// nothing.
func SecretMatches(r *http.Request, secret string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get(HeaderSecret)), []byte(secret)) == 1
}

// breakerStats is breaker.Stats and the rate that the page compares with the
// threshold.
type breakerStats struct {
	breaker.Stats
	Rate float64 `json:"rate"`
}

// Stats is a snapshot of the node.
func (n *Node) Stats() Stats {
	s := Stats{
		Requests: n.requests.Load(), Errors: n.errors.Load(), InFlight: n.inflight.Load(), Dropped: n.telemetry.lost(),
		Breakers: map[string]json.RawMessage{}, Retry: map[string]RetryStats{}, Sections: n.readSections(), Stirred: n.telemetry.stirs(),
	}
	for callee, c := range n.clients {
		name := n.config.Name + "/" + callee
		for _, i := range c.balancer.instances() {
			verdict := breakerStats{Stats: i.breaker.Stats()}
			if verdict.Calls > 0 {
				verdict.Rate = float64(verdict.Failures) / float64(verdict.Calls)
			}
			// The time to its probe runs, and at its end it will look half-open. A breaker
			// that is held, or waits for a request to probe with, is at rest.
			if verdict.State == breaker.Open && !verdict.Held {
				n.Stir()
			}
			if raw, err := json.Marshal(verdict); err == nil {
				s.Breakers[n.config.Name+"/"+i.Name] = raw
			}
		}
		// The client counts its own calls and tries: the breaker sees tries alone, and
		// a call that succeeds at once is no event of the retry.
		b := c.budget.Stats()
		s.Retry[name] = RetryStats{Requests: c.requests.Load(), Attempts: c.attempts.Load(), Denied: b.Denied, Available: b.Available}
	}
	return s
}
