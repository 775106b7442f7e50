package outbox

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
	"github.com/keelson-go/keelson/internal/verify/internal/pg"
)

// effects is a table that handlers write.
func effects(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), "CREATE TABLE effects (what text)")
	require.NoError(t, err)
}

func effect(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (what) VALUES ('it')")
	return err
}

// T33: the record is in the transaction of the effects: whatever way a handler
// fails, both are undone and the message is handled again.
func TestFailedHandlersLeaveNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		effects(t, db)
		o := open(t, db, outbox.Config{})
		boom := errors.New("boom")
		ends := map[string]func(){"panic": func() { panic(boom) }, "Goexit": runtime.Goexit, "error": nil}
		for name, end := range ends {
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				ran, err := o.Once(t.Context(), "billing", name, func(ctx context.Context, tx *sql.Tx) error {
					assert.NoError(t, effect(ctx, tx))
					assert.NoError(t, o.Put(ctx, tx, message(name, 0)))
					if end != nil {
						end()
					}
					return boom
				})
				assert.False(t, ran)
				assert.ErrorIs(t, err, boom)
			}()
			if value := <-done; name == "panic" {
				assert.Equal(t, boom, value)
			}
			for _, table := range []string{"effects", "keelson_inbox", "keelson_outbox"} {
				assert.Zero(t, count(t, db, table), "%s after %s", table, name)
			}
		}
		for name := range ends {
			ran, err := o.Once(t.Context(), "billing", name, effect)
			require.NoError(t, err)
			assert.True(t, ran)
		}
		assert.Equal(t, len(ends), count(t, db, "effects"))
	})
}

// T34: a duplicate does nothing and puts nothing; another group has its own
// record.
func TestDuplicatesPutNothingAndGroupsAreIndependent(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		effects(t, db)
		o := open(t, db, outbox.Config{})
		for _, group := range []string{"billing", "billing", "shipping", "billing", "shipping"} {
			h := o.Handler(group, func(ctx context.Context, tx *sql.Tx, d messaging.Delivery) error {
				if err := effect(ctx, tx); err != nil {
					return err
				}
				return o.Put(ctx, tx, messaging.Message{Topic: "next", Key: d.Key})
			})
			require.NoError(t, h(t.Context(), messaging.Delivery{Message: message("order", 7), Attempt: 1}))
		}
		assert.Equal(t, 2, count(t, db, "effects"))
		assert.Equal(t, 2, count(t, db, "keelson_outbox"))
	})
}

// A concurrent twin waits for the first, and runs only if that rolls back.
func TestConcurrentTwinsWait(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		effects(t, db)
		o := open(t, db, outbox.Config{})
		for _, verdict := range []error{errors.New("roll back"), nil} {
			id := "commits"
			if verdict != nil {
				id = "rolls-back"
			}
			within, twin := make(chan struct{}), make(chan bool)
			go func() {
				<-within
				go func() {
					ran, err := o.Once(t.Context(), "g", id, effect)
					assert.NoError(t, err)
					twin <- ran
				}()
			}()
			ran, err := o.Once(t.Context(), "g", id, func(ctx context.Context, tx *sql.Tx) error {
				close(within)
				select {
				case <-twin:
					assert.Fail(t, "the twin did not wait")
				case <-time.After(100 * time.Millisecond):
				}
				return errors.Join(effect(ctx, tx), verdict)
			})
			assert.Equal(t, verdict == nil, ran)
			assert.Equal(t, verdict == nil, err == nil)
			assert.Equal(t, verdict != nil, <-twin)
		}
		assert.Equal(t, 2, count(t, db, "effects"))
	})
}

// A twin that waits gives up with its context; what an SQLite driver waits by itself,
// which no context ends, it does not know of.
func TestWaitingTwinHeedsItsContext(t *testing.T) {
	onEachSource(t, func(t *testing.T, driver, source string) {
		db := openDB(t, driver, strings.Replace(source, "20000", "0", 1))
		effects(t, db)
		o := open(t, db, outbox.Config{})
		ran, err := o.Once(t.Context(), "g", "1", func(ctx context.Context, tx *sql.Tx) error {
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			ran, err := o.Once(short, "g", "1", effect)
			assert.False(t, ran)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			return nil
		})
		require.NoError(t, err)
		assert.True(t, ran)
	})
}

