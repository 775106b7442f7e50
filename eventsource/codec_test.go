package eventsource_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestCodecRoundTrip(t *testing.T) {
	for _, e := range []accountEvent{opened{"ann"}, deposited{7}, withdrawn{0}} {
		event, err := accounts.Encode(e)
		require.NoError(t, err)
		assert.Equal(t, 1, event.Schema)
		back, err := accounts.Decode(eventsource.Recorded{Event: event})
		require.NoError(t, err)
		assert.Equal(t, e, back)
	}
	assert.Equal(t, []string{"account.deposited", "account.opened", "account.withdrawn"}, accounts.Types())
}

func TestCodecTakesTagsFromTheEvent(t *testing.T) {
	event, err := accounts.Encode(opened{"ann"})
	require.NoError(t, err)
	assert.Equal(t, []string{"owner:ann"}, event.Tags)
}

// T27: neither an unknown name nor a newer schema is skipped or guessed.
func TestUnknownTypeFailsLoudly(t *testing.T) {
	type other struct{ accountEvent }
	_, err := accounts.Encode(other{})
	assert.ErrorIs(t, err, eventsource.ErrUnknownType)
	_, err = accounts.Encode(nil)
	assert.ErrorIs(t, err, eventsource.ErrUnknownType)

	m := eventsource.NewMemory()
	put(t, m, "a", deposited{5})
	for _, e := range []eventsource.Event{
		{Stream: "a", Type: "account.closed", Data: []byte("{}")},
		{Stream: "a", Type: "account.deposited", Schema: 2, Data: []byte("{}")},
	} {
		_, err = accounts.Decode(eventsource.Recorded{Event: e})
		assert.ErrorIs(t, err, eventsource.ErrUnknownType)
		_, err = m.Append(t.Context(), []eventsource.Event{e})
		require.NoError(t, err)
		state, last, err := eventsource.Fold(t.Context(), m, accounts, eventsource.All(), eventsource.ReadOptions{}, account{}, evolveAccount)
		assert.ErrorIs(t, err, eventsource.ErrUnknownType)
		assert.Contains(t, err.Error(), `position 2, version 2 of "a"`)
		assert.Equal(t, account{Balance: 5, Events: 1}, state)
		assert.Equal(t, eventsource.Position(1), last.Position)
		_, err = adder.Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "a"}, 1)
		assert.ErrorIs(t, err, eventsource.ErrUnknownType)
	}
	known := eventsource.Query{{Types: accounts.Types()[:1]}}
	state, _, err := eventsource.Fold(t.Context(), m, accounts, known, eventsource.ReadOptions{UpTo: 2}, account{}, evolveAccount)
	require.NoError(t, err)
	assert.Equal(t, 5, state.Balance)
}

type settled struct{ Amount, Currency string }

func (*settled) isAccountEvent() {}

// history is a codec whose settled has had two names and three layouts.
func history() *eventsource.Codec[accountEvent] {
	replace := func(old, new string) func([]byte) ([]byte, error) {
		return func(data []byte) ([]byte, error) {
			return bytes.ReplaceAll(data, []byte(old), []byte(new)), nil
		}
	}
	return eventsource.NewCodec(
		map[string]accountEvent{"account.settled": (*settled)(nil)},
		eventsource.Upcast{Type: "account.settled", Schema: 1, Func: func(data []byte) ([]byte, error) {
			var v map[string]any
			if err := json.Unmarshal(data, &v); err != nil {
				return nil, err
			}
			v["Currency"] = "EUR"
			return json.Marshal(v)
		}},
		eventsource.Upcast{Type: "settle", Schema: 2, To: "account.settled"},
		eventsource.Upcast{Type: "settle", Schema: 1, Func: replace("amt", "Amount")},
		eventsource.Upcast{Type: "clear", Schema: 1, To: "settle"},
	)
}

