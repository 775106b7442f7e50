// Package engines checks that the servers of internal/engine serve the
// clients that users have, and that a kill is a real one: what a server
// acknowledged durably is there after SIGKILL and restart.
package engines

import (
	"context"
	"database/sql"
	"net"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
)

// killAndRestart is what every server here must survive.
func killAndRestart(t *testing.T, s *engine.Server) {
	t.Helper()
	require.NoError(t, s.Kill())
	require.NoError(t, s.Restart(t.Context()))
}

func TestPostgresKeepsCommittedRowsOverAKill(t *testing.T) {
	server := engine.Postgres(t)
	db, err := sql.Open("pgx", server.URL())
	require.NoError(t, err)
	defer db.Close()

	exec := func(query string) {
		_, err := db.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	exec("CREATE TABLE keelson_kept (n int PRIMARY KEY)")
	exec("INSERT INTO keelson_kept SELECT generate_series(1, 1000)")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO keelson_kept VALUES (1001)")
	require.NoError(t, err)

	killAndRestart(t, server)

	require.Error(t, tx.Commit(), "its connection died with the server")
	var n, top int
	query := func() error {
		return db.QueryRowContext(t.Context(), "SELECT count(*), max(n) FROM keelson_kept").Scan(&n, &top)
	}
	if err := query(); err != nil { // database/sql may hand out a connection that died, once
		require.NoError(t, query())
	}
	assert.Equal(t, []int{1000, 1000}, []int{n, top}, "committed rows are there, the open transaction is not")
}

func TestRedisKeepsAcknowledgedWritesOverAKill(t *testing.T) {
	server := engine.Redis(t)
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()

	for i := range 100 {
		require.NoError(t, client.RPush(t.Context(), "kept", i).Err())
	}
	killAndRestart(t, server)
	n, err := client.LLen(t.Context(), "kept").Result()
	require.NoError(t, err)
	assert.EqualValues(t, 100, n)
}

// A paused server accepts and never answers: what a client's time limit is for.
func TestPausedServerHangsUntilTheDeadline(t *testing.T) {
	server := engine.Redis(t)
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	options.ContextTimeoutEnabled, options.MaxRetries = true, -1
	client := redis.NewClient(options)
	defer client.Close()
	require.NoError(t, client.Ping(t.Context()).Err())

	require.NoError(t, server.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var timeout net.Error // the context's, or that of the read under its deadline
	require.ErrorAs(t, client.Ping(ctx).Err(), &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, server.Resume())
	require.NoError(t, client.Ping(t.Context()).Err())
}
