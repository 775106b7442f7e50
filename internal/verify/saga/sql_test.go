package saga_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
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

// A saga that had ended and goes on has not ended any more, whoever reads the table.
func TestGoingOnTakesTheEndBack(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		ctx, store := t.Context(), openSQL(t, db, sagasql.Config{})
		require.NoError(t, register(t, store).Start(ctx, "a", order{}))
		for i, state := range []saga.State{saga.Completed, saga.Compensating} {
			work, err := store.Poll(ctx, saga.Lease{Owner: "o", For: time.Minute, Only: "a"})
			require.NoError(t, err)
			sum := work.Claimed[0]
			sum.State = state
			rec := saga.Record{Kind: "test", Seq: sum.Seq + 1, Epoch: sum.Epoch, State: state}
			v, err := store.Commit(ctx, []saga.Write{{Summary: sum, Records: []saga.Record{rec}, Release: state.Ended()}})
			require.NoError(t, err)
			require.NoError(t, v[0].Err)
			var ended sql.NullInt64
			require.NoError(t, db.QueryRowContext(ctx, "SELECT ended FROM keelson_saga WHERE id = 'a'").Scan(&ended))
			assert.Equal(t, i == 0, ended.Valid, state.String())
		}
	})
}

// A message that is in the log is not kept twice, but for its key; what a refused write has
// read stays.
func TestMessagesThatWereReadGo(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		ctx, store := t.Context(), openSQL(t, db, sagasql.Config{})
		_, err := store.Commit(ctx, []saga.Write{created("a", ""), created("b", "")})
		require.NoError(t, err)
		for _, id := range []string{"a", "b"} {
			for _, key := range []string{"", "k", ""} {
				require.NoError(t, store.Post(ctx, id, saga.Record{Kind: "signal", Key: key}))
			}
		}
		a, b := extended("a", ""), extended("b", "")
		a.Read, b.Read, b.Summary.Epoch = 2, 3, 9
		verdicts, err := store.Commit(ctx, []saga.Write{a, b})
		require.NoError(t, err)
		require.NoError(t, verdicts[0].Err)
		require.ErrorIs(t, verdicts[1].Err, saga.ErrFenced)
		var kept []string
		rows, err := db.QueryContext(ctx, "SELECT id || seq FROM keelson_saga_mail ORDER BY id, seq")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var message string
			require.NoError(t, rows.Scan(&message))
			kept = append(kept, message)
		}
		require.NoError(t, rows.Err())
		assert.Equal(t, []string{"a2", "a3", "b1", "b2", "b3"}, kept)
	})
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
// tables had few rows: the server would read a small table whole, or walk through it by an
// index, and keep doing so while it grows.
func TestPostgresReadsNoTableWhole(t *testing.T) {
	ctx := t.Context()
	url := engine.Postgres(t).URL()
	watch := openDB(t, "pgx", url)
	session := func() (*sql.DB, *sagasql.Store) {
		db := openDB(t, "pgx", url)
		db.SetMaxOpenConns(1) // whose plans are kept
		return db, openSQL(t, db, sagasql.Config{})
	}
	db, store := session()
	useAll(t, store, "first")
	for _, table := range []string{"keelson_saga", "keelson_saga_record", "keelson_saga_mail"} {
		_, err := db.ExecContext(ctx, "VACUUM ANALYZE "+table) // which tells how small it is
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	// Numbers of a session are there when it has ended.
	seen := func() (scans, rows int) {
		require.Eventually(t, func() bool {
			var others int
			err := watch.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&others)
			require.NoError(t, err)
			return others == 0
		}, 20*time.Second, 10*time.Millisecond)
		err := watch.QueryRowContext(ctx, "SELECT sum(seq_scan), sum(idx_tup_fetch) FROM pg_stat_user_tables"+
			" WHERE relname IN ('keelson_saga', 'keelson_saga_record', 'keelson_saga_mail')").Scan(&scans, &rows)
		require.NoError(t, err)
		return scans, rows
	}
	scans, rows := seen() // to make an index is to read a table whole
	db, store = session()
	for n := range 10 { // the server makes a plan for all parameters after five
		useAll(t, store, fmt.Sprint("few-", n))
	}
	const many = 20_000
	for _, grow := range []string{
		"INSERT INTO keelson_saga SELECT 'z' || n, 'order', 1, '', 'order@1', 'order@1/', '', 1, '', 0, '', '', false, 'elsewhere', 1, 1, 1, 0, 0, 0, 0, NULL, NULL FROM generate_series(1, $1) n",
		"INSERT INTO keelson_saga_record SELECT 'z' || n, 1, 'done', '', '', '', '', 0, 0, 1, 0, '' FROM generate_series(1, $1) n",
		"INSERT INTO keelson_saga_mail SELECT 'z' || n, 1, 'signal', '', '', '', '', 0, 0, 1, 0, '' FROM generate_series(1, $1) n",
	} {
		_, err := watch.ExecContext(ctx, grow, many)
		require.NoError(t, err)
	}
	useAll(t, store, "many")
	require.NoError(t, db.Close())
	scansNow, rowsNow := seen()
	assert.Equal(t, scans, scansNow)
	assert.Less(t, rowsNow-rows, many)
}

