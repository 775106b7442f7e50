// Package inventory keeps the stock: on hand, reserved for orders, shipped. What
// can be reserved is decided by tag, over all orders of a kind, and several kinds
// are one decision; what may happen to an order's stock is decided by the order's
// stream. Keys and voids work as in package payments.
package inventory

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// initial is what is there of P-1 to P-8 when the shop opens for the first time.
// P-9 is for flash sales and has nothing.
const (
	kinds   = 8
	initial = 1_000_000
)

const (
	maxQty   = 1_000_000
	maxItems = 20
)

// Service is the inventory service.
type Service struct {
	log    wire.Events
	levels *wire.Model[Event, levels]
	locks  locks

	careless bool // sabotage: every repeat is a command of its own
}

// New returns the service's routes. It calls nobody.
func New(n *wire.Node) (*http.ServeMux, error) {
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s := &Service{log: log, careless: n.Sabotaged("no-idempotency")}
	for i := range kinds {
		if err := s.seed("P-" + strconv.Itoa(i+1)); err != nil {
			return nil, err
		}
	}
	s.levels = wire.NewModel(n, "stock", log, codec, func() levels { return levels{} }, func(l levels, _ eventsource.Recorded, e Event) levels { return l.evolve(e) })
	if n.Choreographed() {
		n.React("inventory-service", log, []string{"StockReserved", "StockRefused", "StockReleased", "StockConfirmed"}, s.react)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /reservations", wire.Handler(s.reserve))
	mux.Handle("POST /reservations/{order}/confirm", wire.Handler(s.confirm))
	mux.Handle("DELETE /reservations/{order}", wire.Handler(s.release))
	mux.Handle("GET /stock", wire.Handler(s.show))
	mux.Handle("POST /stock/{sku}", wire.Handler(s.add))
	return mux, nil
}

// seed puts the first stock of a kind into the log, once.
func (s *Service) seed(sku string) error {
	in := eventsource.Scope{Stream: "stock-" + sku, Key: "initial", Within: within([]Item{{SKU: sku}})}
	_, err := stock.Handle(context.Background(), s.log, codec, in, StockAdded{sku, initial, true})
	return err
}

// reserve sets an order's units aside.
func (s *Service) reserve(w http.ResponseWriter, r *http.Request) error {
	var in Load
	if err := wire.Decode(w, r, &in, "orderId", "items"); err != nil {
		return err
	}
	if in.Order == "" {
		return wire.Invalid("orderId is missing", "orderId")
	}
	if len(in.Items) == 0 || len(in.Items) > maxItems {
		return wire.Invalid("items must have 1 to "+strconv.Itoa(maxItems)+" entries", "items")
	}
	for _, item := range in.Items {
		if item.SKU == "" || item.Qty < 1 || item.Qty > maxQty {
			return wire.Invalid("each item needs a sku and a qty from 1 to "+strconv.Itoa(maxQty), "items")
		}
	}
	in.Items = merge(in.Items)
	scope := eventsource.Scope{
		Stream: in.Order, Within: within(in.Items), Key: r.Header.Get("Idempotency-Key"),
		Conditions: []eventsource.Condition{eventsource.NoStream(in.Order)},
	}
	if s.careless {
		scope.Key, scope.Conditions = "", nil
	}
	unlock, err := s.locks.lock(r.Context(), in.Items)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := stock.Handle(r.Context(), s.log, codec, scope, StockReserved{in}); err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusCreated, in)
}

func refusal(err error) error {
	switch {
	case errors.Is(err, errShort):
		return wire.NewProblem(http.StatusConflict, "sold-out", err.Error())
	case errors.Is(err, errMove):
		return wire.NewProblem(http.StatusConflict, "state", "the order's stock is "+err.Error())
	}
	if wire.Decided(err) {
		return wire.NewProblem(http.StatusConflict, "voided", "the order has been supplied, or given up, before")
	}
	return err
}

func (s *Service) confirm(w http.ResponseWriter, r *http.Request) error {
	return s.move(w, r, move{order: r.PathValue("order")})
}

// release gives back what an order has, on the shelf or from the customer.
func (s *Service) release(w http.ResponseWriter, r *http.Request) error {
	return s.move(w, r, move{order: r.PathValue("order"), back: true})
}

// move brings an order's stock into another state. It takes no lock: what leaves a
// reservation needs no look at the stock.
func (s *Service) move(w http.ResponseWriter, r *http.Request, m move) error {
	scope := eventsource.Scope{Stream: m.order, Key: r.Header.Get("Idempotency-Key")}
	out, err := orders.Handle(r.Context(), s.log, codec, scope, m)
	if err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{"orderId": m.order, "status": out.State.status})
}

// add takes units in.
func (s *Service) add(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Add int `json:"add"`
	}
	if err := wire.Decode(w, r, &in, "add"); err != nil {
		return err
	}
	if in.Add < 1 || in.Add > maxQty {
		return wire.Invalid("add must be from 1 to "+strconv.Itoa(maxQty), "add")
	}
	item := []Item{{SKU: r.PathValue("sku"), Qty: in.Add}}
	scope := eventsource.Scope{Stream: "stock-" + item[0].SKU, Within: within(item)}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		scope.Key = "client/" + key
	}
	unlock, err := s.locks.lock(r.Context(), item)
	if err != nil {
		return err
	}
	defer unlock()
	out, err := stock.Handle(r.Context(), s.log, codec, scope, StockAdded{SKU: item[0].SKU, Qty: in.Add})
	if err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusCreated, out.State[item[0].SKU])
}

// show answers with all levels, up to one position.
func (s *Service) show(w http.ResponseWriter, _ *http.Request) error {
	var out struct {
		Position eventsource.Position `json:"position,string"`
		SKUs     levels               `json:"skus"`
	}
	s.levels.View(func(l levels, at eventsource.Position) { out.Position, out.SKUs = at, maps.Clone(l) })
	return wire.WriteJSON(w, http.StatusOK, out)
}

// locks are a lock per kind. The log would sort out who comes first by itself; but
// of 500 buyers of one kind 499 would decide on what has just changed, and again.
// They are channels, so that a caller who leaves does not wait on.
type locks struct {
	mu  sync.Mutex
	all map[string]chan struct{}
}

// lock takes the locks of the kinds of items, in their order.
func (l *locks) lock(ctx context.Context, items []Item) (unlock func(), err error) {
	var held []chan struct{}
	unlock = func() {
		for _, c := range held {
			<-c
		}
	}
	for _, item := range items {
		c := l.of(item.SKU)
		select {
		case c <- struct{}{}:
			held = append(held, c)
		case <-ctx.Done():
			unlock()
			return nil, context.Cause(ctx)
		}
	}
	return unlock, nil
}

func (l *locks) of(sku string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]chan struct{}{}
	}
	c := l.all[sku]
	if c == nil {
		c = make(chan struct{}, 1)
		l.all[sku] = c
	}
	return c
}
