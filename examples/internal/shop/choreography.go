package shop

import (
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga/choreography"
)

// orderEvents is the whole conversation about an order as data. The services hold
// their parts of it as code; what is here is checked at the start, so that an effect
// which nobody takes back is found before a customer finds it, and traced while it runs.
//
// Shipping cannot refuse, and nothing behind it can: there is no way back from there.
var orderEvents = choreography.Flow{
	Name: wire.OrderEvents,
	Participants: []choreography.Participant{
		{Name: "order-service", Starts: []string{"OrderCreated"}, Reactions: []choreography.Reaction{
			{On: "PaymentRefused", Compensates: "OrderCreated", Emits: []string{"OrderRejected"}},
			{On: "StockRefused", Compensates: "OrderCreated", Emits: []string{"OrderRejected"}},
			{On: "StockConfirmed", NoEffect: true, Emits: []string{"OrderConfirmed"}},
		}},
		{Name: "payment-service", Reactions: []choreography.Reaction{
			{On: "OrderCreated", Emits: []string{"PaymentReserved"}, Fails: []string{"PaymentRefused"}},
			{On: "StockRefused", Compensates: "PaymentReserved", Emits: []string{"PaymentReleased"}},
			{On: "ShipmentCreated", Emits: []string{"PaymentCaptured"}},
		}},
		{Name: "inventory-service", Reactions: []choreography.Reaction{
			{On: "PaymentReserved", Emits: []string{"StockReserved"}, Fails: []string{"StockRefused"}},
			{On: "PaymentCaptured", Emits: []string{"StockConfirmed"}},
		}},
		{Name: "shipping-service", Reactions: []choreography.Reaction{
			{On: "StockReserved", Emits: []string{"ShipmentCreated"}},
		}},
	},
	Ends: []string{"OrderConfirmed", "OrderRejected", "PaymentReleased"},
}

// Trace follows the conversations of a shop with choreography; nil in the other style.
func (s *Shop) Trace() *choreography.Trace { return s.trace }
