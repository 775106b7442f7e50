package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// crash is a moment in the life of an order at which a process dies.
type crash struct {
	service string // as /state names it: products-1
	at      string // what it is at: the path of a request, /TOPIC/TYPE of a message, /sagas/STEP of the coordinator
	point   string // before, effect or answer
	soldOut bool   // the order cannot be supplied, and is undone
	back    bool   // it is the return of an order that was confirmed
	also    string // another fault in force, in JSON; empty is none
	entry   bool   // the order goes through the gateway
}

func (c crash) String() string {
	return strings.ReplaceAll(fmt.Sprintf("%s %s %s", c.service, c.at, c.point), "/", "|")
}

// everywhere is a crash at each of the three points.
func everywhere(c crash) (out []crash) {
	for _, point := range []string{"before", "effect", "answer"} {
		c.point = point
		out = append(out, c)
	}
	return out
}

// byCoordinator are the crashes of an order that a coordinator leads: of each service
// at each request of it, and of the coordinator itself at each step.
func byCoordinator() (all []crash) {
	for _, c := range []crash{
		{service: "gateway", at: "/api/orders", entry: true},
		{service: "orders", at: "/orders"},
		{service: "users", at: "/users/"},
		{service: "products-1", at: "/products"},
		{service: "payments", at: "/reservations"},
		{service: "inventory", at: "/reservations"},
		{service: "shipping", at: "/shipments"},
		{service: "payments", at: "/reservations/"},  // capture
		{service: "inventory", at: "/reservations/"}, // confirm
		{service: "payments", at: "/reservations/", soldOut: true},
		{service: "payments", at: "/refunds", back: true},
		{service: "inventory", at: "/reservations/", back: true},
		{service: "shipping", at: "/shipments/", back: true},
	} {
		all = append(all, everywhere(c)...)
	}
	// The effect is there and its answer is lost: that is when the coordinator dies
	// between the two.
	for _, step := range [][3]string{
		{"payment", "payments", "/reservations"},
		{"stock", "inventory", "/reservations"},
		{"ship", "shipping", "/shipments"},
		{"capture", "payments", "/reservations/"},
		{"confirm", "inventory", "/reservations/"},
	} {
		for _, c := range everywhere(crash{service: "orders", at: "/sagas/" + step[0]}) {
			if c.point == "effect" {
				c.also = fmt.Sprintf(`{"target":%q,"kind":"drop=100%%","path":%q,"calls":"1-2"}`, step[1], step[2])
			}
			all = append(all, c)
		}
	}
	return append(
		all,
		crash{service: "orders", at: "/sagas/create", point: "before"},
		crash{service: "orders", at: "/sagas/complete", point: "before"},
		crash{service: "orders", at: "/sagas/stock", point: "answer", soldOut: true},
		crash{service: "orders", at: "/sagas/capture", point: "before", back: true},
		crash{service: "orders", at: "/sagas/ship", point: "answer", back: true},
	)
}

// byEvents are those of an order that goes its way by events. A service dies before it
// has handled what it hears, when it has and nobody knows, and when what it has to say
// is published and it does not know that yet.
func byEvents() (all []crash) {
	for _, c := range []crash{
		{service: "gateway", at: "/api/orders", entry: true},
		{service: "orders", at: "/orders"},
		{service: "users", at: "/users/"},
		{service: "products-1", at: "/products"},
	} {
		all = append(all, everywhere(c)...)
	}
	for _, r := range []struct {
		service, hears, says string
		soldOut              bool
	}{
		{"payments", "OrderCreated", "PaymentReserved", false},
		{"inventory", "PaymentReserved", "StockReserved", false},
		{"shipping", "StockReserved", "ShipmentCreated", false},
		{"payments", "ShipmentCreated", "PaymentCaptured", false},
		{"inventory", "PaymentCaptured", "StockConfirmed", false},
		{"orders", "StockConfirmed", "OrderConfirmed", false},
		{"inventory", "PaymentReserved", "StockRefused", true},
		{"payments", "StockRefused", "PaymentReleased", true},
		{"orders", "StockRefused", "OrderRejected", true},
	} {
		hears, says := "/order-events/"+r.hears, "/order-events/"+r.says
		all = append(
			all,
			crash{service: r.service, at: hears, point: "before", soldOut: r.soldOut},
			crash{service: r.service, at: hears, point: "effect", soldOut: r.soldOut},
			crash{service: r.service, at: says, point: "answer", soldOut: r.soldOut},
		)
	}
	return append(all, crash{service: "orders", at: "/order-events/OrderCreated", point: "answer"})
}

