package load

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// answer is the part of an answer that a client looks at, whatever it asked for.
type answer struct {
	// Of an order.
	ID         json.RawMessage `json:"id"` // a string; a number for a user
	Status     string          `json:"status"`
	TotalCents int64           `json:"totalCents"`
	Message    string          `json:"message"`
	// Of a user.
	Secret string `json:"secret"`
	// Of an article.
	Data struct {
		Version int64 `json:"version"`
	} `json:"data"`
	Stale bool    `json:"stale"`
	AgeMs float64 `json:"ageMs"`
}

// order is the id of an order; "" if there is none.
func (a answer) order() (id string) {
	if json.Unmarshal(a.ID, &id) != nil {
		return ""
	}
	return id
}

// do makes one request, judges the answer, and remembers what it says.
func (g *Generator) do(ctx context.Context, c call, n uint64) Counts {
	rec := Record{Call: n, Type: Invoke, Op: c.op, Key: c.key, SKU: c.sku}
	if c.customer != nil {
		rec.User, rec.Floor = c.customer.ID, c.customer.seen(c.sku)
	}
	g.history.add(rec)
	resp, body, err := g.exchange(ctx, c) //nolint:bodyclose // exchange has read it to its end
	if err != nil {
		rec.Type = Unknown
		g.history.add(rec)
		return Counts{Broken: 1}
	}
	var a answer
	if resp.StatusCode < 300 && bytes.HasPrefix(body, []byte("{")) {
		if err := json.Unmarshal(body, &a); err != nil {
			rec.Type, rec.Code = Unknown, resp.StatusCode
			g.history.add(rec)
			return Counts{Broken: 1} // a 2xx that cannot be read is no answer
		}
	}
	if resp.StatusCode >= 300 {
		rec.Problem = problem(body)
	}
	rec.Type, rec.Code, rec.Order, rec.Status, rec.Version = outcome(resp), resp.StatusCode, a.order(), a.Status, a.Data.Version
	g.history.add(rec)
	g.learn(ctx, c, resp.StatusCode, a, rec.Floor)
	return judge(c, resp, a)
}

// problem is what an error answer says of itself, in few words.
func problem(body []byte) string {
	var p struct{ Type, Detail string }
	if json.Unmarshal(body, &p) != nil {
		return "not a problem document"
	}
	return p.Type + ": " + p.Detail
}

