package sagafile_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

type order struct{ Paid, Shipped bool }

// The process ends while an order waits for its parcel; the next one goes on.
func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "sagas")
	defer os.RemoveAll(dir)
	parked := make(chan bool, 1)
	process := func(work func(ctx context.Context, c *saga.Coordinator, orders *saga.Saga[order])) {
		store, err := sagafile.Open(dir, sagafile.Config{})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer store.Close()
		c, _ := saga.New(store, saga.Config{OnEvent: func(r saga.Record) {
			if r.Kind == "park" {
				parked <- true
			}
		}})
		orders, _ := saga.Register(c, saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{
			{Name: "pay", Do: func(_ context.Context, o *order) error {
				fmt.Println("pays")
				o.Paid = true
				return nil
			}},
			{Name: "ship", Do: func(ctx context.Context, o *order) error {
				if saga.CallFrom(ctx).Signal != "parcel" {
					return saga.Await("parcel", 0)
				}
				fmt.Println("ships, paid:", o.Paid)
				o.Shipped = true
				return nil
			}},
		}})
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		done := make(chan error)
		go func() { done <- c.Serve(ctx) }()
		work(ctx, c, orders)
		stop()
		<-done
	}

	process(func(ctx context.Context, _ *saga.Coordinator, orders *saga.Saga[order]) {
		_ = orders.Start(ctx, "order-17", order{})
		<-parked
	})
	process(func(ctx context.Context, c *saga.Coordinator, orders *saga.Saga[order]) {
		_ = c.Signal(ctx, "order-17", "parcel", "", nil)
		o, err := orders.Wait(ctx, "order-17")
		fmt.Printf("%+v %v\n", o, err)
	})

	// Output:
	// pays
	// ships, paid: true
	// {Paid:true Shipped:true} <nil>
}
