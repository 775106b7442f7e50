package limit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/internal/permit"
)

// ThrottleConfig are the settings of a [Throttle].
type ThrottleConfig struct {
	// Name appears in statistics and errors.
	Name string

	// K is how many requests are let through for each that the backend
	// accepts, at least 1. With 2, the backend refuses at most as much as it
	// accepts. Zero means 2.
	K float64

	// Window is the time that the throttle looks back on. It slides in 40
	// steps. Zero means 2 minutes.
	Window time.Duration

	// MinPerSecond is how many calls are admitted whatever the odds, so that
	// a recovery is seen. Zero means 1. Negative turns it off.
	MinPerSecond float64

	// Accepted reports whether the backend took the call, of which the error
	// is nil for a success. Nil means all but breaker.Failure. It is not asked
	// about Ignored calls, which are not counted. No lock is held.
	Accepted func(err error, o breaker.Outcome) bool
}

// steps is the number of buckets of a throttle's window.
const steps = 40

// Throttle is a gate that refuses calls with a probability that grows with the
// share of calls that the backend refuses: the client-side throttling of the
// book "Site Reliability Engineering", chapter 21. Unlike a breaker it has no
// states: at any time some calls pass, and just as many as the backend takes.
// Safe for concurrent use.
type Throttle struct {
	cfg     ThrottleConfig
	width   int64 // of a bucket
	spacing int64 // between calls that pass whatever the odds
	base    time.Time
	random  func() float64
	permits permit.Origin[breaker.Outcome]
	refused *breaker.RejectedError

	mu                 sync.Mutex
	n                  int64 // the bucket that counts now
	buckets            [steps]odds
	sum                odds  // of the buckets
	lastPass           int64 // when the last call was admitted
	admitted, rejected uint64
}

// odds are requests, refused ones as well, and those of them that the backend
// accepted.
type odds struct{ requests, accepts int64 }

// NewThrottle returns a throttle that refuses nothing yet. It panics on bad
// settings.
func NewThrottle(c ThrottleConfig) *Throttle {
	if c.K == 0 {
		c.K = 2
	}
	if c.MinPerSecond == 0 {
		c.MinPerSecond = 1
	}
	if c.Window == 0 {
		c.Window = 2 * time.Minute
	}
	if !(c.K >= 1) || math.IsInf(c.K, 1) {
		panic(fmt.Sprintf("limit: ThrottleConfig.K is %v; allowed: 1 or more, 0 for 2", c.K))
	}
	if c.Window < steps {
		panic(fmt.Sprintf("limit: ThrottleConfig.Window is %v; allowed: 40ns or more, 0 for 2m", c.Window))
	}
	if math.IsNaN(c.MinPerSecond) || math.IsInf(c.MinPerSecond, 0) {
		panic(fmt.Sprintf("limit: ThrottleConfig.MinPerSecond is %v; allowed: finite", c.MinPerSecond))
	}
	g := &Throttle{
		cfg: c, width: int64(c.Window) / steps, spacing: math.MaxInt64,
		base: time.Now(), random: rand.Float64,
	}
	if c.MinPerSecond > 0 {
		g.spacing = int64(min(1e9/c.MinPerSecond, math.MaxInt64/2))
	}
	g.permits.Issuer = g
	g.refused = refusal(g, c.Name, "throttle")
	return g
}

// Allow admits or refuses a call, with the reason "throttle". It never waits
// and does not allocate.
func (g *Throttle) Allow(ctx context.Context) (breaker.Permit, error) {
	if ctx.Err() != nil {
		return breaker.Permit{}, context.Cause(ctx)
	}
	now := g.now()
	if !g.admit(now) {
		return breaker.Permit{}, g.refused
	}
	return breaker.NewPermit(ctx, &g.permits, now), nil
}

// admit counts a request and decides on it.
func (g *Throttle) admit(now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(now)
	p := g.refusing()
	g.add(g.n, odds{requests: 1})
	if p > 0 && g.random() < p && now-g.lastPass < g.spacing {
		g.rejected++
		return false
	}
	g.lastPass = max(now, g.lastPass)
	g.admitted++
	return true
}

// Settle implements [breaker.Issuer]. What was accepted counts with the latest
// request: that saves the clock, and of a backend that nobody asks it leaves
// the window together with the request.
func (g *Throttle) Settle(began int64, o breaker.Outcome, err error) {
	if o == breaker.Ignored {
		g.forget(began)
		return
	}
	accepted := o != breaker.Failure
	if g.cfg.Accepted != nil {
		accepted = g.cfg.Accepted(err, o)
	}
	if !accepted {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(g.n, odds{accepts: 1})
}

// Cancel implements [breaker.Issuer]. Another call may pass in the place of one
// that passed against the odds and did not run.
func (g *Throttle) Cancel(began int64) {
	g.forget(began)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lastPass == began {
		g.lastPass -= min(g.spacing, began)
	}
}

// forget takes a request back that began then, if it is still counted, from the
// bucket that counted it: taken from a later one, the window would be wrong
// until both have left it.
func (g *Throttle) forget(began int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(g.now())
	if n := began / g.width; n > g.n-steps {
		g.add(n, odds{requests: -1})
	}
}

// turn empties the buckets that have left the window at now. mu is held.
func (g *Throttle) turn(now int64) {
	if now-g.n*g.width < g.width {
		return
	}
	to := now / g.width
	for i := max(g.n+1, to-steps+1); i <= to; i++ {
		old := &g.buckets[i%steps]
		g.sum.requests -= old.requests
		g.sum.accepts -= old.accepts
		*old = odds{}
	}
	g.n = to
}

// add counts in bucket n. mu is held.
func (g *Throttle) add(n int64, o odds) {
	b := &g.buckets[n%steps]
	b.requests += o.requests
	b.accepts += o.accepts
	g.sum.requests += o.requests
	g.sum.accepts += o.accepts
}

// refusing returns the probability of a refusal. The one in the denominator
// keeps it below 1, so some calls always may pass. mu is held.
func (g *Throttle) refusing() float64 {
	r, a := float64(g.sum.requests), float64(g.sum.accepts)
	return max(0, (r-g.cfg.K*a)/(r+1))
}

// Stats returns a snapshot.
func (g *Throttle) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(g.now())
	return Stats{Name: g.cfg.Name, Refusing: g.refusing(), Admitted: g.admitted, Rejected: g.rejected}
}

// Idle reports whether the window is empty.
func (g *Throttle) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(g.now())
	return g.sum == odds{}
}

func (g *Throttle) now() int64 { return int64(time.Since(g.base)) }
