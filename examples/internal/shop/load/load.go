// Package load sends requests to the gateway the way many independent clients
// would: at their own pace, whatever the answers do. Such an open loop does not
// slow down when the shop does, and it measures each latency from the time the
// request was due, not from when it was sent; a closed loop would hide exactly
// the waiting that its own users suffer ("coordinated omission", Tene 2013).
//
// Its clients are well made, and no better than that: a connection that was refused, or
// cut before an answer, is no answer, and the request is sent again if that does no harm
// (package retryhttp). Any answer is one, also a 503. There is no breaker, and latency
// runs on meanwhile; how often it was sent again is counted.
package load

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// Config says what to send where.
type Config struct {
	Target   string // base URL of the gateway
	Network  wire.Network
	Seed     uint64        // of the order of operations
	RPS      int           // requests per second, evenly spaced
	Mix      Mix           // nil means DefaultMix
	Patience time.Duration // how long a client waits, from the time its request was due
	Products bool          // the shop has products
	FreshFor time.Duration // the age up to which an answer need not call itself stale; zero looks at none

	// Login gets a token for a user. Nil means a shop without sessions.
	Login func(ctx context.Context, user int, secret string) (token string, err error)
	// History gets a line when a call begins and when it ends. Nil means that
	// nobody keeps them.
	History io.Writer
}

// maxInFlight bounds the requests that wait at once. A request beyond it counts
// as broken: the shop has stopped answering, and memory is not without end.
const maxInFlight = 2000

// away is for how long a client puts up with nobody at the door: longer than a service
// takes that is restarted, and no longer.
const away = 2 * time.Second

// maxRPS is what the generator can be set to.
const maxRPS = 2000

// Generator sends until Run's context ends. Safe for concurrent use.
type Generator struct {
	config   Config
	client   *http.Client
	rps      atomic.Int64
	mix      atomic.Pointer[Mix]
	bursts   chan burst
	changed  chan struct{} // wakes Run after SetRPS: at one request in ten seconds it would notice late
	inflight atomic.Int64
	resent   atomic.Uint64
	behind   atomic.Int64 // ns of the last request
	ops      map[string]*recorder
	history  *history
	witness  witness
	repeat   call // the last order; Run's own

	mu        sync.Mutex
	customers []*customer // Alice first
	orders    []placed    // to look at again, newest last; spares for when the newest is forgotten
}

// placed is an order that was taken.
type placed struct {
	id string
	by *customer
}

// New returns a generator that sends nothing yet.
func New(c Config) *Generator {
	g := &Generator{
		config: c, bursts: make(chan burst, 1), changed: make(chan struct{}, 1), ops: map[string]*recorder{},
		history: newHistory(c.History), customers: []*customer{{ID: 1}},
	}
	g.client = &http.Client{Transport: &retryhttp.Transport{
		Base: &http.Transport{
			DialContext: c.Network.DialContext, MaxIdleConnsPerHost: 256, IdleConnTimeout: 5 * time.Second, DisableCompression: true,
		},
		Policy: &retry.Policy{
			MaxAttempts: -1, MaxElapsed: away, Backoff: retry.FullJitter(25*time.Millisecond, 250*time.Millisecond),
			OnEvent: func(_ context.Context, e retry.Event) {
				if !e.Last {
					g.resent.Add(1)
				}
			},
		},
		Retryable: func(_ *http.Response, err error) bool { return err != nil && retryhttp.DefaultRetryable(nil, err) },
	}}
	for _, op := range Operations() {
		g.ops[op] = &recorder{}
	}
	g.rps.Store(int64(c.RPS))
	mix := c.Mix
	if mix == nil {
		mix = DefaultMix()
	}
	g.mix.Store(&mix)
	return g
}

// RPS is the present rate.
func (g *Generator) RPS() int { return int(g.rps.Load()) }

// Mix is the present mix. It is shared, and not to be changed.
func (g *Generator) Mix() Mix { return *g.mix.Load() }

// SetMix changes the mix.
func (g *Generator) SetMix(m Mix) error {
	if err := m.Validate(); err != nil {
		return err
	}
	m = maps.Clone(m)
	g.mix.Store(&m)
	return nil
}

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
	for {
		select {
		case <-look.C: // also the first time: a request that was due just now is on its way
		case <-ctx.Done():
			return
		}
		if g.inflight.Load() == 0 {
			return
		}
	}
}

// Flush writes out what the history has so far, and reports its first error.
func (g *Generator) Flush() error { return g.history.flush() }

// Behind is how late the last request was sent. A generator that cannot keep its
// own schedule measures itself.
func (g *Generator) Behind() time.Duration { return time.Duration(g.behind.Load()) }

// Resent is how often a request has been sent again, because its connection was refused
// or cut, since the start.
func (g *Generator) Resent() uint64 { return g.resent.Load() }

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
	for n := uint64(0); ; {
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
		case b := <-g.bursts:
			stop(timer)
			wg.Go(func() { g.sell(ctx, &wg, b) })
		case <-g.changed:
			stop(timer)
			due = time.Now() // a new rate starts a new schedule
		case <-tick:
			if g.RPS() == 0 { // both were ready, and this is the older news
				continue
			}
			n++
			g.behind.Store(int64(time.Since(due)))
			g.send(ctx, &wg, g.build(g.Mix().pick(draws), draws, n), n, due)
			due = due.Add(time.Second / time.Duration(max(g.RPS(), 1)))
		}
	}
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// send starts request n, that was due at the given time.
func (g *Generator) send(ctx context.Context, wg *sync.WaitGroup, call call, n uint64, due time.Time) {
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
		fate := g.do(ctx, call, n)
		if ctx.Err() == context.Canceled {
			return // the shop is stopping; this request says nothing
		}
		r.ended(fate, time.Since(due))
	})
}
