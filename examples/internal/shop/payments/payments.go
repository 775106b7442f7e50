// Package payments keeps the wallets, and the money of orders: reserved, then
// captured or released, and refunded. All of it is events, decided by two deciders:
// what a wallet can spend is decided by tag, across the streams of all orders that
// it pays; what may happen to an order's money, by the order's stream.
//
// Every command has a key, so a repeat is answered from the log. An order's first
// event here is its reservation or a void, and which of the two the log decides by
// NoStream: a reservation that comes behind its own cancellation is refused.
package payments

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// credit is what a new user has to spend: 1000.00.
const credit = 100_000

// maxCents bounds one payment, far below where sums would overflow.
const maxCents = 100_000_000

// Service is the payment service.
type Service struct {
	log    wire.Events
	ledger *wire.Model[Event, *ledger]

	careless bool // sabotage: every repeat is a command of its own
}

// New returns the service's routes. It calls nobody but the broker.
func New(n *wire.Node) (*http.ServeMux, error) {
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s := &Service{log: log, careless: n.Sabotaged("no-idempotency")}
	s.ledger = wire.NewModel(n, "ledger", log, codec, newLedger, (*ledger).book)
	for user := 1; user <= 2; user++ { // Alice and Bob, who never sign up
		if err := s.open(context.Background(), user); err != nil {
			return nil, err
		}
	}
	sub := messaging.Subscription{Topics: []string{"user-events"}, Group: "payment-wallets"}
	broker := n.Broker()
	n.Go("user-events", func(ctx context.Context) error { return broker.Subscribe(ctx, sub, s.welcome) })
	if n.Choreographed() {
		n.React("payment-service", log, []string{"PaymentReserved", "PaymentRefused", "PaymentReleased", "PaymentCaptured"}, s.react)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /reservations", wire.Handler(s.reserve))
	mux.Handle("POST /reservations/{order}/capture", wire.Handler(s.capture))
	mux.Handle("DELETE /reservations/{order}", wire.Handler(s.release))
	mux.Handle("POST /refunds", wire.Handler(s.refund))
	mux.Handle("GET /wallets/{user}", wire.Handler(s.show))
	mux.Handle("POST /wallets/{user}/deposits", wire.Handler(s.deposit))
	mux.Handle("POST /wallets/{user}/withdrawals", wire.Handler(s.withdraw))
	mux.Handle("GET /ledger", wire.Handler(s.showLedger))
	return mux, nil
}

// open gives a user a wallet with the credit of a sign-up, once.
func (s *Service) open(ctx context.Context, user int) error {
	stream := "wallet-" + strconv.Itoa(user)
	in := eventsource.Scope{Stream: stream, Within: ofWallet(user), Key: "open"}
	_, err := wallets.Handle(ctx, s.log, codec, in, spend{event: AccountCreated{User: user}})
	return err
}

func ofWallet(user int) eventsource.Query { return eventsource.Query{{Tags: wallet(user)}} }

// welcome opens the wallet of who has signed up. Delivered twice, it finds it open.
func (s *Service) welcome(ctx context.Context, d messaging.Delivery) error {
	var e struct {
		User int `json:"userId"`
	}
	if err := json.Unmarshal(d.Body, &e); err != nil {
		return err
	}
	return s.open(ctx, e.User)
}

// reserve sets an order's money aside.
func (s *Service) reserve(w http.ResponseWriter, r *http.Request) error {
	var in Payment
	if err := wire.Decode(w, r, &in, "orderId", "userId", "amountCents"); err != nil {
		return err
	}
	switch {
	case in.Order == "":
		return wire.Invalid("orderId is missing", "orderId")
	case in.User < 1:
		return wire.Invalid("userId must be a number from 1", "userId")
	case in.Cents < 1 || in.Cents > maxCents:
		return wire.Invalid("amountCents must be from 1 to "+strconv.Itoa(maxCents), "amountCents")
	}
	// Orders has asked users who this is. His sign-up may still be on its way here
	// as an event; whoever is first opens the wallet.
	if err := s.open(r.Context(), in.User); err != nil {
		return err
	}
	scope := eventsource.Scope{
		Stream: in.Order, Within: ofWallet(in.User), Key: r.Header.Get("Idempotency-Key"),
		Conditions: []eventsource.Condition{eventsource.NoStream(in.Order)},
	}
	if s.careless {
		scope.Key, scope.Conditions = "", nil
	}
	_, err := wallets.Handle(r.Context(), s.log, codec, scope, spend{PaymentReserved{in}, in.Cents})
	if err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusCreated, in)
}

