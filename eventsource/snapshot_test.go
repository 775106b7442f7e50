package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// snapped is adder with a snapshot each n events.
func snapped(n int) eventsource.Decider[add, accountEvent, account] {
	d := adder
	d.Version, d.SnapshotEvery = "v1", n
	return d
}

// counted tells how many events a call has folded.
func counted(d eventsource.Decider[add, accountEvent, account], n *int) eventsource.Decider[add, accountEvent, account] {
	evolve := d.Evolve
	d.Evolve = func(a account, e accountEvent) account { *n++; return evolve(a, e) }
	return d
}

const snapName = "snapshot/v1/a"

func TestSnapshotsSaveReading(t *testing.T) {
	m := eventsource.NewMemory()
	folded := 0
	d := counted(snapped(10), &folded)
	for i := range 100 {
		folded = 0
		out, err := d.Handle(t.Context(), m, accounts, scope("a"), 1)
		require.NoError(t, err)
		require.NoError(t, out.SnapshotErr)
		assert.Equal(t, account{Balance: i + 1, Events: i + 1}, out.State)
		assert.True(t, folded <= 10, folded)
	}
	cp, err := m.LoadCheckpoint(t.Context(), snapName)
	require.NoError(t, err)
	assert.Equal(t, eventsource.Position(100), cp.Position)
}

// T27: the stored form, which later versions of this package must read.
func TestSnapshotFormIsFrozen(t *testing.T) {
	m := eventsource.NewMemory()
	_, err := m.Append(t.Context(), []eventsource.Event{{ID: "the-first", Stream: "a", Type: "account.deposited", Data: []byte(`{"cents":7}`)}})
	require.NoError(t, err)
	stored := eventsource.Checkpoint{Position: 1, Epoch: 4, Data: []byte(
		`{"type":"eventsource_test.account","version":1,"id":"the-first","state":{"Owner":"from the snapshot","Balance":7,"Events":1}}`)}
	require.NoError(t, m.SaveCheckpoint(t.Context(), snapName, eventsource.Checkpoint{}, stored, nil))
	out, err := snapped(1).Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "a", Key: "k"}, 1)
	require.NoError(t, err)
	assert.Equal(t, account{"from the snapshot", 8, 2}, out.State)
	cp, err := m.LoadCheckpoint(t.Context(), snapName)
	require.NoError(t, err)
	id := read(t, m, eventsource.All())[1].ID
	assert.Equal(t, `{"type":"eventsource_test.account","version":2,"id":"`+id+`","state":{"Owner":"from the snapshot","Balance":8,"Events":2}}`, string(cp.Data))
	assert.Equal(t, uint64(5), cp.Epoch)
}