// T27: every byte form that was ever written decodes for ever.
func TestGoldenFormsDecode(t *testing.T) {
	c := history()
	assert.Equal(t, []string{"account.settled", "clear", "settle"}, c.Types())
	for _, g := range []struct {
		typ    string
		schema int
		data   string
		want   settled
	}{
		{"clear", 0, `{"amt":"1"}`, settled{"1", "EUR"}},
		{"clear", 1, `{"amt":"1"}`, settled{"1", "EUR"}},
		{"settle", 1, `{"amt":"2"}`, settled{"2", "EUR"}},
		{"settle", 2, `{"Amount":"3"}`, settled{"3", "EUR"}},
		{"account.settled", 1, `{"Amount":"4"}`, settled{"4", "EUR"}},
		{"account.settled", 2, `{"Amount":"5","Currency":"USD","gone":[1]}`, settled{"5", "USD"}},
	} {
		e, err := c.Decode(eventsource.Recorded{Event: eventsource.Event{Type: g.typ, Schema: g.schema, Data: []byte(g.data)}})
		require.NoError(t, err)
		assert.Equal(t, &g.want, e.(*settled))
	}
	event, err := c.Encode(&settled{"6", "CHF"})
	require.NoError(t, err)
	assert.Equal(t, eventsource.Event{Type: "account.settled", Schema: 2, Data: []byte(`{"Amount":"6","Currency":"CHF"}`)}, event)
	for _, beyond := range []eventsource.Event{{Type: "clear", Schema: 2}, {Type: "settle", Schema: 3}, {Type: "account.settled", Schema: 3}} {
		_, err := c.Decode(eventsource.Recorded{Event: beyond})
		assert.ErrorIs(t, err, eventsource.ErrUnknownType)
	}
}

func TestUpcastLeavesDataAlone(t *testing.T) {
	data := []byte(`{"amt":"1"}`)
	_, err := history().Decode(eventsource.Recorded{Event: eventsource.Event{Type: "clear", Data: data}})
	require.NoError(t, err)
	assert.Equal(t, `{"amt":"1"}`, string(data))
}

func TestDecodeErrors(t *testing.T) {
	bad := errors.New("bad")
	c := eventsource.NewCodec(map[string]accountEvent{"d": deposited{}}, eventsource.Upcast{Type: "d", Schema: 1, Func: func([]byte) ([]byte, error) { return nil, bad }})
	_, err := c.Decode(eventsource.Recorded{Event: eventsource.Event{Type: "d"}, Position: 3})
	assert.ErrorIs(t, err, bad)
	assert.Contains(t, err.Error(), "upcast schema 1 of d")
	_, err = c.Decode(eventsource.Recorded{Event: eventsource.Event{Type: "d", Schema: 2, Data: []byte("{")}, Position: 3})
	_, syntax := errors.AsType[*json.SyntaxError](err)
	assert.True(t, syntax, err)
	assert.Contains(t, err.Error(), "position 3")
}

type byPointer struct{}

func (byPointer) isAccountEvent()      {}
func (*byPointer) EventTags() []string { return nil }
func up(typ string, schema int, to string) eventsource.Upcast {
	return eventsource.Upcast{Type: typ, Schema: schema, To: to}
}

func TestNewCodecPanicsOnContradiction(t *testing.T) {
	one := map[string]accountEvent{"d": deposited{}}
	for name, c := range map[string]struct {
		types map[string]accountEvent
		ups   []eventsource.Upcast
		says  string
	}{
		"empty name":        {types: map[string]accountEvent{"": deposited{}}, says: "no type name"},
		"name with NUL":     {types: map[string]accountEvent{"a\x00": deposited{}}, says: "no type name"},
		"nil sample":        {types: map[string]accountEvent{"d": nil}, says: "nil"},
		"two names":         {types: map[string]accountEvent{"d": deposited{}, "e": deposited{}}, says: "two names"},
		"tags of a pointer": {types: map[string]accountEvent{"p": byPointer{}}, says: "EventTags"},
		"unknown name":      {one, []eventsource.Upcast{up("x", 1, "")}, "no Go type"},
		"unknown To":        {one, []eventsource.Upcast{up("x", 1, "y")}, "no Go type"},
		"gap":               {one, []eventsource.Upcast{up("d", 1, ""), up("d", 3, "")}, "want schema 2"},
		"twice":             {one, []eventsource.Upcast{up("d", 1, ""), up("d", 1, "")}, "want schema 2"},
		"schema zero":       {one, []eventsource.Upcast{up("d", 0, "")}, "want schema 1"},
		"circle":            {one, []eventsource.Upcast{up("x", 1, "y"), up("y", 1, "x")}, "circle"},
		"renamed with type": {one, []eventsource.Upcast{up("d", 1, "e")}, "has a Go type"},
		"goes on after To":  {one, []eventsource.Upcast{up("x", 1, "d"), up("x", 2, "")}, "renamed before"},
		"upcast of no name": {one, []eventsource.Upcast{up("", 1, "d")}, "upcast of schema 1"},
	} {
		t.Run(name, func(t *testing.T) {
			text, _ := assert.Panics(t, func() { eventsource.NewCodec(c.types, c.ups...) }).(string)
			assert.Contains(t, text, "eventsource: NewCodec: ")
			assert.Contains(t, text, c.says)
		})
	}
}

