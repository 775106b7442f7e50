package saga_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
)

// shared is one server for the tests that do not harm it, each of which has a
// database.
var (
	shared    = sync.OnceValues(func() (*engine.Server, error) { return engine.StartPostgres(context.Background(), "") })
	started   atomic.Bool
	databases atomic.Int64
)

// database makes an empty one and returns its URL.
func database(t *testing.T) string {
	t.Helper()
	server, err := shared()
	if _, absent := errors.AsType[*engine.NotInstalledError](err); absent {
		return engine.Postgres(t).URL() // which skips, or fails
	}
	require.NoError(t, err)
	started.Store(true)
	name := fmt.Sprintf("test%d", databases.Add(1))
	_, err = openDB(t, "pgx", server.URL()).ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

// closeShared ends the server, if a test has used it.
func closeShared() {
	if !started.Load() {
		return
	}
	if server, err := shared(); err == nil {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
