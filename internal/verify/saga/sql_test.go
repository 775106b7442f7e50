package saga_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
)

type order struct{ Total int }

func register(t *testing.T, store saga.Store) *saga.Saga[order] {
	t.Helper()
	c, err := saga.New(store, saga.Config{})
	require.NoError(t, err)
	s, err := saga.Register(c, saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{
		{Name: "pay", Do: func(context.Context, *order) error { return nil }},
	}})
	require.NoError(t, err)
	return s
}

func TestStartTxFollowsItsTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		store := openSQL(t, db, sagasql.Config{})
		s := register(t, store)
		start := func(id string, total int) func(tx *sql.Tx) error {
			return func(tx *sql.Tx) error { return sagasql.StartTx(t.Context(), tx, store, s, id, order{total}) }
		}
		run := func(commit bool, f func(tx *sql.Tx) error) error {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
			err = f(tx)
			if commit {
				require.NoError(t, tx.Commit())
			}
			return err
		}
		require.NoError(t, run(false, start("a", 1)))
		_, _, err := s.Get(t.Context(), "a")
		require.ErrorIs(t, err, saga.ErrNotFound)
		require.NoError(t, run(true, start("a", 1)))
		require.NoError(t, run(true, start("a", 1)))
		require.ErrorIs(t, run(true, start("a", 2)), saga.ErrConflict)
		v, sum, err := s.Get(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 1, v.Total)
		assert.False(t, sum.WakeAt.IsZero(), "it is due at once")
	})
}

// T3: commits wait for the disk whatever the data source name says.
func TestSQLiteWritesAtFull(t *testing.T) {
	ctx := t.Context()
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/sagas.db?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	db.SetMaxOpenConns(1)
	store := openSQL(t, db, sagasql.Config{})
	assert.Equal(t, "fsync", store.Durability())
	// The level within a transaction of the store, told by a trigger that it fires.
	_, err := db.ExecContext(ctx, "CREATE TABLE seen (level integer); ")
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, "CREATE TRIGGER t AFTER INSERT ON keelson_saga BEGIN INSERT INTO seen SELECT synchronous FROM pragma_synchronous; END")
	require.NoError(t, err)
	s := register(t, store)
	require.NoError(t, s.Start(ctx, "a", order{}))
	var level, after int
	require.NoError(t, db.QueryRowContext(ctx, "SELECT level FROM seen").Scan(&level))
	assert.Equal(t, 2, level)
	require.NoError(t, db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&after))
	assert.Equal(t, 1, after, "the connection goes back as it was")

	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // nothing was written
	require.ErrorContains(t, sagasql.StartTx(ctx, tx, store, s, "b", order{}), "synchronous=1")
}

// T37: what no text of Postgres can hold blocks neither its saga nor its batch.
func TestNulAndBrokenText(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		store := openSQL(t, db, sagasql.Config{})
		var batch []saga.Write
		for _, id := range []string{"a", "b", "c"} {
			batch = append(batch, saga.Write{
				Summary: saga.Summary{ID: id, Name: "order", Version: 1, State: saga.Running, Seq: 1, Cause: "nul \x00 and \xff"},
				Records: []saga.Record{{Kind: "start", Seq: 1, State: saga.Running, Error: "nul \x00 and \xff", Data: json.RawMessage("{\"a\":\"\xff\"}")}},
				Release: true,
			})
		}
		verdicts, err := store.Commit(t.Context(), batch)
		require.NoError(t, err)
		for i, v := range verdicts {
			require.NoError(t, v.Err)
			sum, log, _, err := store.Load(t.Context(), batch[i].Summary.ID)
			require.NoError(t, err)
			assert.Equal(t, "nul \uFFFD and \uFFFD", sum.Cause)
			assert.Equal(t, "nul \uFFFD and \uFFFD", log[0].Error)
		}
	})
}

// Rows are taken by their keys also in a session whose plans were made when the
// tables had few rows: the server would read a small table whole, and keep doing so while
// it grows.
func TestPostgresReadsNoTableWhole(t *testing.T) {
	ctx := t.Context()
	url := engine.Postgres(t).URL()
	watch := openDB(t, "pgx", url)
	commits := func(store saga.Store, id string, writes int) {
		for seq := range uint64(writes) {
			w := saga.Write{
				Summary: saga.Summary{ID: id, Name: "order", Version: 1, State: saga.Running, Epoch: min(seq, 1), Seq: seq + 1},
				Records: []saga.Record{{Kind: "done", Seq: seq + 1, State: saga.Running}},
				Read:    min(seq, 1), // looks for the mail as well
			}
			verdicts, err := store.Commit(ctx, []saga.Write{w})
			require.NoError(t, err)
			require.NoError(t, verdicts[0].Err)
			if seq == 0 {
				require.NoError(t, store.Post(ctx, id, saga.Record{Kind: "signal"}))
			}
		}
	}
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	commits(openSQL(t, db, sagasql.Config{}), "a", 1)
	for _, table := range []string{"keelson_saga", "keelson_saga_record", "keelson_saga_mail"} {
		_, err := db.ExecContext(ctx, "VACUUM ANALYZE "+table) // which tells how small it is
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	// Numbers of a session are there when it has ended.
	seen := func(updates int) (whole int) {
		require.Eventually(t, func() bool {
			var n int
			err := watch.QueryRowContext(ctx, "SELECT sum(seq_scan), sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname IN ('keelson_saga', 'keelson_saga_record', 'keelson_saga_mail')").Scan(&whole, &n)
			require.NoError(t, err)
			return n >= updates
		}, 20*time.Second, 10*time.Millisecond)
		return whole
	}
	before := seen(1) // to make an index is to read a table whole
	db, err = sql.Open("pgx", url)
	require.NoError(t, err)
	store, err := sagasql.Open(ctx, db, sagasql.Config{})
	require.NoError(t, err)
	commits(store, "b", 20)
	for n := range 10 {
		require.NoError(t, store.Post(ctx, "b", saga.Record{Kind: "signal", Key: fmt.Sprint(n)}))
		_, err := store.Poll(ctx, saga.Lease{Owner: "o", For: time.Minute, Can: []string{"order@1"}, Limit: n % 2})
		require.NoError(t, err)
		_, _, _, err = store.Load(ctx, "b")
		require.NoError(t, err)
		for _, err := range store.List(ctx, saga.Filter{IDs: []string{"b"}}) {
			require.NoError(t, err)
		}
		_, err = store.Purge(ctx, time.Hour, 10)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	assert.Equal(t, before, seen(1+20+10+2))
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "x.db"))
	_, err := sagasql.Open(t.Context(), db, sagasql.Config{})
	require.ErrorContains(t, err, "call Setup first")
	require.Error(t, sagasql.Setup(t.Context(), db, sagasql.Config{Prefix: "Bad-"}))

	server := engine.Postgres(t)
	relaxed := openDB(t, "pgx", server.URL()+"&synchronous_commit=off")
	require.NoError(t, sagasql.Setup(t.Context(), relaxed, sagasql.Config{}))
	_, err = sagasql.Open(t.Context(), relaxed, sagasql.Config{})
	require.ErrorContains(t, err, "synchronous_commit")
	store, err := sagasql.Open(t.Context(), relaxed, sagasql.Config{Relaxed: true})
	require.NoError(t, err)
	assert.Equal(t, "relaxed", store.Durability())
}
