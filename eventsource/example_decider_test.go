package eventsource_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
)

// What may happen to an account, and its codec.
type (
	Event     interface{ isEvent() }
	Opened    struct{ Owner string }
	Deposited struct{ Cents int }
	Withdrawn struct{ Cents int }
)

func (Opened) isEvent()    {}
func (Deposited) isEvent() {}
func (Withdrawn) isEvent() {}

// EventTags lets a query find accounts by their owner.
func (o Opened) EventTags() []string { return []string{"owner:" + o.Owner} }

var codec = eventsource.NewCodec(map[string]Event{
	"account.opened":    Opened{},
	"account.deposited": Deposited{},
	"account.withdrawn": Withdrawn{},
})

// What one may ask of an account, and how it decides.
type (
	Open     struct{ Owner string }
	Deposit  struct{ Cents int }
	Withdraw struct{ Cents int }
)

type Account struct {
	Owner   string
	Balance int
}

var ErrFunds = errors.New("insufficient funds")

var bank = eventsource.Decider[any, Event, Account]{
	Evolve: evolve,
	Decide: func(a Account, command any) ([]Event, error) {
		switch c := command.(type) {
		case Open:
			return []Event{Opened(c)}, nil
		case Deposit:
			return []Event{Deposited(c)}, nil
		case Withdraw:
			if c.Cents > a.Balance {
				return nil, ErrFunds
			}
			return []Event{Withdrawn(c)}, nil
		}
		return nil, fmt.Errorf("unknown command %T", command)
	},
}

func evolve(a Account, e Event) Account {
	switch e := e.(type) {
	case Opened:
		a.Owner = e.Owner
	case Deposited:
		a.Balance += e.Cents
	case Withdrawn:
		a.Balance -= e.Cents
	}
	return a
}

// An account is opened, gets 1000 and gives 500.
func ExampleDecider_Handle() {
	ctx, store := context.Background(), eventsource.NewMemory()
	in := eventsource.Scope{Stream: "account-7", Meta: map[string]string{"actor": "ann"}}
	for _, command := range []any{Open{"ann"}, Deposit{1000}, Withdraw{500}, Withdraw{501}} {
		out, err := bank.Handle(ctx, store, codec, in, command)
		fmt.Println(out.State.Balance, out.Events, err)
	}
	// Output:
	// 0 [{ann}] <nil>
	// 1000 [{1000}] <nil>
	// 500 [{500}] <nil>
	// 500 [] insufficient funds
}

// Time travel: the account as it was at a version. UpTo asks for a position and
// AsOf for a time in the same way.
func ExampleFold() {
	ctx, store := context.Background(), eventsource.NewMemory()
	in := eventsource.Scope{Stream: "account-7"}
	for _, command := range []any{Open{"ann"}, Deposit{1000}, Withdraw{500}} {
		_, _ = bank.Handle(ctx, store, codec, in, command)
	}
	for version := range uint64(3) {
		o := eventsource.ReadOptions{UpToVersion: version + 1}
		account, last, err := eventsource.Fold(ctx, store, codec, eventsource.Stream("account-7"), o, Account{}, evolve)
		fmt.Println(last.Version, last.Type, account, err)
	}
	// Output:
	// 1 account.opened {ann 0} <nil>
	// 2 account.deposited {ann 1000} <nil>
	// 3 account.withdrawn {ann 500} <nil>
}

// A rule across streams: an e-mail address has one account. The decision rests
// on whatever matches Within, and the append fails if something new does.
func ExampleScope_within() {
	ctx, store := context.Background(), eventsource.NewMemory()
	errTaken := errors.New("the address is taken")
	signUp := eventsource.Decider[string, Event, bool]{
		Evolve: func(bool, Event) bool { return true },
		Decide: func(taken bool, email string) ([]Event, error) {
			if taken {
				return nil, errTaken
			}
			return []Event{Opened{email}}, nil
		},
	}
	for i, email := range []string{"ann@example.com", "bob@example.com", "ann@example.com"} {
		in := eventsource.Scope{
			Stream: fmt.Sprint("account-", i),
			Within: eventsource.Query{{Types: []string{"account.opened"}, Tags: []string{"owner:" + email}}},
		}
		_, err := signUp.Handle(ctx, store, codec, in, email)
		fmt.Println(email, err)
	}
	// Output:
	// ann@example.com <nil>
	// bob@example.com <nil>
	// ann@example.com the address is taken
}

// A client that got no answer asks again, with the same key: the deposit counts
// once, and the answer is the first one, although the balance has moved on.
func ExampleScope_key() {
	ctx, store := context.Background(), eventsource.NewMemory()
	for _, key := range []string{"request-1", "request-2", "request-1"} {
		in := eventsource.Scope{Stream: "account-7", Key: key}
		out, err := bank.Handle(ctx, store, codec, in, Deposit{100})
		fmt.Println(key, out.State.Balance, out.Duplicate, err)
	}
	// Output:
	// request-1 100 false <nil>
	// request-2 200 false <nil>
	// request-1 100 true <nil>
}

// The first release wrote "deposit" with an amount in whole euros. Nothing in
// the store changes; two upcasts lead to what the type is now.
func ExampleUpcast() {
	codec := eventsource.NewCodec(
		map[string]Event{"account.deposited": Deposited{}},
		eventsource.Upcast{Type: "deposit", Schema: 1, To: "account.deposited"},
		eventsource.Upcast{Type: "account.deposited", Schema: 1, Func: func(data []byte) ([]byte, error) {
			data = bytes.Replace(data, []byte(`"Euros"`), []byte(`"Cents"`), 1)
			return bytes.Replace(data, []byte(`}`), []byte(`00}`), 1), nil
		}},
	)
	for _, stored := range []eventsource.Event{
		{Type: "deposit", Data: []byte(`{"Euros":7}`)},
		{Type: "account.deposited", Schema: 2, Data: []byte(`{"Cents":750}`)},
	} {
		e, err := codec.Decode(eventsource.Recorded{Event: stored})
		fmt.Printf("%T%v %v\n", e, e, err)
	}
	fmt.Println(codec.Types())
	// Output:
	// eventsource_test.Deposited{700} <nil>
	// eventsource_test.Deposited{750} <nil>
	// [account.deposited deposit]
}