// some are what every test run includes.
func some(all []crash) (out []crash) {
	for i, c := range all {
		if i%9 == 7 {
			out = append(out, c)
		}
	}
	return out
}

// A5, T6: a process is killed with SIGKILL at a step of an order, before it has had an
// effect, when it has had one and nobody has heard of it, and when it has answered; it
// is started again, and the order comes to its end, once. With KEELSON_CRASHES=all it is
// every process at every step, as in make shop-check.
func TestACrashAtAnyStepLosesNothing(t *testing.T) {
	for style, all := range map[string][]crash{"orchestration": byCoordinator(), "choreography": byEvents()} {
		if os.Getenv("KEELSON_CRASHES") != "all" {
			all = some(all)
		}
		t.Run(style, func(t *testing.T) {
			v := newVictim(t, style)
			for i, c := range all {
				t.Run(c.String(), func(t *testing.T) { v.survive(t, i, c) })
			}
			v.judge(t)
		})
	}
}

// victim is a shop whose processes are killed.
type victim struct {
	page, orders, gateway string
	token                 string
	client                *http.Client
	sold                  int64 // cents, of what was confirmed
}

func newVictim(t *testing.T, style string) *victim {
	t.Helper()
	// A client of the shop that is well made: what was refused or cut is sent again,
	// under the same key.
	again := &retry.Policy{MaxAttempts: -1, MaxElapsed: 30 * time.Second, Backoff: retry.FullJitter(50*time.Millisecond, 500*time.Millisecond)}
	v := &victim{client: &http.Client{Transport: &retryhttp.Transport{Base: &http.Transport{}, Policy: again}}}
	t.Cleanup(v.client.CloseIdleConnections)
	p := launch(t, []string{"SHOP_FREE_PORTS=1"}, "-procs", "-saga", style, "-rps", "0", "-addr", "127.0.0.1:0", "-data", t.TempDir())
	v.page = p.url(t, "page")
	v.gateway = strings.TrimSuffix(p.url(t, "gateway"), "/api/users")
	v.orders = "http://" + look(t, v.page).Services["orders"].Addr
	secret := p.secret(t, "Alice")
	status, body := do(t, http.MethodPost, v.gateway+"/api/sessions", fmt.Sprintf(`{"userId":1,"secret":%q}`, secret))
	require.Equal(t, http.StatusCreated, status, body)
	var session struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(body), &session))
	v.token = session.Token
	return v
}

// survive places an order, waits until the process has died of it, starts it again and
// waits for the end of the order.
func (v *victim) survive(t *testing.T, n int, c crash) {
	before := look(t, v.page).Services[c.service].PID
	require.True(t, before != 0, "%s does not run", c.service)
	var order placement
	if c.back {
		order = v.place(n, c)
		v.ended(t, &order)
	}
	if c.also != "" {
		v.control(t, http.MethodPost, "faults", c.also)
	}
	service, _, _ := strings.Cut(c.service, "-")
	v.control(t, http.MethodPost, "faults", fmt.Sprintf(`{"target":%q,"kind":"crash=%s","path":%q}`, service, c.point, c.at))
	placed := make(chan placement, 1)
	go func() {
		if c.back {
			placed <- v.ask(http.MethodPost, v.orders+"/orders/"+order.ID+"/return", "", "")
		} else {
			placed <- v.place(n, c)
		}
	}()
	eventually(t, "it is killed", func() bool { return !alive(before) })
	v.control(t, http.MethodDelete, "faults", "")
	eventually(t, "it is up again", func() bool {
		// Refused as long as control has not seen the death.
		_, _ = do(t, http.MethodPost, v.page+"/control/services/"+c.service+"/start", "")
		s := look(t, v.page).Services[c.service]
		return s.PID != 0 && s.PID != before
	})
	order = <-placed
	require.NoError(t, order.err)
	v.ended(t, &order)
	assert.Equal(t, c.end(), order.Status, "%s", order.Reason)
	if order.Status == "confirmed" {
		v.sold += order.TotalCents
	}
}

