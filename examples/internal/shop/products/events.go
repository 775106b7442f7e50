package products

import (
	"errors"
	"strconv"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what happens to a product.
type Event interface{ isEvent() }

// The events.
type (
	// ProductAdded puts one on the shelf.
	ProductAdded struct {
		SKU   string `json:"sku"`
		Name  string `json:"name"`
		Cents int64  `json:"priceCents"`
	}
	// PriceChanged is valid from now on; orders keep the price of their moment.
	PriceChanged struct {
		SKU   string `json:"sku"`
		Cents int64  `json:"priceCents"`
	}
)

func (ProductAdded) isEvent() {}
func (PriceChanged) isEvent() {}

var codec = eventsource.NewCodec(map[string]Event{"ProductAdded": ProductAdded{}, "PriceChanged": PriceChanged{}})

// Product is what clients see of one. Version counts its changes.
type Product struct {
	SKU     string `json:"sku"`
	Name    string `json:"name"`
	Cents   int64  `json:"priceCents"`
	Version uint64 `json:"version"`
}

var errUnknown = errors.New("no such product")

// decider decides about one product. A command is the event that is wanted.
var decider = eventsource.Decider[Event, Event, Product]{
	Evolve: evolve,
	Decide: func(p Product, want Event) ([]Event, error) {
		switch want := want.(type) {
		case ProductAdded:
			if p.SKU != "" {
				return nil, nil
			}
		case PriceChanged:
			if p.SKU == "" {
				return nil, errUnknown
			}
			if p.Cents == want.Cents {
				return nil, nil
			}
		}
		return []Event{want}, nil
	},
}

func evolve(p Product, e Event) Product {
	switch e := e.(type) {
	case ProductAdded:
		p.SKU, p.Name, p.Cents = e.SKU, e.Name, e.Cents
	case PriceChanged:
		p.Cents = e.Cents
	}
	p.Version++
	return p
}

// catalog is the read model: what a database would hold.
type catalog map[string]Product

// Folded is all of it.
func (c catalog) Folded() any { return c }

func (c catalog) evolve(r eventsource.Recorded, e Event) catalog {
	sku := r.Stream[len(prefix):]
	c[sku] = evolve(c[sku], e)
	return c
}

const prefix = "product-"

// first are the products of a new shop. P-9 is the one of flash sales.
var first = func() (out []ProductAdded) {
	names := []string{"Teapot", "Cup", "Kettle", "Tin", "Spoon", "Strainer", "Tray", "Honey", "Lantern"}
	for i, name := range names {
		out = append(out, ProductAdded{"P-" + strconv.Itoa(i+1), name, int64(199 + 100*i)})
	}
	return out
}()
