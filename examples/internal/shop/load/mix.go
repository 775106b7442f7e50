package load

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// The operations, as they are called in /state.
const (
	Browse = "browse" // GET /api/users
	Order  = "order"  // POST /api/orders
	View   = "view"   // GET /api/orders/{id}
	Signup = "signup" // POST /api/users
)

// Operations lists them in the order in which tables show them.
func Operations() []string { return []string{Browse, Order, View, Signup} }

// operation is a kind of request and its share of the traffic.
type operation struct {
	share int // of 100
	build func(g *Generator, due time.Time) call
}

// call is one request.
type call struct {
	op, method, path string
	body             []byte
}

// mix has more of what needs users than of what does not, so that an outage
// shows, and enough of "view", which does not need them, to show what stays up.
var mix = []operation{
	{30, func(*Generator, time.Time) call {
		return call{op: Browse, method: http.MethodGet, path: "/api/users?limit=10"}
	}},
	{40, buildOrder},
	{25, buildView},
	{5, func(_ *Generator, due time.Time) call {
		body := fmt.Appendf(nil, `{"name":"Visitor %d"}`, due.UnixMilli()%100_000)
		return call{Signup, http.MethodPost, "/api/users", body}
	}},
}

// buildOrder orders for Alice or Bob, by turns of the clock: no draw is spent,
// so the sequence of operations depends on the seed alone.
func buildOrder(_ *Generator, due time.Time) call {
	body := fmt.Appendf(nil, `{"userId":%d}`, 1+due.UnixMilli()%2) // Alice or Bob
	return call{Order, http.MethodPost, "/api/orders", body}
}

// buildView looks at the newest order; as long as there is none it places one.
func buildView(g *Generator, due time.Time) call {
	id := g.lastOrder()
	if id == "" {
		return buildOrder(g, due)
	}
	return call{op: View, method: http.MethodGet, path: "/api/orders/" + id}
}

// pick draws an operation by its share: one draw for each request, so that the
// n-th operation of a seed is always the same.
func pick(draws *rand.Rand) operation {
	n := draws.IntN(100)
	for _, op := range mix {
		if n -= op.share; n < 0 {
			return op
		}
	}
	panic("load: the shares do not add up to 100")
}