// end is what must have become of the order.
func (c crash) end() string {
	switch {
	case c.soldOut:
		return "rejected"
	case c.back:
		return "returned"
	}
	return "confirmed"
}

// ended waits until an order is neither on its way out nor on its way back.
func (v *victim) ended(t *testing.T, p *placement) {
	t.Helper()
	id, was := p.ID, p.Status
	eventually(t, "the order has ended", func() bool {
		*p = v.ask(http.MethodGet, v.orders+"/orders/"+id, "", "")
		return p.err == nil && p.Status != "pending" && (was != "returning" || p.Status != "confirmed")
	})
}

func (v *victim) control(t *testing.T, method, what, body string) {
	t.Helper()
	status, answer := do(t, method, v.page+"/control/"+what, body)
	require.Equal(t, http.StatusOK, status, "%s: %s", what, answer)
}

// placement is what is known of an order.
type placement struct {
	ID, Status, Reason string
	TotalCents         int64
	err                error
}

func (v *victim) place(n int, c crash) placement {
	url := v.orders + "/orders"
	if c.entry {
		url = v.gateway + "/api/orders"
	}
	body := `{"userId":1}`
	if c.soldOut {
		body = `{"userId":1,"items":[{"sku":"P-9","qty":1}]}`
	}
	return v.ask(http.MethodPost, url, body, fmt.Sprint("crash-", n))
}

// ask repeats what was cut in the middle of an answer as well, which no Transport can.
func (v *victim) ask(method, url, body, key string) (p placement) {
	for range 3 {
		if p = v.askOnce(method, url, body, key); !errors.Is(p.err, io.ErrUnexpectedEOF) {
			break
		}
	}
	return p
}

func (v *victim) askOnce(method, url, body, key string) (p placement) {
	req, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // the policy has a limit
	if err != nil {
		return placement{err: err}
	}
	req.Header.Set("Idempotency-Key", cmp.Or(key, url)) // a return is one, however often it is asked for
	if strings.HasPrefix(url, v.gateway) {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return placement{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return placement{err: err}
	case resp.StatusCode >= 300:
		return placement{err: fmt.Errorf("%s: %s", resp.Status, text)}
	}
	p.err = json.Unmarshal(text, &p)
	return p
}

// judge asks for what must hold after all of it: money, stock, orders, sagas and
// versions are in order, and what was captured is what was sold.
func (v *victim) judge(t *testing.T) {
	t.Helper()
	var ledger struct{ HeldCents, CapturedCents, RefundedCents int64 }
	eventually(t, "nothing is held", func() bool {
		_, body := get(t, "http://"+look(t, v.page).Services["payments"].Addr+"/ledger")
		return json.Unmarshal([]byte(body), &ledger) == nil && ledger.HeldCents == 0
	})
	assert.Equal(t, v.sold, ledger.CapturedCents-ledger.RefundedCents)
	var s struct {
		Lamps map[string]struct{ Status, Detail string }
	}
	lamps := []string{"money", "stock", "orders", "sagas", "versions"}
	eventually(t, "all lamps say something", func() bool {
		_, body := get(t, v.page+"/state")
		require.NoError(t, json.Unmarshal([]byte(body), &s))
		return !slices.ContainsFunc(lamps, func(name string) bool {
			status := s.Lamps[name].Status // "" is a lamp that nobody has looked at yet
			return status == "" || status == "unknown"
		})
	})
	for _, name := range lamps {
		assert.Equal(t, "ok", s.Lamps[name].Status, "%s: %s", name, s.Lamps[name].Detail)
	}
}
