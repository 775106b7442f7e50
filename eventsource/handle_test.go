package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func scope(stream string) eventsource.Scope { return eventsource.Scope{Stream: stream} }

func TestHandleFoldsDecidesAndAppends(t *testing.T) {
	m := eventsource.NewMemory()
	put(t, m, "a", opened{"ann"}, deposited{1000})
	in := scope("a")
	in.Meta = map[string]string{"actor": "ann"}
	out, err := adder.Handle(t.Context(), m, accounts, in, -500)
	require.NoError(t, err)
	assert.Equal(t, eventsource.Outcome[accountEvent, account]{
		Result: eventsource.Result{First: 3, Last: 3, Version: 3}, State: account{"ann", 500, 3},
		Events: []accountEvent{withdrawn{500}}, Attempts: 1,
	}, out)
	assert.Equal(t, in.Meta, read(t, m, eventsource.All())[2].Meta)
}

func TestDecideErrorComesBackAsItIs(t *testing.T) {
	m := eventsource.NewMemory()
	put(t, m, "a", deposited{10})
	out, err := adder.Handle(t.Context(), m, accounts, scope("a"), -11)
	assert.Same(t, errFunds, err)
	assert.Equal(t, 10, out.State.Balance)
	assert.Equal(t, 1, out.Attempts)
	assert.Equal(t, 1, len(read(t, m, eventsource.All())))
}

func TestHandleWithoutEventsAppendsNothing(t *testing.T) {
	m := &hooked{Memory: eventsource.NewMemory()}
	put(t, m, "a", deposited{10})
	appends := 0
	m.onAppend = func([]eventsource.Event, []eventsource.Condition) (error, bool) { appends++; return nil, false }
	out, err := adder.Handle(t.Context(), m, accounts, scope("a"), 0)
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 1, Last: 1, Version: 1}, out.Result)
	assert.Equal(t, 0, appends)

	// With a condition there is something to check, and to track.
	in := scope("a")
	in.Conditions = []eventsource.Condition{eventsource.Track("orders", 7)}
	_, err = adder.Handle(t.Context(), m, accounts, in, 0)
	require.NoError(t, err)
	assert.Equal(t, 1, appends)
	out, err = adder.Handle(t.Context(), m, accounts, in, 5)
	assert.ErrorIs(t, err, eventsource.ErrTracked)
	assert.Equal(t, 1, out.Attempts, "final")
}

func TestHandleRefusesWhatCannotWork(t *testing.T) {
	m := eventsource.NewMemory()
	plain := struct{ eventsource.Store }{m} // no Checkpoints
	with := func(change func(*eventsource.Decider[add, accountEvent, account])) eventsource.Decider[add, accountEvent, account] {
		d := adder
		change(&d)
		return d
	}
	every := with(func(d *eventsource.Decider[add, accountEvent, account]) { d.SnapshotEvery = 1 })
	for name, call := range map[string]func() error{
		"no history": func() error { _, err := adder.Handle(t.Context(), m, accounts, scope(""), 1); return err },
		"empty Within": func() error {
			_, err := adder.Handle(t.Context(), m, accounts, eventsource.Scope{Within: eventsource.Query{}}, 1)
			return err
		},
		"NUL":           func() error { _, err := adder.Handle(t.Context(), m, accounts, scope("\x00"), 1); return err },
		"no codec":      func() error { _, err := adder.Handle(t.Context(), m, nil, scope("a"), 1); return err },
		"no checkpoint": func() error { _, err := every.Handle(t.Context(), plain, accounts, scope("a"), 1); return err },
		"no functions": func() error {
			_, err := eventsource.Decider[add, accountEvent, account]{}.Handle(t.Context(), m, accounts, scope("a"), 1)
			return err
		},
		"negative": func() error {
			_, err := with(func(d *eventsource.Decider[add, accountEvent, account]) { d.SnapshotEvery = -1 }).Handle(t.Context(), m, accounts, scope("a"), 1)
			return err
		},
		"slash": func() error {
			_, err := with(func(d *eventsource.Decider[add, accountEvent, account]) { d.Version = "1/2" }).Handle(t.Context(), m, accounts, scope("a"), 1)
			return err
		},
		"backward": func() error {
			_, _, err := eventsource.Fold(t.Context(), m, accounts, eventsource.All(), eventsource.ReadOptions{Backward: true}, account{}, evolveAccount)
			return err
		},
	} {
		assert.ErrorIs(t, call(), eventsource.ErrInvalid, name)
	}
	_, err := every.Handle(t.Context(), struct {
		eventsource.Store
		eventsource.Checkpoints
	}{plain, m}, accounts, scope("a"), 1)
	assert.NoError(t, err, "two in one struct")
}