// What returned nil counts, though the context ended meanwhile.
func TestNilCommitsAfterTheContextHasEnded(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		effects(t, db)
		o := open(t, db, outbox.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ran, err := o.Once(ctx, "g", "1", func(ctx context.Context, tx *sql.Tx) error {
			defer cancel()
			return effect(ctx, tx)
		})
		require.NoError(t, err)
		assert.True(t, ran)
		assert.Equal(t, 1, count(t, db, "effects"))
		_, err = o.Once(ctx, "g", "2", effect)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestRelayDeletesOldInboxRows(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o := open(t, db, outbox.Config{Keep: time.Hour})
		for _, id := range []string{"old", "new"} {
			_, err := o.Once(t.Context(), "g", id, func(context.Context, *sql.Tx) error { return nil })
			require.NoError(t, err)
		}
		_, err := db.ExecContext(t.Context(), "UPDATE keelson_inbox SET at = at - 3700000000 WHERE id = 'old'")
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2100)"+
			" INSERT INTO keelson_inbox (grp, id, at) SELECT 'h', CAST(n AS text), 0 FROM r") // more than one sweep
		require.NoError(t, err)
		b := newBroker(nil)
		put(t, db, o, message("a", 0))
		stop := relaying(t, o, b)
		b.has(t, 1)
		put(t, db, o, message("a", 1))
		b.has(t, 2)
		put(t, db, o, message("a", 2))
		b.has(t, 3)
		put(t, db, o, message("a", 3))
		b.has(t, 4)
		stop()
		var left string
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT id FROM keelson_inbox").Scan(&left))
		assert.Equal(t, "new", left)
		assert.Equal(t, 1, count(t, db, "keelson_inbox"))
	})
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/outbox.db")
	o := open(t, db, outbox.Config{})
	for _, c := range [][2]string{{"", "id"}, {"a b", "id"}, {"g", ""}, {"g", "\x00"}, {"g", "\xff"}} {
		_, err := o.Once(t.Context(), c[0], c[1], effect)
		require.ErrorIs(t, err, messaging.ErrInvalid)
	}
	require.ErrorIs(t, o.Relay(t.Context(), nil), messaging.ErrInvalid)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	require.ErrorIs(t, o.Put(t.Context(), tx, message("a", 0), messaging.Message{}), messaging.ErrInvalid)
	require.NoError(t, o.Put(t.Context(), tx))
	for _, cfg := range []outbox.Config{{Prefix: "A"}, {Poll: -1}, {Lease: -1}, {Batch: -1}, {Batch: 10_001}} {
		require.ErrorIs(t, outbox.Setup(t.Context(), db, cfg), messaging.ErrInvalid)
		_, err := outbox.Open(t.Context(), db, cfg)
		require.ErrorIs(t, err, messaging.ErrInvalid)
	}
	_, err = outbox.Open(t.Context(), db, outbox.Config{Prefix: "other_"})
	require.ErrorContains(t, err, "call Setup first")
}

// Commits that the machine may forget are refused for Put and made to wait for
// Once.
func TestForgetfulSQLiteIsNotTrusted(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/outbox.db?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	o := open(t, db, outbox.Config{})
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, o.Put(t.Context(), tx, message("a", 0)), messaging.ErrInvalid)
	require.NoError(t, tx.Rollback())
	_, err = o.Once(t.Context(), "g", "1", func(ctx context.Context, tx *sql.Tx) error {
		var level int
		assert.NoError(t, tx.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level))
		assert.Equal(t, 2, level)
		return o.Put(ctx, tx, message("a", 0))
	})
	require.NoError(t, err)
}

// The same on Postgres, where a session may have synchronous_commit off.
func TestForgetfulPostgresIsMadeToWait(t *testing.T) {
	db := openDB(t, "pgx", pg.Database(t)+"&synchronous_commit=off")
	o := open(t, db, outbox.Config{})
	level := func(ctx context.Context, tx *sql.Tx) (level string) {
		assert.NoError(t, tx.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&level))
		return level
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, "off", level(t.Context(), tx))
	require.NoError(t, o.Put(t.Context(), tx, message("a", 0)))
	assert.Equal(t, "on", level(t.Context(), tx))
	require.NoError(t, tx.Commit())
	_, err = o.Once(t.Context(), "g", "1", func(ctx context.Context, tx *sql.Tx) error {
		assert.Equal(t, "on", level(ctx, tx))
		return nil
	})
	require.NoError(t, err)
}

// A panic of the broker, or of OnEvent, leaves the lanes free and what was taken
// deleted.
func TestPanicsLeaveTheLanesFree(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB) {
		o := open(t, db, outbox.Config{Lease: time.Hour})
		for _, end := range []func(){func() { panic("broker") }, runtime.Goexit} {
			put(t, db, o, message("a", 0), message("b", 0))
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				_ = o.Relay(t.Context(), publisher(func(context.Context, ...messaging.Message) error { end(); return nil }))
			}()
			<-done
			b := newBroker(nil)
			stop := relaying(t, o, b)
			b.has(t, 2)
			stop()
		}
	})
}
