package shipping

import (
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Plan is what this module adds to the one append that is an order in a monolith.
func Plan(order, address string) ([]eventsource.Event, []eventsource.Condition, error) {
	events, err := wire.Encode[Event](codec, order, ShipmentCreated{order, address})
	return events, []eventsource.Condition{eventsource.NoStream(order)}, err
}
