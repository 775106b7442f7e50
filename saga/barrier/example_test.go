package barrier_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
)

// A participant gets every message twice, and an undo before its action.
func ExampleDo() {
	ctx := context.Background()
	guard := barrier.NewMemory(0) // with a database: barrier.In(tx)
	take := func(c saga.Call) {
		receipt, err := barrier.Do(ctx, guard, c, func(context.Context) (string, error) {
			fmt.Println("takes the money for", c.Saga)
			return "receipt of " + c.Key(), nil
		})
		fmt.Println(receipt, errors.Is(err, barrier.ErrLate))
	}
	giveBack := func(c saga.Call) error {
		return barrier.Run(ctx, guard, c, func(context.Context) error {
			fmt.Println("gives the money back for", c.Saga)
			return nil
		})
	}

	pay := saga.Call{Saga: "order-17", Step: "pay"}
	take(pay)
	take(pay)

	other := saga.Call{Saga: "order-18", Step: "pay"}
	undo := other
	undo.Undo = true
	fmt.Println(giveBack(undo))
	take(other)

	// Output:
	// takes the money for order-17
	// receipt of order-17/pay false
	// receipt of order-17/pay false
	// <nil>
	//  true
}
