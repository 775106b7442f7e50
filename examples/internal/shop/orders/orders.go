// Package orders is the order service. POST /orders asks users who is ordering, and
// starts a saga: create the order, reserve payment and stock, ship, capture the
// payment, confirm the stock, complete. What fails before the parcel is sent is
// undone in reverse; what fails behind it is repeated until it succeeds.
//
//	commands.go  what can be asked of the service, as commands and queries
//	saga.go      the steps, and how a call to a participant is judged
//	events.go    the order itself: events, decider, read model
//
// There is no fallback for users: an order without a known user would have to be
// undone later, so "not now" is the honest answer. There is one for payments: the
// order is taken and stays pending, since a saga can wait.
package orders

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/cqrs"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga"
)

// Service is the order service.
type Service struct {
	node *wire.Node

	users, products, payments, inventory, shipping *wire.Client

	log               wire.Events
	book              *wire.Model[Event, *book]
	coordinator       *saga.Coordinator
	sagas             *saga.Saga[Purchase]
	commands, queries *cqrs.Bus
	bells             bells
	choreographed     bool
	whole             Whole // nil but in a monolith
	maxUnfinished     int
	careless          bool // sabotage: nothing is undone
}

// New returns the service's routes. It calls users, products, payments, inventory
// and shipping.
func New(n *wire.Node) (*http.ServeMux, error) { return build(n, nil) }

// build makes the service in one of three styles: by a coordinator, by events, or, with
// whole, as a module of a monolith.
func build(n *wire.Node, whole Whole) (*http.ServeMux, error) {
	s := &Service{
		node: n, users: n.Client("users", false), products: n.Client("products", false), payments: n.Client("payments", false),
		inventory: n.Client("inventory", false), shipping: n.Client("shipping", false),
		commands: cqrs.New(), queries: cqrs.New(), whole: whole, maxUnfinished: cmp.Or(n.Settings().MaxOrders, 1000), choreographed: n.Choreographed(), careless: n.Sabotaged("no-compensation"),
	}
	var err error
	if s.log, err = n.Open("events"); err != nil {
		return nil, err
	}
	s.book = wire.NewModel(n, "orders", s.log, codec, func() *book { return newBook(s.bells.ring) }, (*book).evolve)
	if err := s.coordinate(n); err != nil {
		return nil, err
	}
	if s.choreographed {
		n.React("order-service", s.log, []string{"OrderCreated", "OrderConfirmed", "OrderRejected"}, s.react)
	}
	s.register()
	mux := http.NewServeMux()
	mux.Handle("POST /orders", wire.Handler(s.post))
	mux.Handle("GET /orders", wire.Handler(s.list))
	mux.Handle("GET /orders/{id}", wire.Handler(s.get))
	mux.Handle("PATCH /orders/{id}", wire.Handler(s.patch))
	mux.Handle("POST /orders/{id}/return", wire.Handler(s.sendBack))
	mux.Handle("GET /orders/{id}/history", wire.Handler(s.history))
	s.watch(n, mux)
	return mux, nil
}

// What a client may order at once.
const (
	maxItems   = 20
	maxQty     = 1000
	maxAddress = 500 // characters
	maxOrders  = 100 // in one answer
)

// post takes an order. Everything that can be wrong with the request itself is
// found before anybody is asked: a call to another service is the dearest check.
func (s *Service) post(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		User    int    `json:"userId"`
		Items   []Item `json:"items"`
		Address string `json:"address"`
	}
	if err := wire.Decode(w, r, &in, "userId", "items", "address"); err != nil {
		return err
	}
	wait, err := wire.Duration(r, "wait")
	if err != nil {
		return err
	}
	if in.User < 1 {
		return wire.Invalid("userId must be a number from 1", "userId")
	}
	if err := wire.Owns(r, in.User); err != nil {
		return err
	}
	if err := checkAddress(in.Address); err != nil {
		return err
	}
	if in.Items == nil { // the smallest order: who, and nothing else
		in.Items = []Item{{SKU: "P-1", Qty: 1}}
	}
	if err := checkItems(in.Items); err != nil {
		return err
	}
	t, err := cqrs.Send(r.Context(), s.commands, CreateOrder{
		Purchase: Purchase{ID: orderID(r, in.User), User: in.User, Items: in.Items, Address: in.Address}, Wait: wait,
	})
	if err != nil {
		return err
	}
	if t.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("Location", "/orders/"+t.ID)
	return wire.WriteJSON(w, http.StatusCreated, t)
}

// orderID is the same for the same user and Idempotency-Key, so that a repeat of the
// request is a repeat of the same order. Without a key each request is a new one.
func orderID(r *http.Request, user int) string {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return strings.ToLower(rand.Text()[:16])
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(user) + "/" + key))
	return hex.EncodeToString(sum[:8])
}

func checkAddress(address string) error {
	if utf8.RuneCountInString(address) > maxAddress {
		return wire.Invalid("address may have "+strconv.Itoa(maxAddress)+" characters", "address")
	}
	return nil
}

