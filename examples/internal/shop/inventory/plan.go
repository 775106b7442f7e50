package inventory

import (
	"context"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Plan is what this module adds to the one append that is an order in a monolith, on
// condition that the stock has not changed since it was looked at. Too little of it is
// a *wire.Problem.
func Plan(ctx context.Context, log wire.Events, order string, items []Item) ([]eventsource.Event, []eventsource.Condition, error) {
	items = merge(items)
	head, err := log.Head(ctx)
	if err != nil {
		return nil, nil, err
	}
	l, _, err := eventsource.Fold(ctx, log, codec, within(items), eventsource.ReadOptions{UpTo: head}, levels{}, levels.evolve)
	if err != nil {
		return nil, nil, err
	}
	for _, item := range items {
		if l[item.SKU].OnHand < item.Qty {
			return nil, nil, refusal(fmt.Errorf("%s: %w", item.SKU, errShort))
		}
	}
	load := Load{Order: order, Items: items}
	events, err := wire.Encode[Event](codec, order, StockReserved{load}, StockConfirmed{load})
	return events, []eventsource.Condition{eventsource.NoStream(order), eventsource.NoneSince(within(items), head)}, err
}
