package payments

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what happens to money. Each carries all that it takes to book it, so
// that no reader has to look anything up.
type Event interface{ EventTags() []string }

// The events, under the names that the documents give them.
type (
	// AccountCreated opens a wallet.
	AccountCreated struct {
		User int `json:"userId"`
	}
	// MoneyDeposited comes from outside.
	MoneyDeposited struct {
		User  int   `json:"userId"`
		Cents int64 `json:"amountCents"`
	}
	// MoneyWithdrawn goes outside.
	MoneyWithdrawn struct {
		User  int   `json:"userId"`
		Cents int64 `json:"amountCents"`
	}
	// PaymentReserved sets money aside for an order.
	PaymentReserved struct{ Payment }
	// PaymentReleased gives it back.
	PaymentReleased struct{ Payment }
	// PaymentCaptured takes what was set aside.
	PaymentCaptured struct{ Payment }
	// PaymentRefunded gives back what was taken.
	PaymentRefunded struct{ Payment }
	// PaymentRefused says that the money is not there.
	PaymentRefused struct {
		Order  string `json:"orderId"`
		Reason string `json:"reason"`
	}
	// PaymentVoided says that an order was given up before its reservation came.
	PaymentVoided struct {
		Order string `json:"orderId"`
	}
)

// Payment is the money of one order. In a choreography it passes on what the order is
// about: whoever reacts to it next asks nobody.
type Payment struct {
	Order string          `json:"orderId"`
	User  int             `json:"userId"`
	Cents int64           `json:"amountCents"`
	About json.RawMessage `json:"about,omitempty"`
}

// EventTags tells by which wallet an event is found, whatever stream it is in.
func (e AccountCreated) EventTags() []string { return wallet(e.User) }

// EventTags is as above.
func (e MoneyDeposited) EventTags() []string { return wallet(e.User) }

// EventTags is as above.
func (e MoneyWithdrawn) EventTags() []string { return wallet(e.User) }

// EventTags is as above.
func (e Payment) EventTags() []string { return wallet(e.User) }

// EventTags is empty: no money has moved.
func (PaymentVoided) EventTags() []string { return nil }

// EventTags is empty as well.
func (PaymentRefused) EventTags() []string { return nil }

func wallet(user int) []string { return []string{"wallet:" + strconv.Itoa(user)} }

var codec = eventsource.NewCodec(map[string]Event{
	"AccountCreated": AccountCreated{}, "MoneyDeposited": MoneyDeposited{}, "MoneyWithdrawn": MoneyWithdrawn{},
	"PaymentReserved": PaymentReserved{}, "PaymentReleased": PaymentReleased{}, "PaymentCaptured": PaymentCaptured{},
	"PaymentRefunded": PaymentRefunded{}, "PaymentVoided": PaymentVoided{},
	"PaymentRefused": PaymentRefused{},
})

// Wallet is the money of one user, the state that spending is decided on.
type Wallet struct {
	Open  bool  `json:"open"`
	Cents int64 `json:"balanceCents"` // to spend
	Held  int64 `json:"heldCents"`    // set aside for orders
}

var (
	errShort  = errors.New("not enough money")
	errClosed = errors.New("no such wallet")
)

// spend is what a wallet is asked for: an event that takes money out of it, or
// none.
type spend struct {
	event Event
	cents int64
}

// wallets decides about one wallet: what may be spent. Its history is whatever is
// tagged with the wallet, in the streams of orders for the most part.
var wallets = eventsource.Decider[spend, Event, Wallet]{
	Evolve: evolveWallet,
	Decide: func(w Wallet, s spend) ([]Event, error) {
		if _, opening := s.event.(AccountCreated); opening {
			if w.Open {
				return nil, nil
			}
			return []Event{s.event, MoneyDeposited{User: s.event.(AccountCreated).User, Cents: credit}}, nil
		}
		switch {
		case !w.Open:
			return nil, errClosed
		case w.Cents < s.cents:
			return nil, errShort
		}
		return []Event{s.event}, nil
	},
	// A wallet that lives long has a long history, and every order would read it whole.
	Version: "wallet-1", SnapshotEvery: 100,
}

func evolveWallet(w Wallet, e Event) Wallet {
	switch e := e.(type) {
	case AccountCreated:
		w.Open = true
	case MoneyDeposited:
		w.Cents += e.Cents
	case MoneyWithdrawn:
		w.Cents -= e.Cents
	case PaymentReserved:
		w.Cents, w.Held = w.Cents-e.Cents, w.Held+e.Cents
	case PaymentReleased:
		w.Cents, w.Held = w.Cents+e.Cents, w.Held-e.Cents
	case PaymentCaptured:
		w.Held -= e.Cents
	case PaymentRefunded:
		w.Cents += e.Cents
	}
	return w
}

// order is how far the payment of one order is.
type order struct {
	Payment
	status status
}

type status string

const (
	none     status = ""
	reserved status = "reserved"
	released status = "released"
	captured status = "captured"
	refunded status = "refunded"
	voided   status = "voided"
	refused  status = "refused"
)

// move is what is wanted of an order's payment.
type move struct {
	order  string
	to     status
	reason string // of a refusal
}

var errMove = errors.New("not in a state for this")

// payments decides about the money of one order, by its stream.
var payments = eventsource.Decider[move, Event, order]{Evolve: evolveOrder, Decide: decideOrder}

func evolveOrder(o order, e Event) order {
	switch e := e.(type) {
	case PaymentReserved:
		return order{e.Payment, reserved}
	case PaymentVoided:
		o.status = voided
	case PaymentRefused:
		o.status = refused
	case PaymentReleased:
		o.status = released
	case PaymentCaptured:
		o.status = captured
	case PaymentRefunded:
		o.status = refunded
	}
	return o
}

// decideOrder has an answer for every order of calls. What is done is done: asked
// again it is no event and no error. A release without a reservation leaves a
// void, which refuses the reservation if it still comes.
func decideOrder(o order, m move) ([]Event, error) {
	switch {
	case o.status == m.to, m.to == released && (o.status == voided || o.status == refunded):
		return nil, nil
	case m.to == refused && o.status == none:
		return []Event{PaymentRefused{m.order, m.reason}}, nil
	case m.to == released && o.status == none:
		return []Event{PaymentVoided{m.order}}, nil
	case m.to == released && o.status == reserved:
		return []Event{PaymentReleased{o.Payment}}, nil
	case m.to == captured && o.status == reserved:
		return []Event{PaymentCaptured{o.Payment}}, nil
	case m.to == refunded && o.status == captured:
		return []Event{PaymentRefunded{o.Payment}}, nil
	}
	return nil, errMove
}
