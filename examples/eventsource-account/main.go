// Command eventsource-account keeps what happened to an account instead of its
// balance. The balance follows, now and at any time before, and so does the answer
// to who did what.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what may happen to an account. Once stored it never changes.
type Event interface{ isEvent() }

// The events of an account.
type (
	AccountCreated struct{ Owner string }
	MoneyDeposited struct{ Amount int }
	MoneyWithdrawn struct{ Amount int }
)

func (AccountCreated) isEvent() {}
func (MoneyDeposited) isEvent() {}
func (MoneyWithdrawn) isEvent() {}

// codec gives them names in the store, which outlive those in the program.
var codec = eventsource.NewCodec(map[string]Event{
	"AccountCreated": AccountCreated{}, "MoneyDeposited": MoneyDeposited{}, "MoneyWithdrawn": MoneyWithdrawn{},
})

// account decides. It asks for an event, and the balance says whether it may be.
var account = eventsource.Decider[Event, Event, int]{
	Evolve: evolve,
	Decide: func(balance int, wanted Event) ([]Event, error) {
		if w, ok := wanted.(MoneyWithdrawn); ok && w.Amount > balance {
			return nil, errors.New("insufficient funds")
		}
		return []Event{wanted}, nil
	},
}

func evolve(balance int, e Event) int {
	switch e := e.(type) {
	case MoneyDeposited:
		return balance + e.Amount
	case MoneyWithdrawn:
		return balance - e.Amount
	}
	return balance
}

func main() {
	ctx, store := context.Background(), eventsource.NewMemory() // eventfile or eventsql keep them
	in := eventsource.Scope{Stream: "account-7", Meta: map[string]string{"actor": "alice"}}
	for _, wanted := range []Event{AccountCreated{"alice"}, MoneyDeposited{1000}, MoneyWithdrawn{500}, MoneyWithdrawn{501}} {
		out, err := account.Handle(ctx, store, codec, in, wanted)
		fmt.Printf("%T%v: balance %d, error: %v\n", wanted, wanted, out.State, err)
	}

	fmt.Println("the audit trail, and the balance at each version")
	history := eventsource.Stream("account-7")
	for r, err := range store.Read(ctx, history, eventsource.ReadOptions{}) {
		if err != nil {
			panic(err)
		}
		then := eventsource.ReadOptions{UpToVersion: r.Version} // or AsOf a time
		balance, _, err := eventsource.Fold(ctx, store, codec, history, then, 0, evolve)
		fmt.Println(" ", r.Version, r.Type, string(r.Data), "by", r.Meta["actor"], "=>", balance, err)
	}
}
