package payments

import (
	"context"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Plan is what this module adds to the one append that is an order in a monolith: the
// money is reserved and taken, on condition that the wallet has not changed since it
// was looked at. Too little money is a *wire.Problem.
func Plan(ctx context.Context, log wire.Events, order string, user int, cents int64) ([]eventsource.Event, []eventsource.Condition, error) {
	if err := (&Service{log: log}).open(ctx, user); err != nil {
		return nil, nil, err
	}
	head, err := log.Head(ctx)
	if err != nil {
		return nil, nil, err
	}
	w, _, err := eventsource.Fold(ctx, log, codec, ofWallet(user), eventsource.ReadOptions{UpTo: head}, Wallet{}, evolveWallet)
	if err != nil {
		return nil, nil, err
	}
	if w.Cents < cents {
		return nil, nil, refusal(errShort)
	}
	p := Payment{Order: order, User: user, Cents: cents}
	events, err := wire.Encode[Event](codec, order, PaymentReserved{p}, PaymentCaptured{p})
	return events, []eventsource.Condition{eventsource.NoStream(order), eventsource.NoneSince(ofWallet(user), head)}, err
}