// exchange sends the request and reads the whole answer.
func (g *Generator) exchange(ctx context.Context, c call) (*http.Response, []byte, error) {
	// With a token also where none is needed: it is how the gateway knows that the load
	// of the demo is not to be metered. Where none is needed nor can be had, without.
	token, err := g.authorize(ctx, cmp.Or(c.customer, g.customer(0)))
	if err != nil && (c.op == Order || c.op == View) {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, c.method, g.config.Target+c.path, bytes.NewReader(c.body))
	if err != nil {
		return nil, nil, err
	}
	if len(c.body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized && c.customer != nil {
		c.customer.forget(token)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, body, err
}

// outcome is what an answer says of a call's effect. A definite refusal is only
// what the API defines as one; a 5xx, and an answer that comes too late, may have
// had an effect.
func outcome(r *http.Response) string {
	switch code := r.StatusCode; {
	case code < 300:
		return OK
	case code < 500:
		return Fail
	default:
		return Unknown
	}
}

// judge tells the fate of a request by its answer. A 503 that says when to come
// back is a plain refusal; an error on purpose is a failure and not a bug; what
// is left is what the API never promises.
func judge(c call, r *http.Response, a answer) Counts {
	switch code := r.StatusCode; {
	case code < 300 && (a.Stale || c.op == Order && a.Message != "" && a.Status == "pending"):
		return Counts{Fallback: 1}
	case code < 300 && c.op == Order && a.Status == "rejected":
		return Counts{Failed: 1} // said politely; the customer has nothing all the same
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

// learn remembers the last orders and customers, so that there is something to
// look at and somebody to buy, and forgets an order that the shop has forgotten.
func (g *Generator) learn(ctx context.Context, c call, status int, a answer, floor int64) {
	switch {
	case c.op == Order && status == http.StatusCreated && a.order() != "":
		g.spend(c.customer, cmp.Or(a.TotalCents, 1))
		g.mu.Lock()
		g.orders = append(g.orders[max(0, len(g.orders)-63):], placed{a.order(), c.customer})
		g.mu.Unlock()
		g.witness.order(c.key, a.order())
	case c.op == View && status == http.StatusNotFound:
		g.mu.Lock()
		g.orders = slices.DeleteFunc(g.orders, func(p placed) bool { return "/api/orders/"+p.id == c.path })
		g.mu.Unlock()
	case c.op == Signup && status == http.StatusCreated && g.config.Login != nil:
		var id int
		if json.Unmarshal(a.ID, &id) != nil {
			return
		}
		// Signed in at once, so that an outage of users later is not taken for one of
		// whatever he asks for then. Who cannot sign in buys nothing.
		c := &customer{ID: id, secret: a.Secret}
		if _, err := g.authorize(ctx, c); err == nil {
			g.welcome(c)
		}
	case c.sku != "" && status < 300:
		g.witness.read(c.sku, a, floor, g.config.FreshFor)
		c.customer.see(c.sku, a.Data.Version)
	}
}

// lastOrder is the newest order that is known and who has placed it; "" if there
// is none.
func (g *Generator) lastOrder() (string, *customer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.orders) == 0 {
		return "", nil
	}
	last := g.orders[len(g.orders)-1]
	return last.id, last.by
}

// Witness is what the clients have seen that no client should ever see, counted
// since the start, and what they have been promised.
type Witness struct {
	Reads       uint64   `json:"reads"`       // of articles with a version
	Falls       uint64   `json:"falls"`       // of them with a lower version than the same client had seen
	Unlabelled  uint64   `json:"unlabelled"`  // of them older than allowed, and not called stale
	LastFall    string   `json:"lastFall"`    // in words
	LastStale   string   `json:"lastStale"`   // in words
	Promised    []string `json:"promised"`    // the last orders that a 201 has named
	TwoForOne   uint64   `json:"twoForOne"`   // keys that were answered with two orders
	LastDoubled string   `json:"lastDoubled"` // in words
}

// keepPromises bounds what is remembered of orders; the offline judge has them all.
const keepPromises = 512

// witness gathers a Witness.
type witness struct {
	mu       sync.Mutex
	seen     Witness
	orders   map[string]string // by key
	promised []string          // keys, oldest first
}

// read looks at an article that was shown to a client who had seen version floor
// before this request began.
func (w *witness) read(sku string, a answer, floor int64, freshFor time.Duration) {
	if a.Data.Version == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Reads++
	if a.Data.Version < floor {
		w.seen.Falls++
		w.seen.LastFall = fmt.Sprintf("%s: version %d after %d", sku, a.Data.Version, floor)
	}
	if age := time.Duration(a.AgeMs * float64(time.Millisecond)); freshFor > 0 && age > freshFor && !a.Stale {
		w.seen.Unlabelled++
		w.seen.LastStale = fmt.Sprintf("%s: %v old and not called stale", sku, age.Round(time.Millisecond))
	}
}

// order notes which order a key was answered with.
func (w *witness) order(key, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.orders == nil {
		w.orders = map[string]string{}
	}
	before, known := w.orders[key]
	if known && before != id {
		w.seen.TwoForOne++
		w.seen.LastDoubled = fmt.Sprintf("key %s: orders %s and %s", key, before, id)
	}
	if known {
		return
	}
	w.orders[key] = id
	w.promised = append(w.promised, key)
	if len(w.promised) > keepPromises {
		delete(w.orders, w.promised[0])
		w.promised = w.promised[1:]
	}
}

// Witness returns a snapshot.
func (g *Generator) Witness() Witness {
	w := &g.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.seen
	for _, key := range w.promised {
		out.Promised = append(out.Promised, w.orders[key])
	}
	return out
}
