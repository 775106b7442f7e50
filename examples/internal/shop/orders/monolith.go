package orders

import (
	"context"
	"errors"
	"net/http"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Whole is an order as a monolith carries it out: all of it, or nothing, in one append.
// Own are the events and conditions of this module. A *wire.Problem says that money or
// stock do not suffice.
type Whole func(ctx context.Context, p Purchase, own []eventsource.Event, conds []eventsource.Condition) (eventsource.Result, error)

// NewInMonolith is New for a shop whose modules share a log: there is no saga, as there
// is nothing that could be half done.
func NewInMonolith(whole Whole) func(*wire.Node) (*http.ServeMux, error) {
	return func(n *wire.Node) (*http.ServeMux, error) { return build(n, whole) }
}

// attempts bounds how often an order is planned anew, as others buy at the same time.
const attempts = 20

// atOnce carries an order out.
func (s *Service) atOnce(ctx context.Context, c CreateOrder, prices map[string]int64) (t Taken, err error) {
	created := priced(c.Purchase, prices)
	c.Total = created.Total
	for range attempts {
		if t.Replayed = s.status(c.ID) != ""; t.Replayed {
			break
		}
		var last eventsource.Position
		last, err = s.try(ctx, c.Purchase, created)
		if err == nil {
			t.Position = last
			break
		}
		if !errors.Is(err, eventsource.ErrConflict) {
			return t, err
		}
	}
	if err != nil {
		return t, wire.Unavailable("orders", err)
	}
	if t.Replayed {
		if err := s.sameAs(ctx, c.Purchase); err != nil {
			return t, err
		}
	}
	t.Order, err = s.getOrder(ctx, GetOrderByID{ID: c.ID, After: t.Position})
	return t, err
}

// try plans and appends once: the order with all that it takes, or that it is rejected.
func (s *Service) try(ctx context.Context, p Purchase, created OrderCreated) (eventsource.Position, error) {
	own, err := wire.Encode[Event](codec, p.ID, created, OrderConfirmed{})
	if err != nil {
		return 0, err
	}
	conds := []eventsource.Condition{eventsource.NoStream(p.ID)}
	result, err := s.whole(ctx, p, own, conds)
	if problem, ok := errors.AsType[*wire.Problem](err); ok {
		if own, err = wire.Encode[Event](codec, p.ID, created, OrderRejected{User: p.User, Reason: problem.Detail}); err != nil {
			return 0, err
		}
		result, err = s.log.Append(ctx, own, conds...)
	}
	if err != nil {
		return 0, err
	}
	// The model reads this module's log as well: nobody is told of an order that he
	// would not find.
	return result.Last, s.book.WaitFor(ctx, result.Last)
}
