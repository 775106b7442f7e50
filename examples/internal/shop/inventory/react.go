package inventory

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// react is this service's part of the choreography.
func (s *Service) react(ctx context.Context, d messaging.Delivery) error {
	switch wire.TypeOf(d) {
	case "PaymentReserved":
		return s.onPayment(ctx, d)
	case "PaymentCaptured":
		return s.onward(ctx, d, "confirm", move{order: d.Key})
	}
	return nil
}

func (s *Service) onPayment(ctx context.Context, d messaging.Delivery) error {
	var p struct{ About json.RawMessage }
	if err := json.Unmarshal(d.Body, &p); err != nil {
		return err
	}
	load := Load{Order: d.Key, About: p.About}
	if err := json.Unmarshal(p.About, &load); err != nil {
		return err
	}
	load.Order, load.Items = d.Key, merge(load.Items)
	in := wire.Reaction(d, "reserve")
	in.Within, in.Conditions = within(load.Items), []eventsource.Condition{eventsource.NoStream(d.Key)}
	unlock, err := s.locks.lock(ctx, load.Items)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = stock.Handle(ctx, s.log, codec, in, StockReserved{load})
	if errors.Is(err, errShort) {
		return s.onward(ctx, d, "refuse", move{order: d.Key, refusal: err.Error()})
	}
	if wire.Decided(err) {
		return nil // decided before, one way or the other
	}
	return err
}

// onward moves an order's stock on; what cannot be is a repeat that came late.
func (s *Service) onward(ctx context.Context, d messaging.Delivery, name string, m move) error {
	_, err := orders.Handle(ctx, s.log, codec, wire.Reaction(d, name), m)
	if errors.Is(err, errMove) {
		return nil
	}
	return err
}
