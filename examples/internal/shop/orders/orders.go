// Package orders is the order service. An order needs a user who exists, which
// only the user service can tell: POST /orders asks it over HTTP, through retry
// and breaker. In this version orders live in memory and end with the process.
//
// There is no fallback. An order without a known user would have to be undone
// later, so "not now" is the honest answer, and the breaker sees to it that it is
// a quick one.
package orders

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"sync"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Order is what the service answers with. There is nothing to pay or ship yet,
// so an order is confirmed as soon as its user is known.
type Order struct {
	ID     string `json:"id"`
	UserID int    `json:"userId"`
	Status string `json:"status"`
}

// maxOrders bounds memory: beyond it the oldest order is forgotten.
const maxOrders = 10_000

// Service holds the orders.
type Service struct {
	users *wire.Client

	mu     sync.Mutex
	orders map[string]Order
	oldest []string // ids in order of arrival, a ring of maxOrders
	next   int
}

// New returns the service's routes. It calls users.
func New(n *wire.Node) *http.ServeMux {
	s := &Service{users: n.Client("users", false), orders: map[string]Order{}, oldest: make([]string, maxOrders)}
	mux := http.NewServeMux()
	mux.Handle("POST /orders", wire.Handler(s.create))
	mux.Handle("GET /orders/{id}", wire.Handler(s.get))
	return mux
}

// create takes an order. Everything that can be wrong with the request itself
// is found before users is asked: a call to another service is the dearest
// check.
func (s *Service) create(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		UserID int `json:"userId"`
	}
	if err := wire.Decode(w, r, &in, "userId"); err != nil {
		return err
	}
	if in.UserID < 1 {
		return wire.Invalid("userId must be a number from 1", "userId")
	}
	if err := s.checkUser(r.Context(), in.UserID); err != nil {
		return err
	}
	// Random, as the service keeps nothing over a restart: a counter would give the
	// same number to another order, and a client would look at a stranger's.
	o := Order{ID: rand.Text()[:12], UserID: in.UserID, Status: "confirmed"}
	s.add(o)
	w.Header().Set("Location", "/orders/"+o.ID)
	return wire.WriteJSON(w, http.StatusCreated, o)
}

// checkUser tells an unknown user, which is the client's to mend, from a user
// service that cannot answer, which is not: 404 against 503.
func (s *Service) checkUser(ctx context.Context, id int) error {
	answer, err := s.users.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/users/" + strconv.Itoa(id)})
	switch {
	case err != nil:
		return wire.Unavailable("users", err)
	case answer.Status == http.StatusNotFound:
		return wire.NewProblem(http.StatusNotFound, "user-not-found", "User not found")
	case answer.Status != http.StatusOK: // nothing that users promises; not the client's fault
		return wire.Unavailable("users", &wire.StatusError{Response: answer})
	}
	return nil
}

// add keeps o and forgets the order that is maxOrders older.
func (s *Service) add(o Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.orders, s.oldest[s.next]) // "" until the ring is full, which is no id
	s.orders[o.ID], s.oldest[s.next] = o, o.ID
	s.next = (s.next + 1) % maxOrders
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	o, ok := s.orders[r.PathValue("id")]
	s.mu.Unlock()
	if !ok {
		return wire.NewProblem(http.StatusNotFound, "order-not-found", "Order not found")
	}
	return wire.WriteJSON(w, http.StatusOK, o)
}
