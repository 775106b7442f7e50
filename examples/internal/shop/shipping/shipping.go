// Package shipping sends parcels: a stream for each order, which says whether a
// parcel was created, and recalled. It is the smallest of the services that take
// part in an order, and shows what each of them must bear: repeats by the key, an
// undo before the do, and a do after the undo.
package shipping

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Event is what happens to a parcel.
type Event interface{ isEvent() }

// The events.
type (
	// ShipmentCreated sends the parcel off.
	ShipmentCreated struct {
		Order   string `json:"orderId"`
		Address string `json:"address,omitempty"`
	}
	// ShipmentRecalled takes it back.
	ShipmentRecalled struct {
		Order string `json:"orderId"`
	}
	// ShipmentVoided says that the order was given up before its parcel came.
	ShipmentVoided struct {
		Order string `json:"orderId"`
	}
)

func (ShipmentCreated) isEvent()  {}
func (ShipmentRecalled) isEvent() {}
func (ShipmentVoided) isEvent()   {}

var codec = eventsource.NewCodec(map[string]Event{
	"ShipmentCreated": ShipmentCreated{}, "ShipmentRecalled": ShipmentRecalled{}, "ShipmentVoided": ShipmentVoided{},
})

// Shipment is the parcel of one order.
type Shipment struct {
	Order   string `json:"orderId"`
	Address string `json:"address,omitempty"`
	Status  string `json:"status"` // "created", "recalled", "voided"; empty is none yet
}

var errGone = errors.New("the order was given up")

// shipments decides about the parcel of one order. A command is the event that is
// wanted: a creation or a recall.
var shipments = eventsource.Decider[Event, Event, Shipment]{
	Evolve: func(s Shipment, e Event) Shipment {
		switch e := e.(type) {
		case ShipmentCreated:
			return Shipment{e.Order, e.Address, "created"}
		case ShipmentRecalled:
			s.Status = "recalled"
		case ShipmentVoided:
			s.Order, s.Status = e.Order, "voided"
		}
		return s
	},
	Decide: func(s Shipment, e Event) ([]Event, error) {
		switch want := e.(type) {
		case ShipmentCreated:
			if s.Status == "" {
				return []Event{want}, nil
			}
			if s.Status != "created" {
				return nil, errGone
			}
		case ShipmentRecalled:
			if s.Status == "" {
				return []Event{ShipmentVoided(want)}, nil
			}
			if s.Status == "created" {
				return []Event{want}, nil
			}
		}
		return nil, nil
	},
}

const maxAddress = 500 // characters

type service struct{ log wire.Events }

// New returns the service's routes. It calls nobody.
func New(n *wire.Node) (*http.ServeMux, error) {
	log, err := n.Open("events")
	if err != nil {
		return nil, err
	}
	s := &service{log}
	if n.Choreographed() {
		n.React("shipping-service", log, []string{"ShipmentCreated"}, s.react)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /shipments", wire.Handler(s.create))
	mux.Handle("GET /shipments/{order}", wire.Handler(s.get))
	mux.Handle("DELETE /shipments/{order}", wire.Handler(s.recall))
	return mux, nil
}

// react is this service's part of the choreography: it has one reaction, and no
// refusal.
func (s *service) react(ctx context.Context, d messaging.Delivery) error {
	if wire.TypeOf(d) != "StockReserved" {
		return nil
	}
	var stock struct {
		About struct {
			Address string `json:"address"`
		} `json:"about"`
	}
	if err := json.Unmarshal(d.Body, &stock); err != nil {
		return err
	}
	_, err := shipments.Handle(ctx, s.log, codec, wire.Reaction(d, "ship"), ShipmentCreated{d.Key, stock.About.Address})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func (s *service) create(w http.ResponseWriter, r *http.Request) error {
	var in ShipmentCreated
	if err := wire.Decode(w, r, &in, "orderId", "address"); err != nil {
		return err
	}
	if in.Order == "" {
		return wire.Invalid("orderId is missing", "orderId")
	}
	if utf8.RuneCountInString(in.Address) > maxAddress {
		return wire.Invalid("address may have "+strconv.Itoa(maxAddress)+" characters", "address")
	}
	return s.handle(w, r, http.StatusCreated, in.Order, in)
}

func (s *service) recall(w http.ResponseWriter, r *http.Request) error {
	order := r.PathValue("order")
	return s.handle(w, r, http.StatusOK, order, ShipmentRecalled{order})
}

func (s *service) handle(w http.ResponseWriter, r *http.Request, status int, order string, cmd Event) error {
	scope := eventsource.Scope{Stream: order, Key: r.Header.Get("Idempotency-Key")}
	out, err := shipments.Handle(r.Context(), s.log, codec, scope, cmd)
	if errors.Is(err, errGone) {
		return wire.NewProblem(http.StatusConflict, "voided", err.Error())
	}
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, status, out.State)
}

func (s *service) get(w http.ResponseWriter, r *http.Request) error {
	evolve := shipments.Evolve
	q := eventsource.Stream(r.PathValue("order"))
	state, _, err := eventsource.Fold(r.Context(), s.log, codec, q, eventsource.ReadOptions{}, Shipment{}, evolve)
	if err != nil {
		return err
	}
	if state.Status == "" {
		return wire.NewProblem(http.StatusNotFound, "shipment-not-found", "the order has no shipment")
	}
	return wire.WriteJSON(w, http.StatusOK, state)
}