// useAll calls every method of a store, each for a saga or two of its own.
func useAll(t *testing.T, store *sagasql.Store, id string) {
	t.Helper()
	ctx := t.Context()
	commit := func(id string, state saga.State, seq uint64) {
		verdicts, err := store.Commit(ctx, []saga.Write{{
			Summary: saga.Summary{ID: id, Name: "order", Version: 1, State: state, Epoch: min(seq-1, 1), Seq: seq},
			Records: []saga.Record{{Kind: "done", Seq: seq, State: state}},
			Read:    seq - 1, // looks for the mail as well
		}})
		require.NoError(t, err)
		require.NoError(t, verdicts[0].Err)
	}
	commit(id, saga.Running, 1)
	require.NoError(t, store.Post(ctx, id, saga.Record{Kind: "signal"}))
	require.NoError(t, store.Post(ctx, id, saga.Record{Kind: "signal", Key: "k"}))
	commit(id, saga.Running, 2)
	commit(id+"-ended", saga.Completed, 1)
	w, err := store.Poll(ctx, saga.Lease{Owner: "o", For: time.Minute, Can: []string{"order@1"}, Limit: 1})
	require.NoError(t, err)
	require.Len(t, w.Claimed, 1)
	_, _, _, err = store.Load(ctx, id)
	require.NoError(t, err)
	for _, err := range store.List(ctx, saga.Filter{IDs: []string{id}}) {
		require.NoError(t, err)
	}
	n, err := store.Purge(ctx, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Arrays, prepared statements and settings travel with the other driver as well.
func TestPqWorks(t *testing.T) {
	store := openSQL(t, openDB(t, "postgres", pg.Database(t)), sagasql.Config{Prefix: newPrefix()})
	useAll(t, store, `a"{},\b`)
}

// A role that may not call the function of a commit is told when it opens the store: each
// commit would fail, and be repeated.
func TestOpenRefusesARoleThatMayNotCommit(t *testing.T) {
	ctx := t.Context()
	url := engine.Postgres(t).URL()
	admin := openDB(t, "pgx", url)
	cfg := sagasql.Config{Prefix: newPrefix()}
	require.NoError(t, sagasql.Setup(ctx, admin, cfg))
	run := func(query string) {
		_, err := admin.ExecContext(ctx, query)
		require.NoError(t, err)
	}
	run("CREATE ROLE app LOGIN")
	run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app")
	run("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
	app := openDB(t, "pgx", strings.Replace(url, "postgres@", "app@", 1))
	_, err := sagasql.Open(ctx, app, cfg)
	require.ErrorContains(t, err, cfg.Prefix+"saga_commit")
	run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app")
	store, err := sagasql.Open(ctx, app, cfg)
	require.NoError(t, err)
	useAll(t, store, "a")

	run("DROP FUNCTION " + cfg.Prefix + "saga_commit")
	run("CREATE FUNCTION " + cfg.Prefix + "saga_commit(ids text[]) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'")
	_, err = sagasql.Open(ctx, admin, cfg)
	require.ErrorContains(t, err, cfg.Prefix+"saga_commit", "one of another version has other parameters")
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