// refusal turns what the deciders refuse into answers that are final; everything
// else is trouble, and may be tried again.
func refusal(err error) error {
	switch {
	case errors.Is(err, errShort):
		return wire.NewProblem(http.StatusPaymentRequired, "not-enough-money", err.Error())
	case errors.Is(err, errClosed):
		return wire.NewProblem(http.StatusNotFound, "wallet-not-found", err.Error())
	case errors.Is(err, errMove):
		return wire.NewProblem(http.StatusConflict, "state", "the order's payment is "+err.Error())
	}
	if wire.Decided(err) {
		return wire.NewProblem(http.StatusConflict, "voided", "the order has been paid for, or given up, before")
	}
	return err
}

func (s *Service) capture(w http.ResponseWriter, r *http.Request) error {
	return s.move(w, r, move{order: r.PathValue("order"), to: captured})
}

func (s *Service) release(w http.ResponseWriter, r *http.Request) error {
	return s.move(w, r, move{order: r.PathValue("order"), to: released})
}

func (s *Service) refund(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Order string `json:"orderId"`
	}
	if err := wire.Decode(w, r, &in, "orderId"); err != nil {
		return err
	}
	if in.Order == "" {
		return wire.Invalid("orderId is missing", "orderId")
	}
	return s.move(w, r, move{order: in.Order, to: refunded})
}

// move brings an order's money into another state.
func (s *Service) move(w http.ResponseWriter, r *http.Request, m move) error {
	scope := eventsource.Scope{Stream: m.order, Key: r.Header.Get("Idempotency-Key")}
	out, err := payments.Handle(r.Context(), s.log, codec, scope, m)
	if err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{"orderId": m.order, "status": out.State.status})
}

// show answers with a wallet as it is, as it was after ?version= of its events, or
// at ?time=.
func (s *Service) show(w http.ResponseWriter, r *http.Request) error {
	user, err := userOf(r)
	if err != nil {
		return err
	}
	var o eventsource.ReadOptions
	if o.Limit, err = wire.Number(r, "version", 0); err != nil {
		return err
	}
	if text := r.URL.Query().Get("time"); text != "" {
		if o.AsOf, err = time.Parse(time.RFC3339, text); err != nil {
			return wire.Invalid("time must be of the form 2026-01-31T12:00:00Z", "time")
		}
	}
	version := 0
	count := func(wa Wallet, e Event) Wallet { version++; return evolveWallet(wa, e) }
	state, last, err := eventsource.Fold(r.Context(), s.log, codec, ofWallet(user), o, Wallet{}, count)
	if err != nil {
		return err
	}
	if !state.Open {
		return refusal(errClosed)
	}
	return wire.WriteJSON(w, http.StatusOK, struct {
		User    int       `json:"userId"`
		Version int       `json:"version"`
		Time    time.Time `json:"time"`
		Wallet
	}{user, version, last.Time, state})
}

func userOf(r *http.Request) (int, error) {
	user, err := strconv.Atoi(r.PathValue("user"))
	if err != nil || user < 1 {
		return 0, refusal(errClosed)
	}
	return user, wire.Owns(r, user)
}

func (s *Service) deposit(w http.ResponseWriter, r *http.Request) error {
	return s.transfer(w, r, func(user int, cents int64) spend { return spend{MoneyDeposited{user, cents}, 0} })
}

func (s *Service) withdraw(w http.ResponseWriter, r *http.Request) error {
	return s.transfer(w, r, func(user int, cents int64) spend { return spend{MoneyWithdrawn{user, cents}, cents} })
}

// transfer moves money between a wallet and the world.
func (s *Service) transfer(w http.ResponseWriter, r *http.Request, command func(int, int64) spend) error {
	user, err := userOf(r)
	if err != nil {
		return err
	}
	var in struct {
		Cents int64 `json:"amountCents"`
	}
	if err := wire.Decode(w, r, &in, "amountCents"); err != nil {
		return err
	}
	if in.Cents < 1 || in.Cents > maxCents {
		return wire.Invalid("amountCents must be from 1 to "+strconv.Itoa(maxCents), "amountCents")
	}
	scope := eventsource.Scope{Stream: "wallet-" + strconv.Itoa(user), Within: ofWallet(user)}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		scope.Key = "client/" + key // apart from our own, such as "open"
	}
	out, err := wallets.Handle(r.Context(), s.log, codec, scope, command(user, in.Cents))
	if err != nil {
		return refusal(err)
	}
	return wire.WriteJSON(w, http.StatusCreated, out.State)
}

func (s *Service) showLedger(w http.ResponseWriter, _ *http.Request) error {
	var out Ledger
	s.ledger.View(func(l *ledger, at eventsource.Position) { out = l.cut(at) })
	return wire.WriteJSON(w, http.StatusOK, out)
}
