// Command saga-choreography leads orders by events alone: nobody is in charge. Then
// everything is delivered once more, the last event first: nothing happens twice.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/saga/choreography"
)

type Order struct{ ID, Address string } // is in every event

var books = map[string]int{} // are added to, so that an effect which happens twice would show

// flow is the whole conversation, shared by all services.
var flow = choreography.Flow{Name: "orders", Participants: []choreography.Participant{
	{Name: "order", Starts: []string{"OrderCreated"}, Reactions: []choreography.Reaction{
		{On: "PaymentReleased", Compensates: "OrderCreated", Emits: []string{"OrderRejected"}, Handle: emit("OrderRejected", "rejected", 1)},
	}},
	{Name: "payment", Reactions: []choreography.Reaction{
		{On: "OrderCreated", Emits: []string{"PaymentReserved"}, Handle: emit("PaymentReserved", "cents", 799)},
		{On: "StockReleased", Compensates: "PaymentReserved", Emits: []string{"PaymentReleased"}, Handle: emit("PaymentReleased", "cents", -799)},
	}},
	{Name: "inventory", Reactions: []choreography.Reaction{
		{On: "PaymentReserved", Emits: []string{"StockReserved"}, Handle: emit("StockReserved", "pieces", 1)},
		{On: "ShipmentRefused", Compensates: "StockReserved", Emits: []string{"StockReleased"}, Handle: emit("StockReleased", "pieces", -1)},
	}},
	{Name: "shipping", Reactions: []choreography.Reaction{
		{On: "StockReserved", Emits: []string{"ShipmentCreated"}, Fails: []string{"ShipmentRefused"}, Handle: emit("ShipmentCreated", "shipped", 1)},
	}},
}, Ends: []string{"ShipmentCreated", "OrderRejected"}}

func emit(answer, account string, n int) choreography.Handler {
	return choreography.On(func(_ context.Context, _ *sql.Tx, o Order) (choreography.Event, error) {
		if answer == "ShipmentCreated" && o.Address == "the Moon" {
			return choreography.Emit("ShipmentRefused", o)
		}
		books[account] += n
		return choreography.Emit(answer, o)
	})
}

func main() {
	if err := flow.Check(); err != nil { // a compensation that nobody wrote; mostly in a test
		fmt.Println(err)
		return
	}
	broker, ctx := messaging.NewMemory(messaging.Config{}), context.Background()
	for _, p := range flow.Participants { // with a database: an Outbox instead of the Publisher
		go flow.Serve(ctx, p.Name, choreography.Config{Subscriber: broker, Publisher: broker})
	}
	seen, known, ended := []messaging.Message{}, map[string]bool{}, make(chan bool)
	watch := messaging.Subscription{Topics: []string{flow.Name}, Group: "watch"}
	go broker.Subscribe(ctx, watch, func(_ context.Context, d messaging.Delivery) error {
		if typ := d.Headers["keelson-type"]; !known[d.ID] { // a repeat has the ID of the first
			seen, known[d.ID] = append([]messaging.Message{d.Message}, seen...), true
			if fmt.Println(d.Key, typ); slices.Contains(flow.Ends, typ) {
				ended <- true
			}
		}
		return nil
	})
	order := func(o Order) {
		created, _ := choreography.Emit("OrderCreated", o)
		begin, _ := flow.Begin(o.ID, created)
		_ = broker.Publish(ctx, begin) // or Outbox.Put, beside the order's row
		<-ended
		fmt.Println("books:", books)
	}
	order(Order{"order-17", "Berlin"})
	order(Order{"order-18", "the Moon"})
	fmt.Println(len(seen), "events come once more, the last one first")
	_ = broker.Publish(ctx, seen...)
	order(Order{"order-19", "Paris"})
}
