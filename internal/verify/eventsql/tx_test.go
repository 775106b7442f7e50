package eventsql

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// AppendTx is part of its transaction, and a conflict leaves that usable.
func TestAppendTxCommitsWithItsTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{})
		_, err := db.ExecContext(t.Context(), "CREATE TABLE orders (id text)")
		require.NoError(t, err)
		full(t, db)

		tx := begin(t, db)
		_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES ('lost')")
		require.NoError(t, err)
		_, err = s.AppendTx(t.Context(), tx, one("a"))
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())
		assert.Empty(t, positions(t, s))

		tx = begin(t, db)
		_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES ('kept')")
		require.NoError(t, err)
		_, err = s.AppendTx(t.Context(), tx, one("a"), eventsource.Exists("a"))
		require.ErrorIs(t, err, eventsource.ErrConflict)
		res, err := s.AppendTx(t.Context(), tx, one("a"), eventsource.NoStream("a"))
		require.NoError(t, err)
		again, err := s.AppendTx(t.Context(), tx, one("a"), eventsource.AtVersion("a", 1))
		require.NoError(t, err)
		assert.EqualValues(t, 2, again.Version, "a transaction sees its own appends")
		require.NoError(t, tx.Commit())
		s.Notify()
		require.NoError(t, s.Wait(t.Context(), res.Last))
		assert.Len(t, positions(t, s), 2)
		var rows int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM orders WHERE id = 'kept'").Scan(&rows))
		assert.Equal(t, 1, rows)
	})
}

// full makes the connections of an SQLite pool fully synchronous: one that
// stays.
func full(t *testing.T, db *sql.DB) {
	db.SetMaxOpenConns(1)
	_, _ = db.ExecContext(t.Context(), "PRAGMA synchronous=FULL") // Postgres does not know it
}

// T17: under REPEATABLE READ and SERIALIZABLE the checks would look at a
// snapshot from before the locks: both of two conflicting appends would win.
func TestAppendTxRefusesOlderSnapshots(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{})
	for _, level := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
		require.NoError(t, err)
		_, err = s.AppendTx(t.Context(), tx, one("a"))
		require.ErrorIs(t, err, eventsource.ErrInvalid)
		_, err = tx.ExecContext(t.Context(), "SELECT 1")
		require.NoError(t, err, "the transaction goes on")
		require.NoError(t, tx.Commit())
	}
	assert.Empty(t, positions(t, s))
}

// T32: AppendTx cannot change the level within a transaction, so it refuses.
func TestAppendTxRefusesALaxConnection(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/lax.db?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	s := newStore(t, db, eventsql.Config{})
	tx := begin(t, db)
	_, err := s.AppendTx(t.Context(), tx, one("a"))
	require.ErrorIs(t, err, eventsource.ErrInvalid)
	require.ErrorContains(t, err, "synchronous")
}

// T18: on a hot standby nobody's locks are seen, so that Head would be wrong.
func TestStandbysAreRefused(t *testing.T) {
	t.Parallel()
	primary := engine.Postgres(t)
	db := openDB(t, "pgx", primary.URL())
	s := newStore(t, db, eventsql.Config{Prefix: "keelson_"})
	appended(t, s, one("a"))

	dir := standbyDir(t)
	runTool(t, nil, "pg_basebackup", "-d", primary.URL(), "-D", dir+"/data", "-R", "-X", "stream", "-c", "fast")
	runTool(t, nil, "chown", "-R", "--reference="+primary.Dir(), dir) // servers may run as another user
	standby, err := engine.StartPostgres(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, standby.Close()) }()
	replica := openDB(t, "pgx", standby.URL())
	var events int
	require.NoError(t, replica.QueryRowContext(t.Context(), "SELECT count(*) FROM keelson_events").Scan(&events))
	require.Equal(t, 1, events, "it is a standby that serves reads")

	_, err = eventsql.Open(t.Context(), replica, eventsql.Config{})
	require.ErrorContains(t, err, "standby")
	require.ErrorContains(t, eventsql.Setup(t.Context(), replica, eventsql.Config{}), "standby")
	_, err = replica.ExecContext(t.Context(), "SELECT keelson_head()")
	require.ErrorContains(t, err, "standby")
}
