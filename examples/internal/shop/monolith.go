package shop

import (
	"context"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/inventory"
	"github.com/keelson-go/keelson/examples/internal/shop/orders"
	"github.com/keelson-go/keelson/examples/internal/shop/payments"
	"github.com/keelson-go/keelson/examples/internal/shop/shipping"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// This file is the shop as a monolith: the same modules with the same APIs, on one log.
// What takes a saga where each has its own is one append here, with a condition for
// each stream that it rests on: all of an order happens, or nothing does. The price is
// that the modules cannot be deployed, scaled or broken one by one, and that the log is
// everybody's bottleneck.

// monolith is the shared log. It is opened by the first who asks.
type monolith struct {
	open func(service, part string) (wire.Events, error)

	mu  sync.Mutex
	log wire.Events
}

// events returns the view of a module, as an Engines function.
func (m *monolith) events(service, part string) (wire.Events, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.log == nil {
		log, err := m.open("monolith", "events")
		if err != nil {
			return nil, err
		}
		m.log = log
	}
	module := service
	if part != "events" {
		module += "-" + part
	}
	return wire.NewView(m.log, module), nil
}

// close closes the log, after all modules.
func (m *monolith) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.log.(interface{ Close() error }); ok {
		_ = c.Close() // every append has been acknowledged
	}
	m.log = nil
}

// whole is an order in one append.
func (m *monolith) whole(ctx context.Context, p orders.Purchase, own []eventsource.Event, conds []eventsource.Condition) (eventsource.Result, error) {
	m.mu.Lock()
	log := m.log
	m.mu.Unlock()
	view := func(module string) *wire.View { return wire.NewView(log, module) }
	var all transaction
	all.add(view("orders"), own, conds)

	events, conds, err := payments.Plan(ctx, view("payments"), p.ID, p.User, p.Total)
	if err != nil {
		return eventsource.Result{}, err
	}
	all.add(view("payments"), events, conds)

	items := make([]inventory.Item, len(p.Items))
	for i, item := range p.Items {
		items[i] = inventory.Item{SKU: item.SKU, Qty: item.Qty}
	}
	if events, conds, err = inventory.Plan(ctx, view("inventory"), p.ID, items); err != nil {
		return eventsource.Result{}, err
	}
	all.add(view("inventory"), events, conds)

	if events, conds, err = shipping.Plan(p.ID, p.Address); err != nil {
		return eventsource.Result{}, err
	}
	all.add(view("shipping"), events, conds)
	return log.Append(ctx, all.events, all.conds...)
}

// transaction gathers what several modules add to one append.
type transaction struct {
	events []eventsource.Event
	conds  []eventsource.Condition
}

func (t *transaction) add(v *wire.View, events []eventsource.Event, conds []eventsource.Condition) {
	events, conds = v.Translate(events, conds)
	t.events, t.conds = append(t.events, events...), append(t.conds, conds...)
}
