package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
)

const (
	childDriver = "KEELSON_OUTBOX_DRIVER"
	childSource = "KEELSON_OUTBOX_SOURCE"
	childSteps  = "KEELSON_OUTBOX_STEPS"

	killedOrders = 24
	killedKeys   = 3
)

func TestMain(m *testing.M) {
	if os.Getenv(childDriver) == "" {
		code := m.Run()
		if err := pg.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	if err := produceAndRelay(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// produceAndRelay is the child: it goes on with the orders where they stop, and
// publishes into a table, and kills itself at the given step.
func produceAndRelay() error {
	ctx, done := context.WithCancel(context.Background())
	defer done()
	db, err := sql.Open(os.Getenv(childDriver), os.Getenv(childSource))
	if err != nil {
		return err
	}
	limit, err := strconv.ParseInt(os.Getenv(childSteps), 10, 64)
	if err != nil {
		return err
	}
	var steps atomic.Int64
	step := func() {
		if steps.Add(1) == limit {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	cfg := outbox.Config{Lease: 300 * time.Millisecond, Poll: time.Millisecond, Batch: 4, OnEvent: func(e outbox.Event) {
		if e.Published > 0 {
			step() // after the DELETE
		}
	}}
	o, err := outbox.Open(ctx, db, cfg)
	if err != nil {
		return err
	}
	if err := produce(ctx, db, o, step); err != nil {
		return err
	}
	err = o.Relay(ctx, publisher(func(ctx context.Context, msgs ...messaging.Message) error {
		return publishInto(ctx, db, msgs, step, done)
	}))
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func produce(ctx context.Context, db *sql.DB, o *outbox.Outbox, step func()) error {
	for {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM placed").Scan(&n); err != nil {
			return err
		}
		if n == killedOrders {
			return nil
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO placed (n) VALUES (%d)", n)); err != nil {
			return err
		}
		step()
		if err := o.Put(ctx, tx, message(fmt.Sprint("key", n%killedKeys), n/killedKeys)); err != nil {
			return err
		}
		step()
		if err := tx.Commit(); err != nil {
			return err
		}
		step()
	}
}

// publishInto is a broker that outlives the process. done is called when it has
// everything.
func publishInto(ctx context.Context, db *sql.DB, msgs []messaging.Message, step, done func()) error {
	step()
	for _, m := range msgs {
		err := sqldb.WhileBusy(ctx, func() error {
			_, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO broker (id, topic, grp, body) VALUES ('%s', '%s', '%s', '%s')", m.ID, m.Topic, m.Key, m.Body))
			return err
		})
		if err != nil {
			return err
		}
		step()
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(DISTINCT id) FROM broker").Scan(&n); err != nil {
		return err
	}
	if n == killedOrders {
		done()
	}
	return nil
}

// T35: killed between any two steps of Put, COMMIT, Publish and DELETE: what was
// committed is published, in order at first, and has its effect once.
func TestNothingIsLostUnderKill(t *testing.T) {
	onEachSource(t, func(t *testing.T, driver, source string) {
		db := openDB(t, driver, source)
		o := open(t, db, outbox.Config{})
		effects(t, db)
		serial := "integer PRIMARY KEY AUTOINCREMENT"
		if driver == "pgx" || driver == "postgres" {
			serial = "serial PRIMARY KEY"
		}
		for _, table := range []string{"placed (n integer PRIMARY KEY)", "broker (at " + serial + ", id text, topic text, grp text, body text)"} {
			_, err := db.ExecContext(t.Context(), "CREATE TABLE "+table)
			require.NoError(t, err)
		}
		killed := killRepeatedly(t, driver, source)
		sent := stored(t, db)
		inOrder(t, sent, killedOrders/killedKeys)
		assert.Len(t, distinct(ids(sent)), killedOrders)
		assert.Greater(t, killed, 10)
		h := o.Handler("g", func(ctx context.Context, tx *sql.Tx, _ messaging.Delivery) error { return effect(ctx, tx) })
		for _, m := range sent {
			require.NoError(t, h(t.Context(), messaging.Delivery{Message: m}))
		}
		assert.Equal(t, killedOrders, count(t, db, "effects"))
		t.Logf("%d messages, sent %d times over %d kills", killedOrders, len(sent), killed)
	})
}

func killRepeatedly(t *testing.T, driver, source string) (killed int) {
	t.Helper()
	for steps := 1; ; steps = steps%9 + 1 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childDriver+"="+driver, childSource+"="+source, childSteps+"="+fmt.Sprint(steps))
		output, err := child.CombinedOutput()
		if err == nil {
			return killed
		}
		exit, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL, "%v: %s", err, output)
		killed++
	}
}

func stored(t *testing.T, db *sql.DB) (sent []messaging.Message) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT id, topic, grp, body FROM broker ORDER BY at")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var m messaging.Message
		require.NoError(t, rows.Scan(&m.ID, &m.Topic, &m.Key, &m.Body))
		sent = append(sent, m)
	}
	require.NoError(t, rows.Err())
	return sent
}

func ids(msgs []messaging.Message) (all []string) {
	for _, m := range msgs {
		all = append(all, m.ID)
	}
	return all
}
