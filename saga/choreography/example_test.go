package choreography_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/saga/choreography"
)

type order struct {
	ID   string
	Item string
}

// reply reacts with an event that carries the order on.
func reply(typ string) choreography.Handler {
	return choreography.On(func(_ context.Context, _ *sql.Tx, o order) (choreography.Event, error) {
		return choreography.Emit(typ, o)
	})
}

// ship refuses what is too large.
var ship = choreography.On(func(_ context.Context, _ *sql.Tx, o order) (choreography.Event, error) {
	if o.Item == "piano" {
		return choreography.Emit("ShipmentRefused", o)
	}
	return choreography.Emit("ShipmentCreated", o)
})

// An order is paid, reserved and shipped by services that know only each other's
// events. When the shipment is refused, each takes back what it did.
func Example() {
	flow := choreography.Flow{
		Name: "orders",
		Participants: []choreography.Participant{
			{Name: "order", Starts: []string{"OrderCreated"}, Reactions: []choreography.Reaction{
				{On: "PaymentReleased", Compensates: "OrderCreated", Emits: []string{"OrderCancelled"}, Handle: reply("OrderCancelled")},
			}},
			{Name: "payment", Reactions: []choreography.Reaction{
				{On: "OrderCreated", Emits: []string{"PaymentReserved"}, Handle: reply("PaymentReserved")},
				{On: "StockReleased", Compensates: "PaymentReserved", Emits: []string{"PaymentReleased"}, Handle: reply("PaymentReleased")},
			}},
			{Name: "inventory", Reactions: []choreography.Reaction{
				{On: "PaymentReserved", Emits: []string{"StockReserved"}, Handle: reply("StockReserved")},
				{On: "ShipmentRefused", Compensates: "StockReserved", Emits: []string{"StockReleased"}, Handle: reply("StockReleased")},
			}},
			{Name: "shipping", Reactions: []choreography.Reaction{
				{On: "StockReserved", Emits: []string{"ShipmentCreated"}, Fails: []string{"ShipmentRefused"}, Handle: ship},
			}},
		},
		Ends: []string{"ShipmentCreated", "OrderCancelled"},
	}
	fmt.Println("check:", flow.Check()) // one line in a test makes it a build gate

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := messaging.NewMemory(messaging.Config{}) // a database and its outbox in production
	ended := make(chan string)
	sub := messaging.Subscription{Topics: []string{"orders"}, Group: "example"}
	go broker.Subscribe(ctx, sub, func(_ context.Context, d messaging.Delivery) error {
		fmt.Println(d.Key, d.Headers["keelson-type"])
		if typ := d.Headers["keelson-type"]; typ == "ShipmentCreated" || typ == "OrderCancelled" {
			ended <- typ
		}
		return nil
	})
	for _, p := range flow.Participants {
		go flow.Serve(ctx, p.Name, choreography.Config{Subscriber: broker, Publisher: broker})
	}

	for _, o := range []order{{"order-17", "lamp"}, {"order-18", "piano"}} {
		created, _ := choreography.Emit("OrderCreated", o)
		begin, err := flow.Begin(o.ID, created)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = broker.Publish(ctx, begin) // or outbox.Put, beside the order's row
		<-ended
	}
	// Output:
	// check: <nil>
	// order-17 OrderCreated
	// order-17 PaymentReserved
	// order-17 StockReserved
	// order-17 ShipmentCreated
	// order-18 OrderCreated
	// order-18 PaymentReserved
	// order-18 StockReserved
	// order-18 ShipmentRefused
	// order-18 StockReleased
	// order-18 PaymentReleased
	// order-18 OrderCancelled
}

// A forgotten compensation is found before any order is lost by it.
func ExampleFlow_Check() {
	flow := choreography.Flow{
		Name: "trips",
		Participants: []choreography.Participant{
			{Name: "trip", Starts: []string{"TripBooked"}, Reactions: []choreography.Reaction{
				{On: "HotelRefused", Compensates: "TripBooked", Emits: []string{"TripCancelled"}},
			}},
			{Name: "car", Reactions: []choreography.Reaction{{On: "TripBooked", Emits: []string{"CarReserved"}}}},
			{Name: "hotel", Reactions: []choreography.Reaction{
				{On: "CarReserved", Emits: []string{"HotelReserved"}, Fails: []string{"HotelRefused"}},
			}},
		},
		Ends: []string{"HotelReserved", "TripCancelled"},
	}
	fmt.Println(flow.Check())
	// Output: choreography: trips: after HotelRefused, nothing takes back what car did on TripBooked (CarReserved)
}
