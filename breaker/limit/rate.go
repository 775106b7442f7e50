package limit

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/internal/permit"
	"github.com/keelson-go/keelson/breaker/internal/window"
)

// RateConfig are the settings of a [Rate].
type RateConfig struct {
	// Name appears in statistics and errors.
	Name string

	// PerSecond is the sustained rate, such as 100.0/60 for 100 a minute. It
	// must be positive and finite.
	PerSecond float64

	// Burst is how many calls are admitted at once after a pause. Zero means
	// 1: calls are evenly spaced.
	Burst int

	// MaxWait is how long a call may wait for its turn. One whose turn comes
	// later than that, or than the deadline of its context, is refused at
	// once. Zero means never wait.
	MaxWait time.Duration
}

// Rate is a gate that bounds how many calls begin per second, by the generic
// cell rate algorithm (ITU-T I.371), which is a token bucket that needs no
// refill. Safe for concurrent use.
//
// Its whole state is the theoretical arrival time: when the next call would
// come if all came evenly spaced. It is kept in tokens, that is in multiples
// of 1/PerSecond since the gate was made. A grant then adds exactly 1, and a
// float64 counts 2^53 of those without drift, whatever the rate is.
type Rate struct {
	cfg     RateConfig
	early   float64 // so many tokens before its turn a call may come
	perNano float64 // tokens
	base    time.Time
	permits permit.Origin[breaker.Outcome]
	_       [64]byte      // every grant writes arrival: what all only read lies in lines of its own
	arrival atomic.Uint64 // bits of a float64
	_       [64]byte
	waiting atomic.Int64
	calls   window.Tally // admitted as successes, refused as failures
	gone    atomic.Uint64
	refused *breaker.RejectedError
}

// NewRate returns a gate with a full bucket. It panics on bad settings.
func NewRate(c RateConfig) *Rate {
	if !(c.PerSecond > 0) || math.IsInf(c.PerSecond, 1) {
		panic(fmt.Sprintf("limit: RateConfig.PerSecond is %v; allowed: positive and finite", c.PerSecond))
	}
	check("RateConfig.Burst", c.Burst, c.Burst >= 0)
	check("RateConfig.MaxWait", c.MaxWait, c.MaxWait >= 0)
	g := &Rate{cfg: c, early: float64(max(1, c.Burst) - 1), perNano: c.PerSecond / 1e9, base: time.Now()}
	g.permits.Issuer = g
	g.refused = refusal(g, c.Name, "rate")
	return g
}

// Allow takes a token, waits for one, or refuses with the reason "rate". It
// takes about 45 ns and no allocation unless it waits. A call that waits has
// its turn reserved: nobody overtakes it.
//
// A canceled permit, or a wait that ctx ends, returns its token if none was
// taken after it. Else the token is lost, for a later call has its turn by
// now: a rate is never exceeded.
func (g *Rate) Allow(ctx context.Context) (breaker.Permit, error) {
	if ctx.Err() != nil {
		return breaker.Permit{}, context.Cause(ctx)
	}
	arrival, wait, ok := g.take(ctx)
	if !ok {
		g.calls.Add(0, true, false)
		return breaker.Permit{}, g.refused
	}
	if wait > 0 {
		if err := g.await(ctx, wait); err != nil {
			g.Cancel(arrival)
			return breaker.Permit{}, err
		}
	}
	g.calls.Add(0, false, false)
	return breaker.NewPermit(ctx, &g.permits, arrival), nil
}

// take reserves a turn that begins after wait. It returns the bits of the
// theoretical arrival time after it.
func (g *Rate) take(ctx context.Context) (arrival int64, wait time.Duration, ok bool) {
	now := g.now()
	for tokens := g.tokens(now); ; {
		old := g.arrival.Load()
		turn := math.Float64frombits(old)
		if turn < tokens {
			turn = tokens // unused turns are lost, or a pause would be made up for
		}
		wait = 0
		if turn-tokens > g.early {
			if wait = g.mayWait(ctx, turn, now); wait == 0 {
				return 0, 0, false
			}
		}
		if next := math.Float64bits(turn + 1); g.arrival.CompareAndSwap(old, next) {
			return int64(next), wait, true
		}
	}
}

// mayWait returns how long a call must wait for its turn, or 0 if that is too
// long.
func (g *Rate) mayWait(ctx context.Context, turn float64, now int64) time.Duration {
	if g.cfg.MaxWait == 0 {
		return 0
	}
	wait := g.until(turn, now)
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || wait > g.cfg.MaxWait {
		return 0
	}
	return wait
}

// await sleeps until the turn begins, or ctx ends.
func (g *Rate) await(ctx context.Context, wait time.Duration) error {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		g.gone.Add(1)
		return context.Cause(ctx)
	}
	return nil
}

// until returns how long after now the call may begin whose theoretical
// arrival time is turn. It is never too short: asked again when it is over,
// the call may begin.
func (g *Rate) until(turn float64, now int64) time.Duration {
	ahead := turn - g.tokens(now)
	if ahead <= g.early {
		return 0
	}
	nanos := math.Ceil((ahead - g.early) / g.perNano)
	if nanos >= math.MaxInt64/2 {
		return math.MaxInt64 / 2
	}
	wait := int64(nanos)
	for step := int64(1); turn-g.tokens(now+wait) > g.early; step *= 2 {
		wait += step // the sums above were rounded
	}
	return time.Duration(wait)
}

// Settle implements [breaker.Issuer]: a call that ran has spent its token.
func (g *Rate) Settle(int64, breaker.Outcome, error) {}

// Cancel implements [breaker.Issuer].
func (g *Rate) Cancel(arrival int64) {
	before := math.Float64frombits(uint64(arrival)) - 1
	g.arrival.CompareAndSwap(uint64(arrival), math.Float64bits(before))
}

// RetryAfter returns how long it takes until a call would be admitted without
// waiting.
func (g *Rate) RetryAfter() time.Duration {
	now := g.now()
	return g.until(max(math.Float64frombits(g.arrival.Load()), g.tokens(now)), now)
}

// Stats returns a snapshot.
func (g *Rate) Stats() Stats {
	calls := g.calls.Totals()
	ahead := math.Float64frombits(g.arrival.Load()) - g.tokens(g.now())
	return Stats{
		Name: g.cfg.Name, Limit: max(1, g.cfg.Burst), Waiting: int(g.waiting.Load()),
		Tokens:   g.early + 1 - max(0, ahead),
		Admitted: calls.Succeeded, Rejected: calls.Failed, Abandoned: g.gone.Load(),
	}
}

// Idle reports whether the bucket is full.
func (g *Rate) Idle() bool {
	return math.Float64frombits(g.arrival.Load()) <= g.tokens(g.now())
}

// tokens returns the time now in tokens.
func (g *Rate) tokens(now int64) float64 { return float64(now) * g.perNano }

func (g *Rate) now() int64 { return int64(time.Since(g.base)) }
