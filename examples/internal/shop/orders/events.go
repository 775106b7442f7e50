package orders

import (
	"errors"
	"slices"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what happens to an order.
type Event interface{ isEvent() }

// Item is so many units of one kind, at the price of the moment of the order.
type Item struct {
	SKU   string `json:"sku"`
	Qty   int    `json:"qty"`
	Cents int64  `json:"priceCents,omitempty"` // each
}

// The events.
type (
	// OrderCreated says what was ordered, for how much.
	OrderCreated struct {
		Order   string `json:"orderId"`
		User    int    `json:"userId"`
		Items   []Item `json:"items"`
		Total   int64  `json:"total"` // cents
		Address string `json:"address,omitempty"`
	}
	// AddressChanged corrects where it goes.
	AddressChanged struct {
		Address string `json:"address"`
	}
	// OrderConfirmed ends it well: paid, and on its way.
	OrderConfirmed struct{}
	// OrderRejected ends it, with nothing left of it. Items and Address are told of one
	// that was given up before it was created: nothing else says what was asked for.
	OrderRejected struct {
		User    int    `json:"userId"`
		Reason  string `json:"reason"`
		Items   []Item `json:"items,omitempty"`
		Address string `json:"address,omitempty"`
	}
	// OrderReturned ends one that was confirmed.
	OrderReturned struct{}
)

func (OrderCreated) isEvent()   {}
func (AddressChanged) isEvent() {}
func (OrderConfirmed) isEvent() {}
func (OrderRejected) isEvent()  {}
func (OrderReturned) isEvent()  {}

var codec = eventsource.NewCodec(map[string]Event{
	"OrderCreated": OrderCreated{}, "AddressChanged": AddressChanged{}, "OrderConfirmed": OrderConfirmed{},
	"OrderRejected": OrderRejected{}, "OrderReturned": OrderReturned{},
})

// The states of an order that clients see.
const (
	pending   = "pending"
	confirmed = "confirmed"
	rejected  = "rejected"
	returned  = "returned"
)

// Order is an order as it stands, and the document that clients get.
type Order struct {
	ID       string               `json:"id"`
	User     int                  `json:"userId"`
	Status   string               `json:"status"`
	Total    int64                `json:"totalCents"`
	Items    []Item               `json:"items,omitempty"`
	Address  string               `json:"address,omitempty"`
	Reason   string               `json:"reason,omitempty"`  // of a rejection
	Message  string               `json:"message,omitempty"` // to the customer
	Version  uint64               `json:"version"`           // of the order's stream
	Position eventsource.Position `json:"position,string"`   // for ?after=
}

func evolve(o Order, e Event) Order {
	switch e := e.(type) {
	case OrderCreated:
		o.ID, o.User, o.Items, o.Total, o.Address, o.Status = e.Order, e.User, e.Items, e.Total, e.Address, pending
	case AddressChanged:
		o.Address = e.Address
	case OrderConfirmed:
		o.Status = confirmed
	case OrderRejected:
		if o.Status == "" { // given up before it was created
			o.User, o.Items, o.Address = e.User, e.Items, e.Address
		}
		o.Status, o.Reason = rejected, e.Reason
	case OrderReturned:
		o.Status = returned
	}
	return o
}

var errState = errors.New("the order is not in a state for this")

// decider decides about one order. A command is the event that is wanted; one that
// the order has seen already is no event and no error.
var decider = eventsource.Decider[Event, Event, Order]{
	Evolve: evolve,
	Decide: func(o Order, want Event) ([]Event, error) {
		from, done := "", ""
		switch e := want.(type) {
		case OrderCreated:
			done = pending
		case AddressChanged:
			from = pending
		case OrderConfirmed:
			from, done = pending, confirmed
		case OrderRejected:
			if o.Status == "" { // given up before it was created
				return []Event{want}, nil
			}
			want = OrderRejected{User: e.User, Reason: e.Reason}
			from, done = pending, rejected
		case OrderReturned:
			from, done = confirmed, returned
		}
		switch o.Status {
		case from:
			return []Event{want}, nil
		case done:
			return nil, nil
		}
		return nil, errState
	},
}

// book is the read model: every order as a document, found by id and by user.
type book struct {
	orders  map[string]*Order
	byUser  map[int][]string
	pending map[string]time.Time // since when
	decided func(id string)      // told when an order is no longer pending

	confirmed, rejected int // ever
}

func newBook(decided func(string)) *book {
	return &book{orders: map[string]*Order{}, byUser: map[int][]string{}, pending: map[string]time.Time{}, decided: decided}
}

// Folded is all that comes from the log.
func (b *book) Folded() any {
	return []any{b.orders, b.byUser, b.pending, b.confirmed, b.rejected}
}

func (b *book) evolve(r eventsource.Recorded, e Event) *book {
	o := b.orders[r.Stream]
	if o == nil {
		o = &Order{ID: r.Stream}
		b.orders[r.Stream] = o
	}
	was := o.Status
	*o = evolve(*o, e)
	o.Version, o.Position = r.Version, r.Position
	if _, created := e.(OrderCreated); created {
		b.byUser[o.User] = append(b.byUser[o.User], o.ID)
	}
	switch {
	case o.Status == was:
	case o.Status == pending:
		b.pending[o.ID] = r.Time
	case o.Status == confirmed:
		b.confirmed++
	case o.Status == rejected:
		b.rejected++
	}
	if o.Status != pending {
		delete(b.pending, o.ID)
	}
	if o.Status != pending && b.decided != nil {
		b.decided(o.ID)
	}
	return b
}

// of returns the newest orders of a user, newest first.
func (b *book) of(user, limit int) []Order {
	out := []Order{}
	for _, id := range slices.Backward(b.byUser[user]) {
		if len(out) == limit {
			break
		}
		out = append(out, *b.orders[id])
	}
	return out
}
