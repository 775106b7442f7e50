// Package pg shares one Postgres server between the tests of a package, each of
// which has a database of its own: starting a server takes longer than most tests.
package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
)

var (
	shared    = sync.OnceValues(func() (*engine.Server, error) { return engine.StartPostgres(context.Background(), "") })
	started   atomic.Bool
	databases atomic.Int64
)

// Database makes an empty database on the shared server and returns its URL. Where
// Postgres is not installed the test is skipped, or fails, as engine says.
func Database(t *testing.T) string {
	t.Helper()
	server, err := shared()
	if _, absent := errors.AsType[*engine.NotInstalledError](err); absent {
		return engine.Postgres(t).URL()
	}
	require.NoError(t, err)
	started.Store(true)
	db, err := sql.Open("pgx", server.URL())
	require.NoError(t, err)
	defer db.Close()
	name := fmt.Sprintf("test%d", databases.Add(1))
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// Close ends the server, if a test has used it. It is for TestMain.
func Close() error {
	if !started.Load() {
		return nil
	}
	server, err := shared()
	if err != nil {
		return err
	}
	return server.Close()
}
