package choreography_test

import (
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga/choreography"
)

type (
	flow        = choreography.Flow
	participant = choreography.Participant
	reaction    = choreography.Reaction
)

func list(words string) []string { return strings.Fields(words) }

// orders is order, payment, inventory, shipping, each with what takes it back.
func orders() flow {
	return flow{
		Name: "orders",
		Participants: []participant{
			{Name: "order", Starts: list("OrderCreated"), Reactions: []reaction{
				{On: "PaymentReleased", Compensates: "OrderCreated", Emits: list("OrderCancelled")},
				{On: "PaymentRefused", Compensates: "OrderCreated", Emits: list("OrderRejected")},
			}},
			{Name: "payment", Reactions: []reaction{
				{On: "OrderCreated", Emits: list("PaymentReserved"), Fails: list("PaymentRefused")},
				{On: "StockReleased", Compensates: "PaymentReserved", Emits: list("PaymentReleased")},
				{On: "StockRefused", Compensates: "PaymentReserved", Emits: list("PaymentReturned")},
			}},
			{Name: "inventory", Reactions: []reaction{
				{On: "PaymentReserved", Emits: list("StockReserved"), Fails: list("StockRefused")},
				{On: "ShipmentRefused", Compensates: "StockReserved", Emits: list("StockReleased")},
			}},
			{Name: "shipping", Reactions: []reaction{
				{On: "StockReserved", Emits: list("ShipmentCreated"), Fails: list("ShipmentRefused")},
			}},
			{Name: "mail", Reactions: []reaction{{On: "ShipmentCreated", NoEffect: true}}},
		},
		Ends: list("OrderCancelled OrderRejected PaymentReturned"),
	}
}

// complete adds what orders lacks on purpose: the order is cancelled after
// PaymentReturned too.
func complete() flow {
	f := orders()
	f.Participants[0].Reactions = append(f.Participants[0].Reactions,
		reaction{On: "PaymentReturned", Compensates: "OrderCreated", Emits: list("OrderWithdrawn")})
	f.Ends = list("OrderCancelled OrderRejected OrderWithdrawn")
	return f
}

func TestCheckAcceptsACompleteFlow(t *testing.T) {
	require.NoError(t, complete().Check())
}

func TestCheckFindsAMissingCompensation(t *testing.T) {
	err := orders().Check()
	require.Error(t, err)
	assert.Equal(t, "choreography: orders: after StockRefused, nothing takes back what order did on its own, OrderCreated", err.Error())
}

func TestCheckFindings(t *testing.T) {
	for want, change := range map[string]func(f *flow){
		`Name is "a b"`:                     func(f *flow) { f.Name = "a b" },
		"two participants are called order": func(f *flow) { f.Participants[1].Name = "order" },
		`a participant is called ""`:        func(f *flow) { f.Participants[4].Name = "" },
		"mail has two reactions to ShipmentCreated": func(f *flow) {
			f.Participants[4].Reactions = append(f.Participants[4].Reactions, reaction{On: "ShipmentCreated", NoEffect: true})
		},
		`mail consumes "ShipmentLost", which nobody emits`: func(f *flow) {
			f.Participants[4].Reactions = append(f.Participants[4].Reactions, reaction{On: "ShipmentLost", NoEffect: true})
		},
		"shipping emits Parcel, which nobody consumes": func(f *flow) {
			r := &f.Participants[3].Reactions[0]
			r.Emits = append(r.Emits, "Parcel")
		},
		"nobody hears of the refusal ShipmentRefused by shipping": func(f *flow) {
			f.Participants[2].Reactions = f.Participants[2].Reactions[:1]
		},
		`Ends names "Nothing", which nobody emits`: func(f *flow) { f.Ends = append(f.Ends, "Nothing") },
		`shipping on StockReserved compensates "PaymentReserved", which is no effect of its own`: func(f *flow) {
			f.Participants[3].Reactions[0].Compensates = "PaymentReserved"
		},
		"want exactly one event in Emits": func(f *flow) {
			r := &f.Participants[2].Reactions[1]
			r.Fails = list("StockStuck")
			f.Ends = append(f.Ends, "StockStuck")
		},
		"compensates and has NoEffect": func(f *flow) { f.Participants[2].Reactions[1].NoEffect = true },
		"ShipmentCreated both in Emits and in Fails": func(f *flow) {
			r := &f.Participants[3].Reactions[0]
			r.Fails = append(r.Fails, "ShipmentCreated")
		},
		"the events PaymentReserved -> StockReserved -> ShipmentCreated -> PaymentReserved go round in a circle": func(f *flow) {
			f.Participants[1].Reactions = append(f.Participants[1].Reactions, reaction{On: "ShipmentCreated", Emits: list("PaymentReserved")})
		},
		"after ShipmentRefused, nothing takes back what inventory did on PaymentReserved (StockReserved)": func(f *flow) {
			f.Participants[2].Reactions[1].Compensates = ""
		},
		// The mail goes out before the shipment can be refused, and is no NoEffect.
		"after ShipmentRefused, nothing takes back what mail did on StockReserved (it emits nothing": func(f *flow) {
			f.Participants[4].Reactions = []reaction{{On: "StockReserved"}}
			f.Ends = append(f.Ends, "ShipmentCreated")
		},
	} {
		f := complete()
		change(&f)
		err := f.Check()
		if assert.Error(t, err, want) {
			assert.Contains(t, err.Error(), want)
		}
	}
}

// An effect beside the one that refuses may come about before or after the
// refusal is heard: it has to be taken back as well.
func TestCheckCountsWhatRunsBeside(t *testing.T) {
	f := flow{
		Name: "trip",
		Participants: []participant{
			{Name: "trip", Starts: list("Booked"), Reactions: []reaction{
				{On: "HotelRefused", Compensates: "Booked", Emits: list("Cancelled")},
			}},
			{Name: "hotel", Reactions: []reaction{{On: "Booked", Emits: list("HotelReserved"), Fails: list("HotelRefused")}}},
			{Name: "car", Reactions: []reaction{{On: "Booked", Emits: list("CarReserved")}}},
		},
		Ends: list("HotelReserved CarReserved Cancelled"),
	}
	err := f.Check()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "after HotelRefused, nothing takes back what car did on Booked (CarReserved)")
	f.Participants[2].Reactions = append(f.Participants[2].Reactions,
		reaction{On: "HotelRefused", Compensates: "CarReserved", Emits: list("CarReleased")})
	f.Ends = append(f.Ends, "CarReleased")
	require.NoError(t, f.Check())
}

func TestBeginIsIdempotent(t *testing.T) {
	e, err := choreography.Emit("OrderCreated", map[string]int{"id": 17})
	require.NoError(t, err)
	a, err := complete().Begin("order-17", e)
	require.NoError(t, err)
	b, err := complete().Begin("order-17", e)
	require.NoError(t, err)
	assert.Equal(t, a, b)
	assert.Equal(t, "orders order-17 OrderCreated order-17", strings.Join([]string{a.Topic, a.Key, a.Headers["keelson-type"], a.Headers["correlation"]}, " "))
	other, err := complete().Begin("order-18", e)
	require.NoError(t, err)
	assert.NotEqual(t, a.ID, other.ID)

	_, err = complete().Begin("order-17", choreography.Event{Type: "PaymentReserved"})
	assert.Error(t, err)
	_, err = complete().Begin("", e)
	assert.Error(t, err)
}
