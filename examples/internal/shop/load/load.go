// Package load sends requests to the gateway the way many independent clients
// would: at their own pace, whatever the answers do. Such an open loop does not
// slow down when the shop does, and it measures each latency from the time the
// request was due, not from when it was sent; a closed loop would hide exactly
// the waiting that its own users suffer ("coordinated omission", Tene 2013).
//
// It does not retry and has no breaker. What it counts is what reaches a client.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Config says what to send where.
type Config struct {
	Target   string // base URL of the gateway
	Network  wire.Network
	Seed     uint64        // of the order of operations
	RPS      int           // requests per second, evenly spaced
	Patience time.Duration // how long a client waits, from the time its request was due
}

// maxInFlight bounds the requests that wait at once. A request beyond it counts
// as broken: the shop has stopped answering, and memory is not without end.
const maxInFlight = 2000

// maxRPS is what the generator can be set to.
const maxRPS = 2000

// Generator sends until Run's context ends. Safe for concurrent use.
type Generator struct {
	config   Config
	client   *http.Client
	rps      atomic.Int64
	changed  chan struct{} // wakes Run after SetRPS: at one request in ten seconds it would notice late
	inflight atomic.Int64
	behind   atomic.Int64 // ns of the last request
	ops      map[string]*recorder

	mu  sync.Mutex
	ids []string // orders to look at again, newest last; spares for when the newest is forgotten
}

// New returns a generator that sends nothing yet.
func New(c Config) *Generator {
	g := &Generator{config: c, changed: make(chan struct{}, 1), ops: map[string]*recorder{}}
	g.client = &http.Client{Transport: &http.Transport{
		DialContext: c.Network.DialContext, MaxIdleConnsPerHost: 256, IdleConnTimeout: 5 * time.Second, DisableCompression: true,
	}}
	for _, op := range Operations() {
		g.ops[op] = &recorder{}
	}
	g.rps.Store(int64(c.RPS))
	return g
}

// RPS is the present rate.
func (g *Generator) RPS() int { return int(g.rps.Load()) }

// SetRPS changes the rate, 0 to 2000; anything else is brought to the nearer of
// the two. It reports the rate in force.
func (g *Generator) SetRPS(n int) int {
	n = max(0, min(n, maxRPS))
	g.rps.Store(int64(n))
	select {
	case g.changed <- struct{}{}:
	default:
	}
	return n
}

// Settle stops sending and returns when the last request is over, or ctx is.
func (g *Generator) Settle(ctx context.Context) {
	// Polled: Run may still add to its WaitGroup while this waits, which Wait does
	// not allow, and ten milliseconds matter to nobody at the end of a run.
	g.SetRPS(0)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for g.inflight.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// Behind is how late the last request was sent. A generator that cannot keep its
// own schedule measures itself.
func (g *Generator) Behind() time.Duration { return time.Duration(g.behind.Load()) }

// Totals returns the figures of every operation since the start.
func (g *Generator) Totals() map[string]Totals {
	out := make(map[string]Totals, len(g.ops))
	for op, r := range g.ops {
		out[op] = r.totals()
	}
	return out
}

// Recent returns the figures of the last span, at most ten seconds.
func (g *Generator) Recent(span time.Duration) map[string]Recent {
	out := make(map[string]Recent, len(g.ops))
	for op, r := range g.ops {
		out[op] = r.recent(span)
	}
	return out
}

// Run sends until ctx ends, and returns when the last request is over.
func (g *Generator) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer g.client.CloseIdleConnections()
	defer wg.Wait()
	// One goroutine draws and one schedule counts. A ticker would drop what it is
	// late for, and the load would fall in the very moment in which it should not.
	draws := rand.New(rand.NewPCG(g.config.Seed, 1))
	due := time.Now()
	for {
		var tick <-chan time.Time
		var timer *time.Timer
		if rps := g.RPS(); rps > 0 {
			timer = time.NewTimer(time.Until(due))
			tick = timer.C
		}
		select {
		case <-ctx.Done():
			stop(timer)
			return
		case <-g.changed:
			stop(timer)
			due = time.Now() // a new rate starts a new schedule
		case <-tick:
			g.behind.Store(int64(time.Since(due)))
			g.send(ctx, &wg, pick(draws), due)
			due = due.Add(time.Second / time.Duration(max(g.RPS(), 1)))
		}
	}
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// send starts one request that was due at the given time.
func (g *Generator) send(ctx context.Context, wg *sync.WaitGroup, op operation, due time.Time) {
	call := op.build(g, due)
	r := g.ops[call.op]
	r.sent()
	// Counted and not left out: a generator that sends less because nobody answers
	// has become a closed loop.
	if g.inflight.Add(1) > maxInFlight {
		g.inflight.Add(-1)
		r.ended(Counts{Broken: 1}, 0)
		return
	}
	wg.Go(func() {
		defer g.inflight.Add(-1)
		// From when it was due: a client does not wait longer because we were late.
		ctx, cancel := context.WithDeadline(ctx, due.Add(g.config.Patience))
		defer cancel()
		fate := g.do(ctx, call)
		if ctx.Err() == context.Canceled {
			return // the shop is stopping; this request says nothing
		}
		r.ended(fate, time.Since(due))
	})
}

// do makes one request and judges the answer.
func (g *Generator) do(ctx context.Context, c call) Counts {
	req, err := http.NewRequestWithContext(ctx, c.method, g.config.Target+c.path, bytes.NewReader(c.body))
	if err != nil {
		return Counts{Broken: 1}
	}
	if len(c.body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return Counts{Broken: 1}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	if err != nil {
		return Counts{Broken: 1}
	}
	g.learn(c, resp.StatusCode, body)
	return judge(resp)
}

// judge tells the fate of a request by its answer. A 503 that says when to come
// back is a plain refusal; an error on purpose is a failure and not a bug; what
// is left is what the API never promises.
func judge(r *http.Response) Counts {
	switch code := r.StatusCode; {
	case code < 300:
		return Counts{OK: 1}
	case (code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests) && r.Header.Get("Retry-After") != "":
		return Counts{Refused: 1}
	case code < 500 || code == http.StatusGatewayTimeout || r.Header.Get(wire.HeaderFault) != "":
		return Counts{Failed: 1}
	default:
		return Counts{Broken: 1}
	}
}

// learn remembers the last orders, so that there is something to look at, and
// forgets one that the shop has forgotten.
func (g *Generator) learn(c call, status int, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c.op == Order && status == http.StatusCreated:
		var o struct{ ID string }
		if json.Unmarshal(body, &o) == nil && o.ID != "" {
			g.ids = append(g.ids[max(0, len(g.ids)-63):], o.ID)
		}
	case c.op == View && status == http.StatusNotFound:
		g.ids = slices.DeleteFunc(g.ids, func(id string) bool { return "/api/orders/"+id == c.path })
	}
}

// lastOrder is the newest order that is known; "" if there is none.
func (g *Generator) lastOrder() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ids) == 0 {
		return ""
	}
	return g.ids[len(g.ids)-1]
}