// T26: whatever stands in the snapshot's place, the state is that of a full
// fold, and a good snapshot replaces it.
func TestSnapshotThatDoesNotFit(t *testing.T) {
	good := func(t *testing.T, events ...accountEvent) eventsource.Checkpoint {
		m := eventsource.NewMemory()
		put(t, m, "a", events...)
		_, err := snapped(1).Handle(t.Context(), m, accounts, scope("a"), 900)
		require.NoError(t, err)
		cp, err := m.LoadCheckpoint(t.Context(), snapName)
		require.NoError(t, err)
		return cp
	}
	cut := func(cp eventsource.Checkpoint, n int) eventsource.Checkpoint {
		cp.Data = cp.Data[:n]
		return cp
	}
	wiped := good(t, deposited{1}, deposited{1})
	for name, cp := range map[string]eventsource.Checkpoint{
		"of a wiped store, same length": wiped,
		"ahead of the stream":           good(t, deposited{1}, deposited{1}, deposited{1}, deposited{1}),
		"truncated":                     cut(wiped, len(wiped.Data)-20),
		"truncated in the state":        cut(wiped, 60),
		"empty":                         {Epoch: 1},
		"not JSON":                      {Position: 3, Epoch: 1, Data: []byte("\x00")},
		"of another type":               {Position: 3, Epoch: 1, Data: []byte(`{"type":"int","version":2,"id":"x","state":5}`)},
		"without a version":             {Position: 3, Epoch: 1, Data: []byte(`{"type":"eventsource_test.account","version":0,"id":"","state":{}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			m := eventsource.NewMemory()
			put(t, m, "a", opened{"ann"}, deposited{10}, deposited{20})
			require.NoError(t, m.SaveCheckpoint(t.Context(), snapName, eventsource.Checkpoint{}, cp, nil))
			d := snapped(100) // not due, but for what is to be replaced
			for i := range 3 {
				out, err := d.Handle(t.Context(), m, accounts, scope("a"), 5)
				require.NoError(t, err)
				require.NoError(t, out.SnapshotErr)
				assert.Equal(t, account{"ann", 35 + 5*i, 4 + i}, out.State)
				stored, err := m.LoadCheckpoint(t.Context(), snapName)
				require.NoError(t, err)
				assert.Equal(t, eventsource.Position(4), stored.Position, "replaced at once")
			}
		})
	}
}

// T26: a new Version of the decider has snapshots of its own.
func TestSnapshotOfAnotherVersion(t *testing.T) {
	m := eventsource.NewMemory()
	_, err := snapped(1).Handle(t.Context(), m, accounts, scope("a"), 5)
	require.NoError(t, err)
	d := snapped(1)
	d.Version = "v2"
	d.Evolve = func(a account, e accountEvent) account {
		a = evolveAccount(a, e)
		a.Owner = "v2"
		return a
	}
	out, err := d.Handle(t.Context(), m, accounts, scope("a"), 5)
	require.NoError(t, err)
	assert.Equal(t, account{"v2", 10, 2}, out.State)
	for _, name := range []string{snapName, "snapshot/v2/a"} {
		cp, err := m.LoadCheckpoint(t.Context(), name)
		require.NoError(t, err)
		assert.NotEqual(t, 0, len(cp.Data), name)
	}
}

// T26: two deciders that share a version and a stream do not share snapshots:
// the same JSON means something else to the other.
func TestSnapshotOfAnotherState(t *testing.T) {
	type largest struct{ Balance int }
	other := eventsource.Decider[add, accountEvent, largest]{
		Version: "v1", SnapshotEvery: 1,
		Evolve: func(s largest, e accountEvent) largest {
			d, _ := e.(deposited)
			return largest{max(s.Balance, d.Cents)}
		},
		Decide: func(largest, add) ([]accountEvent, error) { return []accountEvent{deposited{1}}, nil },
	}
	m := eventsource.NewMemory()
	for range 2 {
		_, err := snapped(1).Handle(t.Context(), m, accounts, scope("a"), 5)
		require.NoError(t, err)
		out, err := other.Handle(t.Context(), m, accounts, scope("a"), 0)
		require.NoError(t, err)
		assert.Equal(t, largest{5}, out.State)
	}
}

// A key that is older than the snapshot is found by its id.
func TestRepeatOlderThanTheSnapshot(t *testing.T) {
	m := eventsource.NewMemory()
	in := eventsource.Scope{Stream: "a", Key: "k"}
	d := snapped(1)
	first, err := d.Handle(t.Context(), m, accounts, in, 5)
	require.NoError(t, err)
	for range 2 { // the snapshot ends with the event of the key itself, then after it
		again, err := d.Handle(t.Context(), m, accounts, in, 5)
		require.NoError(t, err)
		assert.True(t, again.Duplicate)
		assert.Equal(t, first.State, again.State)
		_, err = d.Handle(t.Context(), m, accounts, scope("a"), 1)
		require.NoError(t, err)
	}
}

func TestCommandSucceedsWithoutItsSnapshot(t *testing.T) {
	down := errors.New("down")
	for name, m := range map[string]*hooked{
		"load fails": {onLoad: func(string) error { return down }},
		"save fails": {onSave: func(string) error { return down }},
	} {
		m.Memory = eventsource.NewMemory()
		put(t, m, "a", deposited{10})
		out, err := snapped(1).Handle(t.Context(), m, accounts, scope("a"), 5)
		require.NoError(t, err, name)
		assert.Equal(t, 15, out.State.Balance, name)
		assert.ErrorIs(t, out.SnapshotErr, down, name)
	}
}

func TestSnapshotThatSomebodyElseHasWritten(t *testing.T) {
	m := &hooked{Memory: eventsource.NewMemory()}
	m.onSave = func(name string) error {
		return m.Memory.SaveCheckpoint(context.Background(), name, eventsource.Checkpoint{}, eventsource.Checkpoint{Position: 1, Epoch: 1}, nil)
	}
	out, err := snapped(1).Handle(t.Context(), m, accounts, scope("a"), 5)
	require.NoError(t, err)
	assert.NoError(t, out.SnapshotErr)
}

// A state with a part that JSON leaves out would come back as less.
func TestStateThatJSONLosesIsNotStored(t *testing.T) {
	type hidden struct{ balance int }
	d := eventsource.Decider[add, accountEvent, hidden]{
		Evolve:        func(h hidden, _ accountEvent) hidden { h.balance++; return h },
		Decide:        func(hidden, add) ([]accountEvent, error) { return []accountEvent{deposited{1}}, nil },
		SnapshotEvery: 1,
	}
	m := eventsource.NewMemory()
	for i := range 3 {
		out, err := d.Handle(t.Context(), m, accounts, scope("a"), 1)
		require.NoError(t, err)
		assert.ErrorIs(t, out.SnapshotErr, eventsource.ErrInvalid)
		assert.Equal(t, fmt.Sprint(hidden{i + 1}), fmt.Sprint(out.State))
	}
}

func TestWithinTakesNoSnapshot(t *testing.T) {
	m := eventsource.NewMemory()
	out, err := snapped(1).Handle(t.Context(), m, accounts, eventsource.Scope{Stream: "a", Within: eventsource.All()}, 5)
	require.NoError(t, err)
	require.NoError(t, out.SnapshotErr)
	cp, err := m.LoadCheckpoint(t.Context(), snapName)
	require.NoError(t, err)
	assert.Equal(t, eventsource.Checkpoint{}, cp)
}

// T26: no bytes in a snapshot's place change what a command decides on.
func FuzzSnapshotBytes(f *testing.F) {
	f.Add(uint64(3), []byte(`{"type":"eventsource_test.account","version":2,"id":"x","state":{"Balance":5}}`))
	f.Add(uint64(1), []byte(`{"type":"eventsource_test.account","version":18446744073709551615,"id":"","state":null}`))
	f.Add(uint64(0), []byte(`[`))
	f.Fuzz(func(t *testing.T, position uint64, data []byte) {
		m := eventsource.NewMemory()
		put(t, m, "a", opened{"ann"}, deposited{10}, deposited{20})
		cp := eventsource.Checkpoint{Position: eventsource.Position(position), Epoch: 1, Data: data}
		if err := m.SaveCheckpoint(t.Context(), snapName, eventsource.Checkpoint{}, cp, nil); err != nil {
			return // more than a store keeps
		}
		out, err := snapped(2).Handle(t.Context(), m, accounts, scope("a"), 5)
		require.NoError(t, err)
		assert.Equal(t, account{"ann", 35, 4}, out.State)
	})
}
