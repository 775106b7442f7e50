package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
)

// Setup may run anywhere, at any time, often and at once.
func TestSetupIsIdempotentAndSafeTogether(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		cfg := eventsql.Config{Prefix: "a_"}
		_, err := eventsql.Open(t.Context(), db, cfg)
		require.ErrorContains(t, err, "Setup")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { assert.NoError(t, eventsql.Setup(context.Background(), db, cfg)) })
		}
		wg.Wait()
		s := openStore(t, db, cfg)
		appended(t, s, one("a"))
		require.NoError(t, eventsql.Setup(t.Context(), db, cfg))
		assert.Len(t, positions(t, s), 1)
		assert.Empty(t, positions(t, newStore(t, db, eventsql.Config{Prefix: "b_"})), "prefixes share nothing")

		_, err = db.ExecContext(t.Context(), "UPDATE a_schema SET version = 99")
		require.NoError(t, err)
		_, err = eventsql.Open(t.Context(), db, cfg)
		require.ErrorContains(t, err, "deploy the newer one")
		require.ErrorContains(t, eventsql.Setup(t.Context(), db, cfg), "deploy the newer one")
	})
}

func TestBadSettingsAreNamed(t *testing.T) {
	db := openDB(t, "sqlite", ":memory:")
	for field, cfg := range map[string]eventsql.Config{
		"Prefix": {Prefix: "drop table"}, "Poll": {Poll: -1}, "GroupCommit": {GroupCommit: -1},
	} {
		err := eventsql.Setup(t.Context(), db, cfg)
		require.ErrorIs(t, err, eventsource.ErrInvalid)
		require.ErrorContains(t, err, field)
	}
}

// While somebody waits and nothing happens, a Store asks at most about ten
// times a second; while nobody does, never.
func TestAnIdleStoreIsQuiet(t *testing.T) {
	onEachAtOnce(t, func(t *testing.T, open func() *sql.DB) {
		s := newStore(t, open(), eventsql.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.ErrorIs(t, s.Wait(ctx, 0), context.DeadlineExceeded) })
		}
		wg.Wait()
		polls := s.Stats().HeadPolls
		assert.LessOrEqual(t, polls, uint64(18), "7 in the first 128 ms, then 10 a second")
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		assert.LessOrEqual(t, s.Stats().HeadPolls, polls+1, "nobody waits")
	})
}

// Waiters hear of appends of this Store at once, of others' within Poll, and of
// Close.
func TestWaitersAreWoken(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		cfg := eventsql.Config{Prefix: newStorePrefix(), Poll: time.Hour}
		s, other := newStore(t, open(), cfg), newStore(t, open(), cfg)
		woken := make(chan error, 10)
		wait := func(after eventsource.Position) { go func() { woken <- s.Wait(context.Background(), after) }() }
		wait(0)
		last := appended(t, s, one("a")).Last
		require.NoError(t, <-woken)
		wait(last)
		appended(t, other, one("a"))
		s.Notify()
		require.NoError(t, <-woken)
		for range 3 {
			wait(1 << 40)
		}
		require.NoError(t, s.Close())
		for range 3 {
			require.ErrorIs(t, <-woken, eventsource.ErrClosed)
		}
		_, err := s.Append(t.Context(), one("a"))
		require.ErrorIs(t, err, eventsource.ErrClosed)
		_, err = s.Head(t.Context())
		require.ErrorIs(t, err, eventsource.ErrClosed)
		for _, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{}) {
			require.ErrorIs(t, err, eventsource.ErrClosed)
		}
		assert.Len(t, positions(t, other), 2)
	})
}

// A long read shows one instant: not what is appended while it runs, even in
// the middle of the log.
func TestALongReadIsOfOneInstant(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{})
		full := func(n int) (events []eventsource.Event) {
			for i := range n {
				events = append(events, eventsource.Event{Stream: fmt.Sprint("s", i%7), Type: "t", Tags: []string{"g"}})
			}
			return events
		}
		appended(t, s, full(700))
		var slow *sql.Tx
		if s.Stats().Dialect == "postgres" {
			slow = begin(t, db)
			_, err := s.AppendTx(t.Context(), slow, one("slow"))
			require.NoError(t, err)
		}
		appended(t, s, full(900))
		for _, backward := range []bool{false, true} {
			n := 0
			want := len(positions(t, s))
			for _, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{Backward: backward}) {
				require.NoError(t, err)
				if n++; n == 10 {
					appended(t, s, one("late"))
					if slow != nil {
						require.NoError(t, slow.Commit())
						slow = nil
					}
				}
			}
			assert.Equal(t, want, n, "backward %v", backward)
		}
		q := eventsource.Query{{Tags: []string{"g"}, Streams: []string{"s1", "s2"}}, {Types: []string{"t"}, Streams: []string{"s3"}}}
		n := 0
		for e, err := range s.Read(t.Context(), q, eventsource.ReadOptions{}) {
			require.NoError(t, err)
			require.True(t, q.Match(e.Event))
			n++
		}
		assert.Equal(t, 3*(100+129), n)
	})
}

// Where nothing is final yet, everything is read by the list.
func TestALongReadBelowNoHead(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{})
	tx := begin(t, db)
	_, err := s.AppendTx(t.Context(), tx, one("slow"))
	require.NoError(t, err)
	for range 3 {
		appended(t, s, slices.Repeat(one("a"), 300))
	}
	require.Zero(t, head(t, s))
	for _, backward := range []bool{false, true} {
		var seen []eventsource.Position
		for e, err := range s.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{Backward: backward}) {
			require.NoError(t, err)
			seen = append(seen, e.Position)
			if len(seen) == 500 {
				appended(t, s, one("late"))
				_ = tx.Commit()
			}
		}
		if backward {
			slices.Reverse(seen)
		}
		require.True(t, slices.IsSorted(seen))
		want := 900
		if backward { // the second time
			want = 902
		}
		require.Len(t, seen, want)
	}
}