// A fold decodes one event after the other into the same variable: nothing of
// one shows in the next, and none is changed later.
func TestEventsOfOneFoldShareNothing(t *testing.T) {
	type list struct {
		accountEvent
		Names []string
		Of    map[string]int
		Owner string
	}
	c := eventsource.NewCodec(map[string]accountEvent{"list": list{}})
	m := eventsource.NewMemory()
	for _, data := range []string{`{"Names":["a","b"],"Of":{"a":1},"Owner":"ann"}`, `{"Names":["c"],"Of":{"b":2}}`, `{}`} {
		_, err := m.Append(t.Context(), []eventsource.Event{{Type: "list", Data: []byte(data)}})
		require.NoError(t, err)
	}
	all, _, err := eventsource.Fold(t.Context(), m, c, eventsource.All(), eventsource.ReadOptions{}, nil,
		func(all []accountEvent, e accountEvent) []accountEvent { return append(all, e) })
	require.NoError(t, err)
	assert.Equal(t, []accountEvent{
		list{Names: []string{"a", "b"}, Of: map[string]int{"a": 1}, Owner: "ann"},
		list{Names: []string{"c"}, Of: map[string]int{"b": 2}},
		list{},
	}, all)
}

// Fold reads a Memory without copies. It comes to the same as over any other
// store, and to the same last event.
func TestFoldOfMemoryIsThatOfAnyStore(t *testing.T) {
	m := eventsource.NewMemory()
	for i := range 40 {
		e, err := accounts.Encode(deposited{i})
		require.NoError(t, err)
		e.Stream, e.Tags, e.Meta = fmt.Sprint("s", i%3), []string{"a", fmt.Sprint("b", i%2)}, map[string]string{"n": fmt.Sprint(i), "": "x"}
		if i%4 == 0 {
			e.ID, e.Meta = fmt.Sprint("id-", i), nil
		}
		_, err = m.Append(t.Context(), []eventsource.Event{e})
		require.NoError(t, err)
	}
	queries := []eventsource.Query{nil, eventsource.All(), eventsource.Stream("s1"), {{Tags: []string{"b1"}}, {Streams: []string{"s2"}}}, {{IDs: []string{"id-8"}}}}
	options := []eventsource.ReadOptions{{}, {Limit: 5}, {After: 7, UpTo: 30}, {AfterVersion: 2, UpToVersion: 4}, {AfterVersion: 2, Limit: 3}, {Limit: -1}, {Backward: true}}
	for _, q := range queries {
		for _, o := range options {
			want, wantLast, wantErr := eventsource.Fold(t.Context(), &hooked{Memory: m}, accounts, q, o, account{}, evolveAccount)
			got, last, err := eventsource.Fold(t.Context(), m, accounts, q, o, account{}, evolveAccount)
			assert.Equal(t, want, got)
			assert.Equal(t, wantLast, last)
			assert.Equal(t, fmt.Sprint(wantErr), fmt.Sprint(err))
		}
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	got, last, err := eventsource.Fold(ctx, m, accounts, eventsource.All(), eventsource.ReadOptions{}, account{}, func(a account, e accountEvent) account {
		if a.Events == 9 {
			cancel(stop)
		}
		return evolveAccount(a, e)
	})
	assert.ErrorIs(t, err, stop)
	assert.Equal(t, 10, got.Events)
	assert.Equal(t, "9", last.Meta["n"])
}

// T8: an upcast that changes the data that it is given changes no store.
func TestUpcastsGetACopy(t *testing.T) {
	c := eventsource.NewCodec(map[string]accountEvent{"account.deposited": deposited{}}, eventsource.Upcast{
		Type: "account.deposited", Schema: 1, Func: func(data []byte) ([]byte, error) {
			return append(data[:0], `{"cents":8}`...), nil
		},
	})
	m := eventsource.NewMemory()
	put(t, m, "a", deposited{7})
	before := read(t, m, eventsource.All())
	state, _, err := eventsource.Fold(t.Context(), m, c, eventsource.All(), eventsource.ReadOptions{}, account{}, evolveAccount)
	require.NoError(t, err)
	assert.Equal(t, 8, state.Balance)
	assert.Equal(t, before, read(t, m, eventsource.All()))
}