// Ten writers on one stream: every deposit counts, none is lost.
func TestConcurrentHandlesAllCount(t *testing.T) {
	m := eventsource.NewMemory()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			in := scope("a")
			in.MaxAttempts = 1000
			for range 10 {
				_, err := adder.Handle(t.Context(), m, accounts, in, 1)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	state, _, err := eventsource.Fold(t.Context(), m, accounts, eventsource.Stream("a"), eventsource.ReadOptions{}, account{}, evolveAccount)
	require.NoError(t, err)
	assert.Equal(t, account{Balance: 100, Events: 100}, state)
}

func TestMaxAttemptsEndsWithTheConflict(t *testing.T) {
	for set, want := range map[int]int{0: 10, 3: 3, -1: 1} {
		synctest.Test(t, func(t *testing.T) {
			m := &hooked{Memory: eventsource.NewMemory()}
			m.onAppend = func([]eventsource.Event, []eventsource.Condition) (error, bool) {
				put(t, m.Memory, "a", deposited{1}) // somebody is always faster
				return nil, false
			}
			in := scope("a")
			in.MaxAttempts = set
			in.Conditions = []eventsource.Condition{eventsource.Track("x", 1)}
			out, err := adder.Handle(t.Context(), m, accounts, in, 5)
			conflict, ok := errors.AsType[*eventsource.ConflictError](err)
			require.True(t, ok, err)
			assert.Equal(t, 0, conflict.Index)
			assert.Equal(t, uint64(want), conflict.Version)
			assert.Equal(t, want, out.Attempts)
		})
	}
}

func TestConditionsOfTheCallerAreFinal(t *testing.T) {
	m := eventsource.NewMemory()
	put(t, m, "a", deposited{1}, deposited{1})
	for _, c := range []struct {
		name  string
		conds []eventsource.Condition
		index int // of the one that fails, -1 none
	}{
		{"If-Match holds", []eventsource.Condition{eventsource.AtVersion("a", 2)}, -1},
		{"If-Match fails", []eventsource.Condition{eventsource.Exists("a"), eventsource.AtVersion("a", 2)}, 2},
		{"other stream", []eventsource.Condition{eventsource.Exists("a"), eventsource.Exists("b")}, 2},
		{"NoStream of a stream", []eventsource.Condition{eventsource.NoStream("a")}, 1},
	} {
		in := scope("a")
		in.Conditions = c.conds
		out, err := adder.Handle(t.Context(), m, accounts, in, 1)
		assert.Equal(t, 1, out.Attempts, c.name)
		if c.index < 0 {
			require.NoError(t, err, c.name)
			continue
		}
		conflict, ok := errors.AsType[*eventsource.ConflictError](err)
		require.True(t, ok, err)
		assert.Equal(t, c.index, conflict.Index, c.name)
		assert.Equal(t, c.conds[c.index-1], conflict.Condition, c.name)
	}
	assert.Equal(t, 3, len(read(t, m, eventsource.All())))
}

func TestCancelWhileARetryIsDue(t *testing.T) {
	m := &hooked{Memory: eventsource.NewMemory()}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	m.onAppend = func([]eventsource.Event, []eventsource.Condition) (error, bool) {
		put(t, m.Memory, "a", deposited{1})
		cancel(stop)
		return &eventsource.ConflictError{Condition: eventsource.AtVersion("a", 0), Version: 1}, true
	}
	_, err := adder.Handle(ctx, m, accounts, scope("a"), 5)
	assert.ErrorIs(t, err, stop)
	assert.ErrorIs(t, err, eventsource.ErrConflict)
}

// An event that Evolve cannot take is not written, or it would be there for ever.
func TestPanicOfEvolveWritesNothing(t *testing.T) {
	m := eventsource.NewMemory()
	d := adder
	d.Evolve = func(account, accountEvent) account { panic("no") }
	assert.Panics(t, func() { _, _ = d.Handle(t.Context(), m, accounts, scope("a"), 1) })
	assert.Equal(t, 0, len(read(t, m, eventsource.All())))
}

// emails: one address, one account, whatever the stream.
var emails = eventsource.Decider[string, accountEvent, int]{
	Evolve: func(n int, _ accountEvent) int { return n + 1 },
	Decide: func(n int, owner string) ([]accountEvent, error) {
		if n > 0 {
			return nil, errFunds
		}
		return []accountEvent{opened{owner}}, nil
	},
}

func taken(owner string) eventsource.Query {
	return eventsource.Query{{Types: []string{"account.opened"}, Tags: []string{"owner:" + owner}}}
}

func TestWithinIsABoundaryAcrossStreams(t *testing.T) {
	m := eventsource.NewMemory()
	won := make(chan int, 10)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			in := eventsource.Scope{Stream: fmt.Sprint("account-", i), Within: taken("ann")}
			if _, err := emails.Handle(t.Context(), m, accounts, in, "ann"); err == nil {
				won <- i
			} else {
				assert.ErrorIs(t, err, errFunds)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 1, len(won))
	out, err := emails.Handle(t.Context(), m, accounts, eventsource.Scope{Within: taken("bob")}, "bob")
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 2, Last: 2}, out.Result, "in no stream")
}

