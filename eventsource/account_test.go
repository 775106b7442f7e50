package eventsource_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/require"
)

// The domain of the tests: a bank account.
type (
	accountEvent interface{ isAccountEvent() }
	opened       struct {
		Owner string `json:"owner"`
	}
	deposited struct {
		Cents int `json:"cents"`
	}
	withdrawn struct {
		Cents int `json:"cents"`
	}
)

func (opened) isAccountEvent()    {}
func (deposited) isAccountEvent() {}
func (withdrawn) isAccountEvent() {}

func (o opened) EventTags() []string { return []string{"owner:" + o.Owner} }

// account is the state.
type account struct {
	Owner   string
	Balance int
	Events  int
}

var accounts = eventsource.NewCodec(map[string]accountEvent{
	"account.opened":    opened{},
	"account.deposited": deposited{},
	"account.withdrawn": withdrawn{},
})

var errFunds = errors.New("insufficient funds")

// add is the command: more, or with a negative number less, money.
type add int

func evolveAccount(a account, e accountEvent) account {
	a.Events++
	switch e := e.(type) {
	case opened:
		a.Owner = e.Owner
	case deposited:
		a.Balance += e.Cents
	case withdrawn:
		a.Balance -= e.Cents
	}
	return a
}

func decideAdd(a account, cmd add) ([]accountEvent, error) {
	switch {
	case cmd == 0:
		return nil, nil
	case a.Balance+int(cmd) < 0:
		return nil, errFunds
	case cmd < 0:
		return []accountEvent{withdrawn{int(-cmd)}}, nil
	}
	return []accountEvent{deposited{int(cmd)}}, nil
}

var adder = eventsource.Decider[add, accountEvent, account]{Evolve: evolveAccount, Decide: decideAdd}

// put appends events to a stream without any condition.
func put(t testing.TB, s eventsource.Store, stream string, events ...accountEvent) eventsource.Result {
	t.Helper()
	var encoded []eventsource.Event
	for _, e := range events {
		event, err := accounts.Encode(e)
		require.NoError(t, err)
		event.Stream = stream
		encoded = append(encoded, event)
	}
	r, err := s.Append(context.WithoutCancel(t.Context()), encoded)
	require.NoError(t, err)
	return r
}

// read returns all that matches.
func read(t testing.TB, s eventsource.Store, q eventsource.Query) (all []eventsource.Recorded) {
	t.Helper()
	for r, err := range s.Read(t.Context(), q, eventsource.ReadOptions{}) {
		require.NoError(t, err)
		all = append(all, r)
	}
	return all
}

// hooked is a Memory whose calls can be made to do something else first.
type hooked struct {
	*eventsource.Memory
	onAppend func(events []eventsource.Event, conds []eventsource.Condition) (answer error, instead bool)
	onHead   func() error
	onLoad   func(name string) error
	onSave   func(name string) error
}

func (h *hooked) Append(ctx context.Context, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	if h.onAppend != nil {
		if err, instead := h.onAppend(events, conds); instead {
			return eventsource.Result{}, err
		}
	}
	return h.Memory.Append(ctx, events, conds...)
}

func (h *hooked) Head(ctx context.Context) (eventsource.Position, error) {
	if h.onHead != nil {
		if err := h.onHead(); err != nil {
			return 0, err
		}
	}
	return h.Memory.Head(ctx)
}

func (h *hooked) LoadCheckpoint(ctx context.Context, name string) (eventsource.Checkpoint, error) {
	if h.onLoad != nil {
		if err := h.onLoad(name); err != nil {
			return eventsource.Checkpoint{}, err
		}
	}
	return h.Memory.LoadCheckpoint(ctx, name)
}

func (h *hooked) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	if h.onSave != nil {
		if err := h.onSave(name); err != nil {
			return err
		}
	}
	return h.Memory.SaveCheckpoint(ctx, name, old, new, apply)
}
