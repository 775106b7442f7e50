package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keelson-go/keelson/eventsource"
)

// An audit trail: history first, then live. A subscriber that keeps Through can
// go on from there.
func ExampleSubscribe() {
	ctx, store := context.Background(), eventsource.NewMemory()
	_, _ = bank.Handle(ctx, store, codec, eventsource.Scope{Stream: "account-7"}, Open{"ann"})
	_, _ = bank.Handle(ctx, store, codec, eventsource.Scope{Stream: "account-8"}, Deposit{10})

	for batch, err := range eventsource.Subscribe(ctx, store, eventsource.Stream("account-7"), 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, r := range batch.Events {
			fmt.Println(r.Position, r.Stream, r.Version, r.Type, string(r.Data))
		}
		if batch.CaughtUp && batch.Through >= 3 {
			return
		}
		// Later, and on another goroutine, in a real program.
		_, _ = bank.Handle(ctx, store, codec, eventsource.Scope{Stream: "account-7"}, Deposit{1000})
	}
	// Output:
	// 1 account-7 1 account.opened {"Owner":"ann"}
	// 3 account-7 2 account.deposited {"Cents":1000}
}

// A read model, here a map. WaitFor lets whoever wrote read what they wrote.
func ExampleProjection() {
	ctx, cancel := context.WithCancel(context.Background())
	store := eventsource.NewMemory()

	var mu sync.Mutex
	balances := map[string]int{}
	p := eventsource.Projection{
		Name:  "balances",
		Query: eventsource.Query{{Types: codec.Types()}},
		Apply: func(_ context.Context, b eventsource.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Events {
				e, err := codec.Decode(r)
				if err != nil {
					return err
				}
				balances[r.Stream] = evolve(Account{Balance: balances[r.Stream]}, e).Balance
			}
			return nil
		},
	}
	done := make(chan error)
	go func() { done <- p.Run(ctx, store, store) }()

	out, _ := bank.Handle(ctx, store, codec, eventsource.Scope{Stream: "account-7"}, Deposit{1000})
	fmt.Println(p.WaitFor(ctx, store, out.Last))
	mu.Lock()
	fmt.Println(balances["account-7"])
	mu.Unlock()

	cancel()
	fmt.Println(errors.Is(<-done, context.Canceled))
	// Output:
	// <nil>
	// 1000
	// true
}

// An event that nobody can apply is put aside after three failures; Progress
// tells a dashboard how far each partition is.
func ExampleProjection_park() {
	ctx, cancel := context.WithCancel(context.Background())
	store := eventsource.NewMemory()
	p := eventsource.Projection{
		Name: "mails", Query: eventsource.All(), MaxAttempts: 3,
		Apply: func(_ context.Context, b eventsource.Batch) error {
			for _, r := range b.Events {
				if r.Type == "account.withdrawn" {
					return errors.New("no template")
				}
			}
			return nil
		},
		Park: func(_ context.Context, r eventsource.Recorded, err error) error {
			fmt.Println("park", r.Stream, r.Version, err)
			return nil
		},
		OnEvent: func(p eventsource.Progress) {
			if p.Err == nil {
				fmt.Println(p.Events, p.Parked, "through", p.Through, "of", p.Head)
			}
		},
	}
	for _, command := range []any{Deposit{1000}, Withdraw{500}, Deposit{1}} {
		_, _ = bank.Handle(ctx, store, codec, eventsource.Scope{Stream: "account-7"}, command)
	}
	done := make(chan error)
	go func() { done <- p.Run(ctx, store, store) }()
	_ = p.WaitFor(ctx, store, 3)
	cancel()
	<-done
	// Output:
	// 1 0 through 1 of 3
	// park account-7 2 no template
	// 0 1 through 2 of 3
	// 1 0 through 3 of 3
}
