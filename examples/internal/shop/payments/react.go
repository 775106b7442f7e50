package payments

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// react is this service's part of the choreography: the same deciders, told by events
// instead of calls.
func (s *Service) react(ctx context.Context, d messaging.Delivery) error {
	switch wire.TypeOf(d) {
	case "OrderCreated":
		return s.onOrder(ctx, d)
	case "StockRefused":
		return s.onward(ctx, d, move{order: d.Key, to: released})
	case "ShipmentCreated":
		return s.onward(ctx, d, move{order: d.Key, to: captured})
	}
	return nil
}

func (s *Service) onOrder(ctx context.Context, d messaging.Delivery) error {
	var o struct {
		User  int   `json:"userId"`
		Total int64 `json:"total"`
	}
	if err := json.Unmarshal(d.Body, &o); err != nil {
		return err
	}
	if err := s.open(ctx, o.User); err != nil {
		return err
	}
	in := wire.Reaction(d, "reserve")
	in.Within, in.Conditions = ofWallet(o.User), []eventsource.Condition{eventsource.NoStream(d.Key)}
	p := Payment{Order: d.Key, User: o.User, Cents: o.Total, About: d.Body}
	_, err := wallets.Handle(ctx, s.log, codec, in, spend{PaymentReserved{p}, p.Cents})
	if errors.Is(err, errShort) {
		return s.onward(ctx, d, move{order: d.Key, to: refused, reason: err.Error()})
	}
	if wire.Decided(err) {
		return nil // decided before, one way or the other
	}
	return err
}

// onward moves an order's money on. What cannot be is a repeat that came late: what
// it would have done has been done or undone.
func (s *Service) onward(ctx context.Context, d messaging.Delivery, m move) error {
	_, err := payments.Handle(ctx, s.log, codec, wire.Reaction(d, string(m.to)), m)
	if errors.Is(err, errMove) {
		return nil
	}
	return err
}
