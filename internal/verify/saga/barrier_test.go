package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
)

// onEach runs a test on each kind of database; writers begin their transactions in
// a way that lets others wait.
func onEach(t *testing.T, f func(t *testing.T, db *sql.DB)) {
	t.Run("SQLite", func(t *testing.T) {
		f(t, openDB(t, "sqlite", sqliteDSN(t.TempDir())+"&_txlock=immediate"))
	})
	t.Run("Postgres", func(t *testing.T) { f(t, openDB(t, "pgx", pg.Database(t))) })
}

func inTx(t *testing.T, db *sql.DB, commit bool, f func(g *barrier.Guard, tx *sql.Tx) error) error {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	err = f(barrier.In(tx), tx)
	if commit {
		require.NoError(t, tx.Commit())
	}
	return err
}

func payment(saga1 string, undo bool) saga.Call {
	return saga.Call{Saga: saga1, Step: "pay", Undo: undo, Attempt: 1}
}

// T20: every order of an action, its undo and their duplicates, each committed.
func TestBarrierAllOrders(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		require.NoError(t, barrier.Setup(t.Context(), db))
		require.NoError(t, barrier.Setup(t.Context(), db))
		for _, c := range []struct {
			order, answers string
			calls          int
		}{
			{"d", "1", 1},
			{"dd", "1 1", 1},
			{"du", "1 2", 2},
			{"dudu", "1 2 1 2", 2},
			{"u", "0", 0},
			{"uu", "0 0", 0},
			{"ud", "0 late", 0},
			{"uudd", "0 0 late late", 0},
		} {
			calls, got := 0, ""
			for _, x := range c.order {
				var v int
				err := inTx(t, db, true, func(g *barrier.Guard, _ *sql.Tx) (err error) {
					v, err = barrier.Do(t.Context(), g, payment(c.order, x == 'u'), func(context.Context) (int, error) {
						calls++
						return calls, nil
					})
					return err
				})
				if errors.Is(err, barrier.ErrLate) {
					got += " late"
					continue
				}
				require.NoError(t, err)
				got += fmt.Sprint(" ", v)
			}
			assert.Equal(t, " "+c.answers, got, c.order)
			assert.Equal(t, c.calls, calls, c.order)
		}
		n, err := barrier.Purge(t.Context(), db, time.Hour, 100)
		require.NoError(t, err)
		assert.Zero(t, n)
		n, err = barrier.Purge(t.Context(), db, 0, 3)
		require.NoError(t, err)
		assert.Equal(t, 3, n)
	})
}

// T20: a caller that commits although fn failed leaves no trace of the call, and one
// that rolls back leaves none of an effect.
func TestBarrierFailureLeavesNoTrace(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		require.NoError(t, barrier.Setup(t.Context(), db))
		boom := errors.New("boom")
		for _, undo := range []bool{false, true} {
			for _, commit := range []bool{true, false} {
				err := inTx(t, db, commit, func(g *barrier.Guard, _ *sql.Tx) error {
					return barrier.Run(t.Context(), g, payment("s", undo), func(context.Context) error { return boom })
				})
				require.ErrorIs(t, err, boom)
			}
			ran := false
			require.NoError(t, inTx(t, db, true, func(g *barrier.Guard, _ *sql.Tx) error {
				return barrier.Run(t.Context(), g, payment("s", undo), func(context.Context) error { ran = true; return nil })
			}))
			assert.True(t, ran)
		}
	})
}

// T20: in two open transactions the second waits for the first, and then sees how
// that one ended.
func TestBarrierTwoOpenTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		require.NoError(t, barrier.Setup(t.Context(), db))
		for i, c := range []struct {
			first, second bool // undo
			commits       bool // the first
			runs          bool // the second's fn
			late          bool
		}{
			{false, true, true, true, false},   // the action took effect: undone
			{false, true, false, false, false}, // it did not: nothing to undo
			{true, false, true, false, true},   // the undo was there first
			{true, false, false, true, false},
			{false, false, true, false, false}, // duplicates
			{false, false, false, true, false},
		} {
			id := fmt.Sprint("s", i)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, barrier.Run(t.Context(), barrier.In(tx), payment(id, c.first), func(context.Context) error { return nil }))
			ran, begun, done := false, make(chan struct{}), make(chan error, 1)
			go func() {
				close(begun)
				done <- inTx(t, db, true, func(g *barrier.Guard, _ *sql.Tx) error {
					return barrier.Run(t.Context(), g, payment(id, c.second), func(context.Context) error { ran = true; return nil })
				})
			}()
			<-begun
			if c.commits {
				require.NoError(t, tx.Commit())
			} else {
				require.NoError(t, tx.Rollback())
			}
			err = <-done
			assert.Equal(t, c.late, errors.Is(err, barrier.ErrLate), "%+v: %v", c, err)
			assert.Equal(t, c.runs, ran, "%+v", c)
		}
	})
}
