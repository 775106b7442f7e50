package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what happens to stock. Each carries what it moves.
type Event interface{ EventTags() []string }

// Item is so many units of one kind.
type Item struct {
	SKU string `json:"sku"`
	Qty int    `json:"qty"`
}

// Load is the stock of one order.
type Load struct {
	Order string          `json:"orderId"`
	Items []Item          `json:"items"`
	About json.RawMessage `json:"about,omitempty"` // in a choreography: the order, passed on
}

// The events.
type (
	// StockAdded comes into the warehouse.
	StockAdded struct {
		SKU     string `json:"sku"`
		Qty     int    `json:"qty"`
		Initial bool   `json:"initial,omitempty"`
	}
	// StockReserved sets units aside for an order.
	StockReserved struct{ Load }
	// StockReleased gives them back.
	StockReleased struct{ Load }
	// StockConfirmed hands them to the carrier.
	StockConfirmed struct{ Load }
	// StockReturned takes them in again.
	StockReturned struct{ Load }
	// StockRefused says that it is not there.
	StockRefused struct {
		Order  string `json:"orderId"`
		Reason string `json:"reason"`
	}
	// StockVoided says that an order was given up before its reservation came.
	StockVoided struct {
		Order string `json:"orderId"`
	}
)

// EventTags tells by which kind an event is found, whatever stream it is in.
func (e StockAdded) EventTags() []string { return []string{"sku:" + e.SKU} }

// EventTags is as above, for each kind of the order.
func (e Load) EventTags() []string {
	tags := make([]string, len(e.Items))
	for i, item := range e.Items {
		tags[i] = "sku:" + item.SKU
	}
	return tags
}

// EventTags is empty: nothing has moved.
func (StockVoided) EventTags() []string { return nil }

// EventTags is empty as well.
func (StockRefused) EventTags() []string { return nil }

var codec = eventsource.NewCodec(map[string]Event{
	"StockAdded": StockAdded{}, "StockReserved": StockReserved{}, "StockReleased": StockReleased{},
	"StockConfirmed": StockConfirmed{}, "StockReturned": StockReturned{}, "StockVoided": StockVoided{},
	"StockRefused": StockRefused{},
})

// Level is the stock of one kind. Initial + Added = OnHand + Reserved + Shipped.
type Level struct {
	Initial  int `json:"initial"`
	Added    int `json:"added"`
	OnHand   int `json:"onHand"`
	Reserved int `json:"reserved"`
	Shipped  int `json:"shipped"`
}

// levels is the stock by kind. Folded within the history of some kinds, only those
// are whole.
type levels map[string]Level

// Folded is all of it.
func (l levels) Folded() any { return l }

func (l levels) evolve(e Event) levels {
	each := func(items []Item, move func(*Level, int)) {
		for _, item := range items {
			level := l[item.SKU]
			move(&level, item.Qty)
			l[item.SKU] = level
		}
	}
	switch e := e.(type) {
	case StockAdded:
		each([]Item{{e.SKU, e.Qty}}, func(v *Level, n int) {
			v.OnHand += n
			if e.Initial {
				v.Initial += n
			} else {
				v.Added += n
			}
		})
	case StockReserved:
		each(e.Items, func(v *Level, n int) { v.OnHand, v.Reserved = v.OnHand-n, v.Reserved+n })
	case StockReleased:
		each(e.Items, func(v *Level, n int) { v.OnHand, v.Reserved = v.OnHand+n, v.Reserved-n })
	case StockConfirmed:
		each(e.Items, func(v *Level, n int) { v.Reserved, v.Shipped = v.Reserved-n, v.Shipped+n })
	case StockReturned:
		each(e.Items, func(v *Level, n int) { v.OnHand, v.Shipped = v.OnHand+n, v.Shipped-n })
	}
	return l
}

var (
	errShort = errors.New("sold out")
	errMove  = errors.New("not in a state for this")
)

// stock decides what can be set aside. It reserves and never compares alone: between
// a comparison and a later step somebody else buys the last one. Several kinds are
// one decision, so an order never holds half of what it asked for.
var stock = eventsource.Decider[Event, Event, levels]{
	Initial: func() levels { return levels{} },
	Evolve:  levels.evolve,
	Decide: func(l levels, e Event) ([]Event, error) {
		if r, ok := e.(StockReserved); ok {
			for _, item := range r.Items {
				if l[item.SKU].OnHand < item.Qty {
					return nil, fmt.Errorf("%s: %w", item.SKU, errShort)
				}
			}
		}
		return []Event{e}, nil
	},
	Version: "stock-1", SnapshotEvery: 100,
}

func within(items []Item) (q eventsource.Query) {
	for _, item := range items {
		q = append(q, eventsource.Item{Tags: []string{"sku:" + item.SKU}})
	}
	return q
}

type status string

const (
	none      status = ""
	reserved  status = "reserved"
	released  status = "released"
	confirmed status = "confirmed"
	returned  status = "returned"
	voided    status = "voided"
	refused   status = "refused"
)

// order is how far the stock of one order is.
type order struct {
	Load
	status status
}

// move is what is wanted of an order's stock; back means released or returned,
// whichever undoes what was done.
type move struct {
	order   string
	back    bool
	refusal string // not empty: it was never reserved, for this reason
}

// orders decides about the stock of one order, by its stream.
var orders = eventsource.Decider[move, Event, order]{Evolve: evolveOrder, Decide: decideOrder}

func evolveOrder(o order, e Event) order {
	switch e := e.(type) {
	case StockReserved:
		return order{e.Load, reserved}
	case StockVoided:
		o.status = voided
	case StockRefused:
		o.status = refused
	case StockReleased:
		o.status = released
	case StockConfirmed:
		o.status = confirmed
	case StockReturned:
		o.status = returned
	}
	return o
}

// decideOrder has an answer for every order of calls, as that of payments: what is
// done is done, and a way back without a way there leaves a void.
func decideOrder(o order, m move) ([]Event, error) {
	switch {
	case m.refusal != "":
		if o.status == none {
			return []Event{StockRefused{m.order, m.refusal}}, nil
		}
		return nil, nil
	case m.back && o.status == none:
		return []Event{StockVoided{m.order}}, nil
	case m.back && o.status == reserved:
		return []Event{StockReleased{o.Load}}, nil
	case m.back && o.status == confirmed:
		return []Event{StockReturned{o.Load}}, nil
	case m.back, o.status == confirmed:
		return nil, nil
	case o.status == reserved:
		return []Event{StockConfirmed{o.Load}}, nil
	}
	return nil, errMove
}

// merge sorts items by kind and adds up those of one kind.
func merge(items []Item) (out []Item) {
	sum := map[string]int{}
	for _, item := range items {
		if _, ok := sum[item.SKU]; !ok {
			out = append(out, Item{SKU: item.SKU})
		}
		sum[item.SKU] += item.Qty
	}
	slices.SortFunc(out, func(a, b Item) int { return strings.Compare(a.SKU, b.SKU) })
	for i := range out {
		out[i].Qty = sum[out[i].SKU]
	}
	return out
}
