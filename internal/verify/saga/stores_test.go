package saga_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
	"github.com/keelson-go/keelson/saga/sagatest"
)

func sqliteDSN(dir string) string {
	return "file:" + dir + "/sagas.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openSQL(t *testing.T, db *sql.DB, cfg sagasql.Config) *sagasql.Store {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, sagasql.Setup(ctx, db, cfg))
	s, err := sagasql.Open(ctx, db, cfg)
	require.NoError(t, err)
	return s
}

var prefixes atomic.Int64

// newPrefix keeps the tables of one test from those of another.
func newPrefix() string { return fmt.Sprintf("t%d_", prefixes.Add(1)) }

func TestSQLiteConforms(t *testing.T) {
	sagatest.TestStore(t, func(t *testing.T) saga.Store {
		return openSQL(t, openDB(t, "sqlite", sqliteDSN(t.TempDir())), sagasql.Config{})
	})
}

func TestSQLiteReopens(t *testing.T) {
	sagatest.TestReopen(t, func(t *testing.T, dir string) saga.Store {
		return openSQL(t, openDB(t, "sqlite", sqliteDSN(dir)), sagasql.Config{})
	})
}

func TestPostgresConforms(t *testing.T) {
	db := openDB(t, "pgx", pg.Database(t))
	sagatest.TestStore(t, func(t *testing.T) saga.Store { return openSQL(t, db, sagasql.Config{Prefix: newPrefix()}) })
	t.Run("Reopen", func(t *testing.T) {
		cfg := sagasql.Config{Prefix: newPrefix()}
		sagatest.TestReopen(t, func(t *testing.T, _ string) saga.Store { return openSQL(t, db, cfg) })
	})
}
