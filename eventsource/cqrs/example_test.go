package cqrs_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/cqrs"
)

// The write side: commands, and the events that they lead to.
type (
	CreateOrder struct {
		cqrs.Returns[eventsource.Position]
		ID   string
		User int
		Item string
	}
	UpdateOrder struct {
		cqrs.Returns[eventsource.Position]
		ID, Item string
	}

	OrderEvent   interface{ isOrderEvent() }
	OrderCreated struct {
		ID   string
		User int
		Item string
	}
	OrderUpdated struct{ ID, Item string }
)

func (OrderCreated) isOrderEvent() {}
func (OrderUpdated) isOrderEvent() {}

// The read side: queries, and the model that answers them.
type (
	GetOrderByID struct {
		cqrs.Returns[Order]
		ID string
	}
	GetUserOrders struct {
		cqrs.Returns[[]Order]
		User int
	}

	Order struct {
		ID   string
		User int
		Item string
	}
)

// orders is the read model.
type orders struct {
	mu   sync.Mutex
	byID map[string]Order
	ids  []string
}

func (o *orders) apply(r eventsource.Recorded) error {
	e, err := codec.Decode(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := e.(type) {
	case OrderCreated:
		if _, known := o.byID[e.ID]; !known { // a batch may come again
			o.ids = append(o.ids, e.ID)
		}
		o.byID[e.ID] = Order(e)
	case OrderUpdated:
		order := o.byID[e.ID]
		order.Item = e.Item
		o.byID[e.ID] = order
	}
	return nil
}

var codec = eventsource.NewCodec(map[string]OrderEvent{"order.created": OrderCreated{}, "order.updated": OrderUpdated{}})

// decide returns a handler that appends what rules make of a command, and answers
// with the position at which its effect is.
func decide[C cqrs.Request[eventsource.Position]](store eventsource.Store, stream func(C) string, rules func(exists bool, c C) (OrderEvent, error)) func(context.Context, C) (eventsource.Position, error) {
	decider := eventsource.Decider[C, OrderEvent, bool]{
		Evolve: func(bool, OrderEvent) bool { return true },
		Decide: func(exists bool, c C) ([]OrderEvent, error) {
			e, err := rules(exists, c)
			if err != nil {
				return nil, err
			}
			return []OrderEvent{e}, nil
		},
	}
	return func(ctx context.Context, c C) (eventsource.Position, error) {
		out, err := decider.Handle(ctx, store, codec, eventsource.Scope{Stream: stream(c)}, c)
		return out.Last, err
	}
}

// Commands append events, a projection keeps the read model in step with them, and
// queries ask the model. Who must see the effect of a command waits for its
// position first.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, model := eventsource.NewMemory(), &orders{byID: map[string]Order{}}
	projection := eventsource.Projection{Name: "orders", Query: eventsource.All(), Apply: func(_ context.Context, b eventsource.Batch) error {
		for _, r := range b.Events {
			if err := model.apply(r); err != nil {
				return err
			}
		}
		return nil
	}}
	go projection.Run(ctx, store, store)

	commands, queries := cqrs.New(), cqrs.New()
	cqrs.Handle(commands, decide(store, func(c CreateOrder) string { return "order-" + c.ID }, func(exists bool, c CreateOrder) (OrderEvent, error) {
		if exists {
			return nil, fmt.Errorf("order %s exists", c.ID)
		}
		return OrderCreated{c.ID, c.User, c.Item}, nil
	}))
	cqrs.Handle(commands, decide(store, func(c UpdateOrder) string { return "order-" + c.ID }, func(exists bool, c UpdateOrder) (OrderEvent, error) {
		if !exists {
			return nil, fmt.Errorf("order %s does not exist", c.ID)
		}
		return OrderUpdated{c.ID, c.Item}, nil
	}))
	cqrs.Handle(queries, func(_ context.Context, q GetOrderByID) (Order, error) {
		model.mu.Lock()
		defer model.mu.Unlock()
		return model.byID[q.ID], nil
	})
	cqrs.Handle(queries, func(_ context.Context, q GetUserOrders) (all []Order, _ error) {
		model.mu.Lock()
		defer model.mu.Unlock()
		for _, id := range model.ids {
			if o := model.byID[id]; o.User == q.User {
				all = append(all, o)
			}
		}
		return all, nil
	})

	_, err := cqrs.Send(ctx, commands, UpdateOrder{ID: "17", Item: "lamp"})
	fmt.Println(err)
	for _, id := range []string{"17", "18"} {
		_, _ = cqrs.Send(ctx, commands, CreateOrder{ID: id, User: 7, Item: "chair"})
	}
	at, _ := cqrs.Send(ctx, commands, UpdateOrder{ID: "17", Item: "lamp"})

	_ = projection.WaitFor(ctx, store, at) // read your writes
	order, _ := cqrs.Send(ctx, queries, GetOrderByID{ID: "17"})
	fmt.Println(order)
	all, _ := cqrs.Send(ctx, queries, GetUserOrders{User: 7})
	fmt.Println(all)
	// Output:
	// order 17 does not exist
	// {17 7 lamp}
	// [{17 7 lamp} {18 7 chair}]
}

// Middleware surrounds every handler of its bus.
func ExampleMiddleware() {
	logged := func(next cqrs.Handler) cqrs.Handler {
		return func(ctx context.Context, request any) (any, error) {
			answer, err := next(ctx, request)
			fmt.Printf("%T: %v\n", request, err)
			return answer, err
		}
	}
	queries := cqrs.New(logged)
	cqrs.Handle(queries, func(_ context.Context, q GetOrderByID) (Order, error) { return Order{ID: q.ID}, nil })
	order, _ := cqrs.Send(context.Background(), queries, GetOrderByID{ID: "17"})
	fmt.Println(order.ID)
	// Output:
	// cqrs_test.GetOrderByID: <nil>
	// 17
}
