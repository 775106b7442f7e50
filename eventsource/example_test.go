package eventsource_test

import (
	"context"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
)

// An account is opened, gets 1000 and gives 500. What it holds is 500; what
// it held before, who did it, and a report that nobody had thought of follow
// from the same events.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, account := eventsource.NewMemory(), eventsource.Stream("account-7")
	in := eventsource.Scope{Stream: "account-7", Meta: map[string]string{"actor": "ann"}}
	for _, command := range []any{Open{"ann"}, Deposit{1000}, Withdraw{500}} {
		if _, err := bank.Handle(ctx, store, codec, in, command); err != nil {
			fmt.Println(err)
		}
	}

	for r, err := range store.Read(ctx, account, eventsource.ReadOptions{}) {
		upTo := eventsource.ReadOptions{UpToVersion: r.Version} // or UpTo a position, or AsOf a time
		then, _, _ := eventsource.Fold(ctx, store, codec, account, upTo, Account{}, evolve)
		fmt.Println(r.Version, r.Type, r.Meta["actor"], then.Balance, err)
	}

	deposits := 0
	report := eventsource.Projection{
		Name:  "deposits",
		Query: eventsource.Query{{Types: []string{"account.deposited"}}},
		Apply: func(_ context.Context, b eventsource.Batch) error {
			deposits += len(b.Events) // from the very first one
			return nil
		},
	}
	go report.Run(ctx, store, store)
	fmt.Println(report.WaitFor(ctx, store, 3), deposits)
	// Output:
	// 1 account.opened ann 0 <nil>
	// 2 account.deposited ann 1000 <nil>
	// 3 account.withdrawn ann 500 <nil>
	// <nil> 1
}

// Append writes all events or none. A version that has moved is a conflict,
// ids that are known are a repeat.
func ExampleMemory_Append() {
	ctx, store := context.Background(), eventsource.NewMemory()
	opened := []eventsource.Event{{ID: "request-1", Stream: "account-7", Type: "account.opened"}}
	for range 2 {
		r, err := store.Append(ctx, opened, eventsource.NoStream("account-7"))
		fmt.Println(r.Last, r.Version, r.Duplicate, err)
	}
	deposited := []eventsource.Event{{Stream: "account-7", Type: "account.deposited"}}
	_, err := store.Append(ctx, deposited, eventsource.AtVersion("account-7", 5))
	fmt.Println(err)
	// Output:
	// 1 1 false <nil>
	// 1 1 true <nil>
	// eventsource: conflict: AtVersion("account-7", 5): the version is 1
}

// A decision that rests on a query instead of a stream: an address has one
// account. Head comes first, and then the read that the decision rests on.
func ExampleNoneSince() {
	ctx, store := context.Background(), eventsource.NewMemory()
	event := eventsource.Event{Type: "account.opened", Tags: []string{"email:ann@example.com"}}
	taken := eventsource.Query{{Types: []string{"account.opened"}, Tags: []string{"email:ann@example.com"}}}
	head, _ := store.Head(ctx)
	for range 2 { // two who decide at the same time
		_, err := store.Append(ctx, []eventsource.Event{event}, eventsource.NoneSince(taken, head))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// eventsource: conflict: NoneSince([{Streams:[] Types:[account.opened] IDs:[] Tags:[email:ann@example.com]}], 0): position 1 matches
}

// A consumer whose output is events records how far it has come in the same
// append, so that a repeat of its input changes nothing.
func ExampleTrack() {
	ctx, store := context.Background(), eventsource.NewMemory()
	for _, input := range []eventsource.Position{7, 8, 8, 9} {
		concluded := []eventsource.Event{{Stream: "invoices", Type: "invoice.due"}}
		r, err := store.Append(ctx, concluded, eventsource.Track("orders", input))
		fmt.Println(input, r.Version, err)
	}
	// Output:
	// 7 1 <nil>
	// 8 2 <nil>
	// 8 0 eventsource: already tracked: Track("orders", 8): position 8 is
	// 9 3 <nil>
}
