package load

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// burst is a flash sale: so many orders of one article, as fast as buyers come.
type burst struct {
	sku    string
	buyers int
	serial int64 // tells the keys of two sales apart
}

// burstEvery is the time between two buyers: 250 a second.
const burstEvery = 4 * time.Millisecond

// Burst sends n orders of one article beside the load, four milliseconds apart. It
// returns at once; a sale that has not begun yet is replaced.
func (g *Generator) Burst(sku string, n int) {
	b := burst{sku, n, time.Now().UnixNano()}
	for {
		select {
		case g.bursts <- b:
			return
		default:
		}
		select {
		case <-g.bursts:
		default:
		}
	}
}

// sell signs up a customer for every five orders, as one alone could not pay, and
// then lets them buy in turn, on a schedule like that of the load.
func (g *Generator) sell(ctx context.Context, wg *sync.WaitGroup, b burst) {
	g.inflight.Add(1) // the sale itself: the load has not settled before its last order is out
	defer g.inflight.Add(-1)
	const numbered = 1 << 40 // beyond those of the load
	for i := range (b.buyers + 4) / 5 {
		g.do(ctx, signup(uint64(numbered+i)), uint64(numbered+i))
	}
	start := time.Now()
	for i := range b.buyers {
		due := start.Add(time.Duration(i) * burstEvery)
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		c := g.customer(float64(i) / float64(b.buyers))
		order := map[string]any{"userId": c.ID, "items": []map[string]any{{"sku": b.sku, "qty": 1}}}
		g.send(ctx, wg, call{
			op: Order, method: http.MethodPost, path: "/api/orders?wait=2s", body: encode(order), customer: c,
			key: fmt.Sprintf("burst-%d-%d", b.serial, i),
		}, uint64(2*numbered+i), due)
	}
}
