// Command eventsource-projection keeps a read model in step with a log of events,
// builds it anew beside the old one, and adds a report that nobody had thought of
// when the events were written.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/keelson-go/keelson/eventsource"
)

// Deposited is the only kind of event here.
type Deposited struct{ Cents int }

// deposit appends one and returns its position.
func deposit(ctx context.Context, store eventsource.Store, account string, cents int) eventsource.Position {
	data, _ := json.Marshal(Deposited{cents})
	r, err := store.Append(ctx, []eventsource.Event{{Stream: account, Type: "deposited", Data: data}})
	if err != nil {
		panic(err)
	}
	return r.Last
}

// into returns a projection that applies each event to a model. Where the model is
// in a database, package eventsql commits it together with the checkpoint.
func into(name string, version int, apply func(account string, d Deposited)) eventsource.Projection {
	return eventsource.Projection{
		Name: name, Version: version,
		Query: eventsource.Query{{Types: []string{"deposited"}}},
		Apply: func(_ context.Context, b eventsource.Batch) error {
			for _, r := range b.Events {
				var d Deposited
				if err := json.Unmarshal(r.Data, &d); err != nil {
					return err
				}
				apply(r.Stream, d)
			}
			return nil
		},
	}
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store := eventsource.NewMemory()

	live := map[string]int{}
	balances := into("balances", 1, func(account string, d Deposited) { live[account] += d.Cents })
	go balances.Run(ctx, store, store)
	var last eventsource.Position
	for i := range 100 {
		last = deposit(ctx, store, fmt.Sprint("account-", i%3), 100*i)
	}
	_ = balances.WaitFor(ctx, store, last) // read your writes
	fmt.Println("live:    ", live)

	rebuilt := map[string]int{}
	anew := into("balances", 2, func(account string, d Deposited) { rebuilt[account] += d.Cents })
	go anew.Run(ctx, store, store)
	_ = anew.WaitFor(ctx, store, last)
	fmt.Println("rebuilt: ", rebuilt, "the same:", maps.Equal(live, rebuilt))

	large := 0
	report := into("large-deposits", 1, func(_ string, d Deposited) {
		if d.Cents >= 9000 {
			large++
		}
	})
	go report.Run(ctx, store, store)
	_ = report.WaitFor(ctx, store, last)
	fmt.Println("a later idea, about all that happened before it: deposits of 90 and more:", large)
}
