// Command cqrs-orders has commands append events, a projection keep a read model in
// step with them, and queries read it. Who must see their own write waits for it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/cqrs"
)

// Order is what the read side shows.
type Order struct{ User, Item string }

// Two commands, answered with the order's id, and a query.
type (
	CreateOrder struct {
		cqrs.Returns[string]
		Order
	}
	UpdateOrder struct {
		cqrs.Returns[string]
		ID, Item string
	}
	GetOrderByID struct {
		cqrs.Returns[Order]
		ID string
	}
)

func main() {
	ctx, store, commands, queries := context.Background(), eventsource.NewMemory(), cqrs.New(), cqrs.New()
	add := func(id, typ string, what any, must eventsource.Condition) (string, error) {
		data, _ := json.Marshal(what)
		_, err := store.Append(ctx, []eventsource.Event{{Stream: id, Type: typ, Data: data}}, must)
		return id, err
	}
	cqrs.Handle(commands, func(_ context.Context, c CreateOrder) (string, error) {
		id := "order-of-" + c.User // mostly uuid.New
		return add(id, "OrderCreated", c.Order, eventsource.NoStream(id))
	})
	cqrs.Handle(commands, func(_ context.Context, c UpdateOrder) (string, error) {
		return add(c.ID, "OrderUpdated", map[string]string{"Item": c.Item}, eventsource.Exists(c.ID))
	})

	var model sync.Map // orders by id
	projection := eventsource.Projection{Name: "orders", Query: eventsource.All(), Apply: func(_ context.Context, b eventsource.Batch) error {
		for _, r := range b.Events {
			old, _ := model.Load(r.Stream)
			order, _ := old.(Order)
			if err := json.Unmarshal(r.Data, &order); err != nil {
				return err
			}
			model.Store(r.Stream, order)
		}
		return nil
	}}
	cqrs.Handle(queries, func(_ context.Context, q GetOrderByID) (Order, error) {
		if order, ok := model.Load(q.ID); ok {
			return order.(Order), nil
		}
		return Order{}, fmt.Errorf("no order %s", q.ID)
	})

	id, err := cqrs.Send(ctx, commands, CreateOrder{Order: Order{"alice", "lamp"}})
	fmt.Println("created:", id, err)
	order, err := cqrs.Send(ctx, queries, GetOrderByID{ID: id})
	fmt.Println("the model has not heard of it:", order, err)
	go projection.Run(ctx, store, store)
	head, _ := store.Head(ctx)
	_ = projection.WaitFor(ctx, store, head)
	order, err = cqrs.Send(ctx, queries, GetOrderByID{ID: id})
	fmt.Println("now it has:", order, err)
	_, err = cqrs.Send(ctx, commands, UpdateOrder{ID: "order-of-bob", Item: "a sofa"})
	fmt.Println("a command for no order:", err)
}
