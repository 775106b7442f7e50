package limit

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/internal/permit"
)

// ConcurrencyConfig are the settings of a [Concurrency].
type ConcurrencyConfig struct {
	// Name appears in statistics and errors.
	Name string

	// Max is how many calls may run at once. Zero refuses all.
	Max int

	// Queue is how many calls may wait for a place, first come, first served.
	// Zero means none.
	Queue int

	// MaxWait is how long a call waits at most. Zero means as long as its
	// context allows.
	MaxWait time.Duration
}

// Concurrency is a gate that bounds how many calls run at once: a semaphore
// with a bounded queue, known as a bulkhead. Safe for concurrent use.
//
// Places are held until the call is over, so a permit that is never given back
// costs its place for good: use breaker.Do or breaker.Run, or defer Cancel.
type Concurrency struct {
	cfg        ConcurrencyConfig
	permits    permit.Origin[breaker.Outcome]
	full, wait *breaker.RejectedError

	// A lock instead of a compare-and-swap loop, which is as fast alone and
	// slower once two processors compete; and the queue needs it.
	mu                            sync.Mutex
	max                           int
	inFlight                      int
	queue                         list.List // of *waiter, oldest first
	admitted, rejected, abandoned uint64
}

// waiter is a call in the queue. It leaves the queue by a grant, which closes
// granted, or by itself.
type waiter struct {
	granted chan struct{}
	place   *list.Element
}

// NewConcurrency returns a gate with c.Max free places. It panics if a setting
// is negative.
func NewConcurrency(c ConcurrencyConfig) *Concurrency {
	check("ConcurrencyConfig.Max", c.Max, c.Max >= 0)
	check("ConcurrencyConfig.Queue", c.Queue, c.Queue >= 0)
	check("ConcurrencyConfig.MaxWait", c.MaxWait, c.MaxWait >= 0)
	g := &Concurrency{cfg: c, max: c.Max}
	g.permits.Issuer = g
	g.full = refusal(g, c.Name, "full")
	g.wait = refusal(g, c.Name, "wait")
	return g
}

// check panics unless ok. All settings of this package are 0 or more.
func check(field string, value any, ok bool) {
	if !ok {
		panic(fmt.Sprintf("limit: %s is %v; allowed: 0 or more", field, value))
	}
}

// Allow takes a place, waits for one in the queue, or refuses with the reason
// "full", or "wait" if MaxWait was not enough. A free place takes about 15 ns
// to take and give back, without an allocation; waiting takes a few.
func (g *Concurrency) Allow(ctx context.Context) (breaker.Permit, error) {
	if ctx.Err() != nil {
		return breaker.Permit{}, context.Cause(ctx)
	}
	g.mu.Lock()
	if g.inFlight >= g.max {
		w := g.enqueue()
		g.mu.Unlock()
		if err := g.await(ctx, w); err != nil {
			return breaker.Permit{}, err
		}
		return breaker.NewPermit(ctx, &g.permits, 0), nil
	}
	g.inFlight++ // nobody waits while a place is free
	g.admitted++
	g.mu.Unlock()
	return breaker.NewPermit(ctx, &g.permits, 0), nil
}

// enqueue returns a place in the queue, or nil if it is full. mu is held.
func (g *Concurrency) enqueue() *waiter {
	if g.max == 0 || g.queue.Len() >= g.cfg.Queue {
		g.rejected++
		return nil
	}
	w := &waiter{granted: make(chan struct{})}
	w.place = g.queue.PushBack(w)
	return w
}

// await waits for w to get a place.
func (g *Concurrency) await(ctx context.Context, w *waiter) error {
	if w == nil {
		return g.full
	}
	var timeout <-chan time.Time
	if g.cfg.MaxWait > 0 {
		t := time.NewTimer(g.cfg.MaxWait)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-w.granted:
	case <-ctx.Done():
	case <-timeout:
	}
	var ended error
	if ctx.Err() != nil { // without the lock: a context may be code of somebody else
		ended = context.Cause(ctx)
	}
	return g.leave(ended, w)
}

// leave takes w out of the queue, however its wait ended: which of several
// ends was first is decided here, under the lock. A place that came together
// with the end of the context, of which ended is the cause, goes to the next.
func (g *Concurrency) leave(ended error, w *waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	waits := w.place != nil
	if waits {
		g.queue.Remove(w.place)
	}
	switch {
	case ended != nil:
		g.abandoned++
		if !waits {
			g.inFlight--
			g.grant()
		}
		return ended
	case waits:
		g.rejected++
		return g.wait
	default:
		g.admitted++
		return nil
	}
}

// grant gives free places to the oldest waiters. The place is taken on their
// behalf, here and not when they wake up, so that nobody can overtake them in
// between. mu is held.
func (g *Concurrency) grant() {
	for g.inFlight < g.max && g.queue.Len() > 0 {
		w := g.queue.Remove(g.queue.Front()).(*waiter)
		w.place = nil
		g.inFlight++
		close(w.granted)
	}
}

// Settle implements [breaker.Issuer].
func (g *Concurrency) Settle(int64, breaker.Outcome, error) { g.release() }

// Cancel implements [breaker.Issuer].
func (g *Concurrency) Cancel(int64) { g.release() }

func (g *Concurrency) release() {
	g.mu.Lock()
	g.inFlight--
	if g.queue.Len() > 0 {
		g.grant()
	}
	g.mu.Unlock()
}

// SetMax changes how many calls may run at once. Calls in flight stay; a raise
// wakes waiters in order, and those that wait when n is 0 wait on. It panics if
// n is negative.
func (g *Concurrency) SetMax(n int) {
	check("SetMax(n)", n, n >= 0)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = n
	g.grant()
}

// Stats returns a snapshot.
func (g *Concurrency) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{
		Name: g.cfg.Name, Limit: g.max, InFlight: g.inFlight, Waiting: g.queue.Len(),
		Admitted: g.admitted, Rejected: g.rejected, Abandoned: g.abandoned,
	}
}

// Idle reports whether nothing is in flight and nobody waits.
func (g *Concurrency) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight == 0 && g.queue.Len() == 0
}