func checkItems(items []Item) error {
	if len(items) == 0 || len(items) > maxItems {
		return wire.Invalid("items must have 1 to "+strconv.Itoa(maxItems)+" entries", "items")
	}
	for _, item := range items {
		switch {
		case item.SKU == "" || len(item.SKU) > 64 || strings.Contains(item.SKU, ","):
			return wire.Invalid("each item needs a sku", "items")
		case item.Qty < 1 || item.Qty > maxQty:
			return wire.Invalid("qty must be from 1 to "+strconv.Itoa(maxQty), "items")
		case item.Cents != 0:
			return wire.Invalid("the price is the shop's", "items")
		}
	}
	return nil
}

func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	user, err := wire.Number(r, "userId", 0)
	if err != nil {
		return err
	}
	if user < 1 {
		return wire.Invalid("userId must be a number from 1", "userId")
	}
	if err := wire.Owns(r, user); err != nil {
		return err
	}
	orders, err := cqrs.Send(r.Context(), s.queries, GetUserOrders{User: user, Limit: maxOrders})
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, orders)
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	after, err := wire.Number(r, "after", 0)
	if err != nil {
		return err
	}
	o, err := s.owned(r, eventsource.Position(after))
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(o.Version))
	return wire.WriteJSON(w, http.StatusOK, o)
}

// owned is the order that a request is about, if the one who asks may see it.
func (s *Service) owned(r *http.Request, after eventsource.Position) (Order, error) {
	o, err := cqrs.Send(r.Context(), s.queries, GetOrderByID{ID: r.PathValue("id"), After: after})
	if err != nil {
		return o, err
	}
	return o, wire.Owns(r, o.User)
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// patch corrects an address. It wants If-Match: two corrections at once must not
// overwrite each other unseen.
func (s *Service) patch(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Address string `json:"address"`
	}
	if err := wire.Decode(w, r, &in, "address"); err != nil {
		return err
	}
	if err := cmp.Or(checkAddress(in.Address), second(s.owned(r, 0))); err != nil {
		return err
	}
	match := r.Header.Get("If-Match")
	version, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 64)
	if err != nil || etag(version) != match {
		return wire.NewProblem(http.StatusPreconditionRequired, "if-match", "If-Match must be the ETag of the order")
	}
	o, err := cqrs.Send(r.Context(), s.commands, UpdateOrder{ID: r.PathValue("id"), Address: in.Address, Version: version})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(o.Version))
	return wire.WriteJSON(w, http.StatusOK, o)
}

func second[T any](_ T, err error) error { return err }

// sendBack starts the return of an order, which then goes its own way.
func (s *Service) sendBack(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.owned(r, 0); err != nil {
		return err
	}
	if _, err := cqrs.Send(r.Context(), s.commands, ReturnOrder{ID: r.PathValue("id")}); err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusAccepted, map[string]string{"id": r.PathValue("id"), "status": "returning"})
}

// history answers with the log of an order's saga: what was tried, when, and what
// came of it.
func (s *Service) history(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.owned(r, 0); err != nil {
		return err
	}
	records := []saga.Record{}
	for rec, err := range s.coordinator.History(r.Context(), r.PathValue("id")) {
		if errors.Is(err, saga.ErrNotFound) {
			return s.forgotten("how this order was carried out is no longer remembered")
		}
		if err != nil {
			return err
		}
		records = append(records, rec)
	}
	return wire.WriteJSON(w, http.StatusOK, records)
}

// coordinate registers the saga and serves it in the background.
func (s *Service) coordinate(n *wire.Node) error {
	store, err := n.OpenSagas()
	if err != nil {
		return err
	}
	settings := n.Settings()
	c, err := saga.New(store, saga.Config{
		Name: "orders", Lease: settings.Lease, Poll: settings.Lease / 4, Grace: settings.PerTry, Keep: settings.Keep, Logger: n.Logger(),
		OnEvent: func(r saga.Record) {
			n.Tell("saga", told{r.Saga, r.Name, r})
			n.Crash("/sagas/"+r.Step, moment(r.Kind))
		},
	})
	if err != nil {
		return err
	}
	if s.sagas, err = saga.Register(c, s.definition(settings)); err != nil {
		return err
	}
	s.coordinator = c
	n.Go("sagas", func(ctx context.Context) error { return c.Serve(ctx) })
	if s.choreographed {
		n.Section("sagas", s.conversations)
	} else {
		n.Section("sagas", s.stand)
	}
	return nil
}

// moment is where in a step a record stands, for crashes on purpose: before its call,
// when that has failed, which may be behind its effect, and when its answer is known.
func moment(kind string) string {
	switch kind {
	case "begin":
		return fault.Before
	case "fail", "undofail":
		return fault.Effect
	case "done", "refuse", "undone":
		return fault.Answer
	}
	return ""
}

// told is a record with the names that its JSON leaves out.
type told struct {
	Saga string `json:"saga"`
	Name string `json:"name"`
	saga.Record
}
