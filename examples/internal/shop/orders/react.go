package orders

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// This file is the other style: no coordinator, an order is an event, and what becomes
// of it is in the events of others.

// react is this service's part of the choreography: it begins an order, and ends it.
func (s *Service) react(ctx context.Context, d messaging.Delivery) error {
	var said struct{ Reason string }
	if err := json.Unmarshal(d.Body, &said); err != nil {
		return err
	}
	var end Event
	switch wire.TypeOf(d) {
	case "PaymentRefused", "StockRefused":
		end = OrderRejected{Reason: said.Reason}
	case "StockConfirmed":
		end = OrderConfirmed{}
	default:
		return nil
	}
	_, err := decider.Handle(ctx, s.log, codec, wire.Reaction(d, "end"), end)
	if errors.Is(err, errState) {
		return nil // it has ended
	}
	return err
}

// begin appends OrderCreated: from here on the order goes its way by itself.
func (s *Service) begin(ctx context.Context, c CreateOrder, prices map[string]int64) (t Taken, err error) {
	rung, leave := s.bells.listen(c.ID)
	defer leave()
	out, err := s.record(ctx, c.Purchase, prices)
	if err != nil && !errors.Is(err, errState) { // errState: it has ended before this repeat came
		return t, err
	}
	t.Replayed = out.Duplicate || err != nil
	if t.Replayed {
		if err := s.sameAs(ctx, c.Purchase); err != nil {
			return t, err
		}
	}
	if c.Wait > 0 && !t.Replayed {
		s.await(ctx, c.Wait, rung)
	}
	t.Order, err = s.getOrder(ctx, GetOrderByID{ID: c.ID, After: out.Last})
	if t.Status == pending && c.Wait > 0 {
		t.Message = delayed
	}
	return t, err
}

// conversations is how orders stand where nobody coordinates: what statistics call
// sagas in the other style.
func (s *Service) conversations() any {
	out := struct {
		Running     int     `json:"running"`
		Completed   int     `json:"completed"`
		Compensated int     `json:"compensated"`
		OldestMs    float64 `json:"oldestMs"`
	}{}
	s.book.View(func(b *book, _ eventsource.Position) {
		out.Running, out.Completed, out.Compensated = len(b.pending), b.confirmed, b.rejected
		for _, since := range b.pending {
			out.OldestMs = max(out.OldestMs, float64(time.Since(since))/float64(time.Millisecond))
		}
	})
	return out
}
