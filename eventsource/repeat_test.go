package eventsource_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// split decides one deposit per cent, so that a command has many events.
var split = eventsource.Decider[add, accountEvent, account]{
	Evolve: evolveAccount,
	Decide: func(_ account, cmd add) (events []accountEvent, err error) {
		for range cmd {
			events = append(events, deposited{1})
		}
		return events, nil
	},
}

// T16 aside: a repeat gets the first outcome, whatever has happened since, and
// Decide is not asked again.
func TestKeyRepeatedGetsTheFirstOutcome(t *testing.T) {
	for _, scope := range []eventsource.Scope{
		{Stream: "a", Key: "k"},
		{Stream: "a", Key: "k", Within: eventsource.All()},
		{Key: "k", Within: eventsource.All()},
		{Stream: "out", Key: "k", Within: eventsource.Stream("in")}, // its events are not in its history
	} {
		for _, n := range []add{1, 3, 64, 65, 200} {
			t.Run(fmt.Sprintf("%v, %d events", scope, n), func(t *testing.T) {
				m := eventsource.NewMemory()
				put(t, m, "a", deposited{100})
				put(t, m, "in", deposited{1000})
				first, err := split.Handle(t.Context(), m, accounts, scope, n)
				require.NoError(t, err)
				assert.False(t, first.Duplicate)
				put(t, m, "a", withdrawn{7})
				put(t, m, "in", withdrawn{7})
				asked := split
				asked.Decide = func(account, add) ([]accountEvent, error) {
					t.Error("Decide is called")
					return nil, nil
				}
				again, err := asked.Handle(t.Context(), m, accounts, scope, n)
				require.NoError(t, err)
				assert.True(t, again.Duplicate)
				again.Duplicate = false
				assert.Equal(t, first, again)
			})
		}
	}
}

func TestKeysAreOfAStream(t *testing.T) {
	m := eventsource.NewMemory()
	for _, in := range []eventsource.Scope{{Stream: "a", Key: "k"}, {Stream: "b", Key: "k"}, {Stream: "a", Key: "l"}} {
		out, err := split.Handle(t.Context(), m, accounts, in, 2)
		require.NoError(t, err)
		assert.False(t, out.Duplicate)
	}
}

// Golden: the ids of a keyed command never change.
func TestKeyedIDsAreFrozen(t *testing.T) {
	m := eventsource.NewMemory()
	_, err := split.Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "account-7", Key: "request-1"}, 2)
	require.NoError(t, err)
	var ids []string
	for _, r := range read(t, m, eventsource.All()) {
		ids = append(ids, r.ID)
	}
	assert.Equal(t, []string{"14751cbe-0b1f-8ed6-92cb-93cb17e6fd1f", "6c344ac5-5f46-8670-8eb8-920e7c6f91a8"}, ids)
}

func TestDecisionWithoutEventsIsNotRemembered(t *testing.T) {
	m := eventsource.NewMemory()
	in := eventsource.Scope{Stream: "a", Key: "k"}
	_, err := split.Handle(t.Context(), m, accounts, in, 0)
	require.NoError(t, err)
	out, err := split.Handle(t.Context(), m, accounts, in, 1)
	require.NoError(t, err)
	assert.False(t, out.Duplicate)
}

// A twin is faster between the read and the append, and decides on as many,
// fewer or more events.
func TestTwinThatIsFaster(t *testing.T) {
	for _, within := range []eventsource.Query{nil, eventsource.All()} {
		for _, n := range []add{1, 2, 3} {
			m := &hooked{Memory: eventsource.NewMemory()}
			in := eventsource.Scope{Stream: "a", Key: "k", Within: within}
			m.onAppend = func([]eventsource.Event, []eventsource.Condition) (error, bool) {
				m.onAppend = nil
				_, err := split.Handle(t.Context(), m.Memory, accounts, in, n)
				require.NoError(t, err)
				return nil, false
			}
			out, err := split.Handle(t.Context(), m, accounts, in, 2)
			require.NoError(t, err)
			assert.True(t, out.Duplicate)
			assert.Equal(t, int(n), len(out.Events))
			assert.Equal(t, int(n), out.State.Balance)
			assert.Equal(t, eventsource.Result{First: 1, Last: eventsource.Position(n), Version: uint64(n), Duplicate: true}, out.Result)
		}
	}
}

// The id of the first event is there, but as an event of another type.
func TestKeyThatMeansSomethingElseIsRefused(t *testing.T) {
	m := &hooked{Memory: eventsource.NewMemory()}
	m.onAppend = func(events []eventsource.Event, _ []eventsource.Condition) (error, bool) {
		m.onAppend = nil
		return fmt.Errorf("%w: told so", eventsource.ErrInvalid), true
	}
	_, err := split.Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "a", Key: "k"}, 2)
	assert.ErrorIs(t, err, eventsource.ErrInvalid)
}

func TestUncertainIsRetriedOnlyWithKey(t *testing.T) {
	for _, written := range []bool{true, false} {
		for _, key := range []string{"", "k"} {
			synctest.Test(t, func(t *testing.T) {
				m := &hooked{Memory: eventsource.NewMemory()}
				m.onAppend = func(events []eventsource.Event, conds []eventsource.Condition) (error, bool) {
					m.onAppend = nil
					if written {
						_, err := m.Memory.Append(t.Context(), events, conds...)
						require.NoError(t, err)
					}
					return eventsource.ErrUncertain, true
				}
				out, err := split.Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "a", Key: key}, 2)
				if key == "" {
					assert.True(t, errors.Is(err, eventsource.ErrUncertain))
					return
				}
				require.NoError(t, err)
				assert.Equal(t, 2, out.State.Balance)
				assert.Equal(t, written, out.Duplicate)
				assert.Equal(t, 2, len(read(t, m, eventsource.All())), "once")
			})
		}
	}
}
