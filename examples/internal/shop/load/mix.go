package load

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The operations, as they are called in /state.
const (
	Browse = "browse" // GET /api/products, or one of them; /api/users where there are none
	Order  = "order"  // POST /api/orders
	View   = "view"   // GET /api/orders/{id}
	Signup = "signup" // POST /api/users
)

// Operations lists them in the order in which tables show them.
func Operations() []string { return []string{Browse, Order, View, Signup} }

// Mix is the share of each operation; what is absent is not sent. Shares are
// weights, and need not add up to anything.
type Mix map[string]int

// DefaultMix has more of what needs other services than of what does not, so that
// an outage shows, and enough of the rest to show what stays up.
func DefaultMix() Mix { return Mix{Browse: 50, Order: 30, View: 17, Signup: 3} }

// ParseMix reads words such as browse=60. An error says what is allowed.
func ParseMix(words []string) (Mix, error) {
	m := Mix{}
	for _, word := range words {
		op, text, _ := strings.Cut(word, "=")
		share, err := strconv.Atoi(text)
		if !slices.Contains(Operations(), op) || err != nil || share < 0 || share > 1000 {
			return nil, fmt.Errorf("%q: want OPERATION=SHARE, the operation one of %s, the share from 0 to 1000", word, strings.Join(Operations(), ", "))
		}
		m[op] = share
	}
	return m, m.Validate()
}

// Validate refuses a mix that sends nothing, or something unknown.
func (m Mix) Validate() error {
	sum := 0
	for _, op := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(Operations(), op) {
			return fmt.Errorf("%q: want one of %s", op, strings.Join(Operations(), ", "))
		}
		if m[op] < 0 {
			return fmt.Errorf("%s: a share cannot be negative", op)
		}
		sum += m[op]
	}
	if sum == 0 {
		return fmt.Errorf("the shares add up to 0, so nothing would be sent")
	}
	return nil
}

// pick draws an operation by its share.
func (m Mix) pick(draws *rand.Rand) string {
	sum := 0
	for _, op := range Operations() {
		sum += m[op]
	}
	n := draws.IntN(sum)
	for _, op := range Operations() {
		if n -= m[op]; n < 0 {
			return op
		}
	}
	panic("load: a draw beyond the sum of the shares")
}

// call is one request.
type call struct {
	op, method, path string
	body             []byte
	customer         *customer // who asks; nil is a stranger
	key              string    // Idempotency-Key
	sku              string    // that is looked at
}

// build makes the next request of a kind. It spends the same number of draws
// whatever the shop has answered so far, so the n-th operation of a seed is always
// the same; only what it is about depends on what there is.
func (g *Generator) build(op string, draws *rand.Rand, n uint64) call {
	who, what := draws.Float64(), draws.Float64()
	switch op {
	case Order:
		return g.buildOrder(who, what, n)
	case View:
		// The newest order of somebody; as long as there is none, one is placed.
		if id, c := g.lastOrder(); id != "" {
			return call{op: View, method: http.MethodGet, path: "/api/orders/" + id, customer: c}
		}
		return g.buildOrder(who, what, n)
	case Signup:
		return signup(n)
	}
	if !g.config.Products {
		return call{op: Browse, method: http.MethodGet, path: "/api/users?limit=10"}
	}
	c := g.customer(who)
	if what < 0.2 { // a fifth looks at the list
		return call{op: Browse, method: http.MethodGet, path: "/api/products", customer: c}
	}
	sku := skuAt((what - 0.2) / 0.8)
	return call{op: Browse, method: http.MethodGet, path: "/api/products/" + sku, customer: c, sku: sku}
}

// skus are what is bought and looked at.
const skus = 8

// skuAt is the article at a share in [0, 1): the first half of the looks go to
// P-1, the next quarter to P-2, and so on, as in any shop.
func skuAt(share float64) string {
	n := 1
	for rest := 0.5; share >= rest && n < skus; n++ {
		share -= rest
		rest /= 2
	}
	return "P-" + strconv.Itoa(n)
}

func signup(n uint64) call {
	name := fmt.Sprintf("Visitor %d", n)
	body := encode(map[string]string{"name": name, "email": fmt.Sprintf("visitor%d@example.test", n)})
	return call{op: Signup, method: http.MethodPost, path: "/api/users", body: body}
}

// repeatEvery says how often an order is sent once more under the same key, as by
// a client whose answer was lost: two orders for one key are what must not be.
const repeatEvery = 25

// buildOrder orders one article under a key of its own.
func (g *Generator) buildOrder(who, what float64, n uint64) call {
	if n%repeatEvery == 0 && g.config.Login != nil && g.repeat.op != "" {
		return g.repeat
	}
	c := g.customer(who)
	order := map[string]any{"userId": c.ID}
	if g.config.Products {
		order["items"] = basket(skuAt(what), n)
	}
	path := "/api/orders"
	if g.config.Login != nil { // with payment an order takes time; the client stays for it
		path += "?wait=2s"
	}
	key := fmt.Sprintf("load-%d-%d", g.config.Seed, n)
	g.repeat = call{op: Order, method: http.MethodPost, path: path, body: encode(order), customer: c, key: key}
	return g.repeat
}

// basket is what is bought: one article, and for two orders of three another one.
func basket(sku string, n uint64) []map[string]any {
	items := []map[string]any{{"sku": sku, "qty": 1}}
	if second := fmt.Sprintf("P-%d", 6+n%3); n%3 > 0 && second != sku {
		items = append(items, map[string]any{"sku": second, "qty": 1})
	}
	return items
}

// encode writes what cannot fail to be written.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("load: " + err.Error())
	}
	return b
}
