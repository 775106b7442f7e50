// Command saga-orchestration leads orders through payment, stock and shipping.
// Where shipping refuses, what was done is undone in reverse order, and the books
// are as if nothing had happened.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/saga"
)

// Order is the state of a saga.
type Order struct {
	ID, Address string
	Cents       int
}

// What the services have in their books, by order. Steps set and never add, since
// each of them may run again after a crash.
var status, held, reserved = map[string]string{}, map[string]int{}, map[string]int{}

var definition = saga.Definition[Order]{Name: "order", Steps: []saga.Step[Order]{
	{
		Name: "create-order",
		Do:   say("create order", func(o *Order) { status[o.ID] = "pending" }),
		Undo: say("reject order", func(o *Order) { status[o.ID] = "rejected" }),
	},
	{
		Name: "reserve-payment",
		Do:   say("reserve payment", func(o *Order) { held[o.ID] = o.Cents }),
		Undo: say("release payment", func(o *Order) { held[o.ID] = 0 }),
	},
	{
		Name: "reserve-stock",
		Do:   say("reserve stock", func(o *Order) { reserved[o.ID] = 1 }),
		Undo: say("release stock", func(o *Order) { reserved[o.ID] = 0 }),
	},
	{Name: "create-shipment", Do: ship, Pivot: true}, // behind it there is no way back
	{Name: "complete-order", Do: say("complete order", func(o *Order) { status[o.ID] = "confirmed" })},
}}

func say(what string, effect func(*Order)) func(context.Context, *Order) error {
	return func(_ context.Context, o *Order) error {
		fmt.Println(" ", what)
		effect(o)
		return nil
	}
}

func ship(_ context.Context, o *Order) error {
	fmt.Println("  create shipment to", o.Address)
	if o.Address == "the Moon" {
		return saga.Refuse(errors.New("no road to the Moon")) // definite: it is not tried again
	}
	return nil
}

func main() {
	coordinator, err := saga.New(saga.NewMemory(), saga.Config{}) // or a store that survives: sagafile, sagasql
	if err != nil {
		panic(err)
	}
	orders, err := saga.Register(coordinator, definition)
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go coordinator.Serve(ctx)
	for _, o := range []Order{{"order-17", "Berlin", 1299}, {"order-18", "the Moon", 799}} {
		fmt.Println(o.ID)
		_, err := orders.Run(ctx, o.ID, o)
		fmt.Println("  undone:", errors.Is(err, saga.ErrCompensated), err)
		fmt.Printf("  order %s, %d cents held, %d pieces reserved\n", status[o.ID], held[o.ID], reserved[o.ID])
	}
}
