// Package engines checks that the servers of internal/engine serve the
// clients that users have, and that a kill is a real one: what a server
// acknowledged durably is there after SIGKILL and restart.
package engines

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	amqp "github.com/rabbitmq/amqp091-go"
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

func TestRabbitMQKeepsConfirmedMessagesOverAKill(t *testing.T) {
	server := engine.RabbitMQ(t)
	open := func() *amqp.Channel {
		conn, err := amqp.Dial(server.URL())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() }) // the killed server's is gone already
		ch, err := conn.Channel()
		require.NoError(t, err)
		return ch
	}
	ch := open()
	_, err := ch.QueueDeclare("kept", true, false, false, false, nil)
	require.NoError(t, err)
	declarationIsLogged(t, server, "kept")
	require.NoError(t, ch.Confirm(false))
	for range 20 {
		confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "kept", true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("order 1")})
		require.NoError(t, err)
		ok, err := confirm.WaitContext(t.Context())
		require.NoError(t, err)
		require.True(t, ok)
	}
	killAndRestart(t, server)

	ch = open()
	kept, err := ch.QueueDeclarePassive("kept", true, false, false, false, nil)
	require.NoError(t, err)
	assert.Equal(t, 20, kept.Messages)
}

// declarationIsLogged waits for what RabbitMQ does behind its answer: it confirms
// messages when they are on the disk, and a declaration when it is on its way there.
func declarationIsLogged(t *testing.T, server *engine.Server, queue string) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 10*time.Second; {
		logs, err := filepath.Glob(filepath.Join(server.Dir(), "mnesia", "*", "*.[LD]*")) // LOG, DCD, DCL
		require.NoError(t, err)
		for _, name := range logs {
			if text, _ := os.ReadFile(name); bytes.Contains(text, []byte(queue)) {
				return
			}
		}
	}
	t.Fatal("no log of RabbitMQ has the declaration of ", queue)
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