// T16: a slow transaction has drawn position 2 and commits after position 3. A
// decision on what can be read, with the last position of it as the mark, would
// not see it: neither before, nor as a conflict.
func TestWithinSeesLateCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLateStore()
		event := eventsource.Event{Type: "account.deposited", Data: []byte(`{"cents":1}`)}
		_, err := s.Append(t.Context(), []eventsource.Event{event})
		require.NoError(t, err)
		end := s.hold(event)
		_, err = s.Append(t.Context(), []eventsource.Event{event})
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Hour)
			end(true)
		}()
		start := time.Now()
		out, err := adder.Handle(t.Context(), s, accounts, eventsource.Scope{Within: eventsource.All()}, 5)
		require.NoError(t, err)
		assert.Equal(t, 4, out.State.Events, "all three deposits were seen")
		assert.Equal(t, eventsource.Position(4), out.First)
		assert.True(t, time.Since(start) >= time.Hour)
		assert.True(t, out.Attempts <= 3, "it waits for Head, and does not spin: %d", out.Attempts)
	})
}

// Without waiting for Head the retries would be used up before it moves: the
// conflict stands above what may be read.
func TestConflictAboveHeadIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLateStore()
		event := eventsource.Event{Type: "account.deposited", Data: []byte(`{"cents":1}`)}
		slow := eventsource.Event{Type: "account.opened", Tags: []string{"elsewhere"}}
		end := s.hold(slow)
		_, err := s.Append(t.Context(), []eventsource.Event{event})
		require.NoError(t, err)
		time.AfterFunc(time.Hour, func() { end(false) })
		in := eventsource.Scope{Within: eventsource.Query{{Types: []string{"account.deposited"}}}, MaxAttempts: 2}
		out, err := adder.Handle(t.Context(), s, accounts, in, 5)
		require.NoError(t, err)
		assert.Equal(t, 2, out.Attempts)
	})
}

// A caller whose own deposit is committed, but above a Head that some open
// transaction holds back, is not told that there is no money.
func TestRefusalSeesWhatIsCommitted(t *testing.T) {
	for _, cmd := range []add{-2, 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newLateStore()
			event := eventsource.Event{Type: "account.deposited", Data: []byte(`{"cents":1}`)}
			_, err := s.Append(t.Context(), []eventsource.Event{event})
			require.NoError(t, err)
			end := s.hold(eventsource.Event{Type: "elsewhere"})
			_, err = s.Append(t.Context(), []eventsource.Event{event})
			require.NoError(t, err)
			in := eventsource.Scope{Within: eventsource.Query{{Types: accounts.Types()}}}

			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errStopped)
			defer cancel()
			_, err = adder.Handle(ctx, s, accounts, in, cmd)
			assert.ErrorIs(t, err, errStopped)

			time.AfterFunc(time.Hour, func() { end(true) })
			out, err := adder.Handle(t.Context(), s, accounts, in, cmd)
			require.NoError(t, err)
			assert.Equal(t, 2+int(cmd), out.State.Balance)
			assert.Equal(t, 2, out.Attempts)
		})
	}
}
