package saga_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/saga"
)

// An order is reserved, paid and shipped. Where the goods cannot be shipped, the
// payment is refunded and the reservation released, in that order.
func Example() {
	type Order struct {
		Item    string `json:"item"`
		Payment string `json:"payment,omitempty"`
	}
	soldOut := map[string]bool{"moon": true}
	step := func(name string) func(context.Context, *Order) error {
		return func(ctx context.Context, o *Order) error {
			fmt.Println(name, o.Item)
			return nil
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	coordinator, err := saga.New(saga.NewMemory(), saga.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	order, err := saga.Register(coordinator, saga.Definition[Order]{
		Name: "order",
		Steps: []saga.Step[Order]{
			{Name: "reserve", Do: step("reserve"), Undo: step("release")},
			{
				Name: "pay",
				Do: func(ctx context.Context, o *Order) error {
					o.Payment = saga.CallFrom(ctx).Key() // what the bank deduplicates by
					return nil
				},
				Undo: step("refund"),
			},
			{
				Name: "ship",
				Do: func(_ context.Context, o *Order) error {
					if soldOut[o.Item] {
						return saga.Refuse(errors.New("none left"))
					}
					return nil
				},
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- coordinator.Serve(ctx) }()

	got, err := order.Run(ctx, "order-17", Order{Item: "lamp"})
	fmt.Println(got.Payment, err)
	_, err = order.Run(ctx, "order-18", Order{Item: "moon"})
	fmt.Println(errors.Is(err, saga.ErrCompensated), err)

	cancel()
	fmt.Println(<-served)
	// Output:
	// reserve lamp
	// order-17/pay <nil>
	// reserve moon
	// refund moon
	// release moon
	// true saga: order-18 (order) compensated: ship: none left
	// <nil>
}
