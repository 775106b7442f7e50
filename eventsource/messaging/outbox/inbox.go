package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Once runs fn in a transaction that also records (group, id), and does not run
// it if that is recorded: ran tells which. What fn writes through tx, the record,
// and what it puts by [Outbox.Put] commit together. An error, a panic and
// runtime.Goexit undo all of it, and the next call with this id runs fn again.
//
// Of concurrent calls with one id the second waits for the first: it returns
// false if that commits, and runs fn if that rolls back.
//
// fn must neither commit nor roll back tx, which is READ COMMITTED on Postgres,
// and holds the write lock on SQLite: keep it short there. It must not use the
// *sql.DB where that has a single connection. What it does elsewhere than through
// tx happens again if the transaction fails.
//
// An error after which the outcome is unknown, such as a connection lost during
// the commit, is no harm: call again. Records live for Config.Keep.
func (o *Outbox) Once(ctx context.Context, group, id string, fn func(ctx context.Context, tx *sql.Tx) error) (ran bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := checkOnce(group, id); err != nil {
		return false, err
	}
	// Not ctx: when that ends, database/sql rolls back, although fn may have
	// returned nil.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	tx, release, fresh, err := o.enter(ctx, life, group, id)
	if err != nil {
		return false, fmt.Errorf("outbox: inbox: %w", ended(ctx, err))
	}
	defer release()
	if !fresh {
		return false, nil
	}
	if err := fn(ctx, tx); err != nil {
		return false, err
	}
	grace := time.AfterFunc(settling, cancel)
	defer grace.Stop()
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("outbox: inbox: commit: %w", ended(ctx, err))
	}
	return true, nil
}

// Handler is [Outbox.Once] by the ID of the delivery, for any broker: the effect
// of each message is exactly one, in the database of the Outbox. A duplicate is
// acknowledged and puts nothing.
func (o *Outbox) Handler(group string, fn func(ctx context.Context, tx *sql.Tx, d messaging.Delivery) error) messaging.Handler {
	return func(ctx context.Context, d messaging.Delivery) error {
		_, err := o.Once(ctx, group, d.ID, func(ctx context.Context, tx *sql.Tx) error { return fn(ctx, tx, d) })
		return err
	}
}

const maxID = 255

func checkOnce(group, id string) error {
	if err := consume.CheckName("group", group); err != nil {
		return fmt.Errorf("outbox: inbox: %w", err)
	}
	ok := id != "" && len(id) <= maxID && utf8.ValidString(id)
	for _, c := range []byte(id) {
		ok = ok && c != 0
	}
	if !ok {
		return fmt.Errorf("outbox: inbox: %w: id is %.64q: want 1 to %d bytes of UTF-8 without NUL", messaging.ErrInvalid, id, maxID)
	}
	return nil
}

// enter begins the transaction with the record, which makes it a writer on
// SQLite, and makes it wait for a twin on Postgres. life is the transaction's.
func (o *Outbox) enter(ctx, life context.Context, group, id string) (tx *sql.Tx, release func(), fresh bool, err error) {
	conn, giveBack, err := o.conn(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	err = sqldb.WhileBusy(ctx, func() (err error) {
		if tx, err = conn.BeginTx(life, o.options()); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, o.sql.enter, group, id)
		var n int64
		if err == nil {
			n, err = res.RowsAffected()
		}
		if err != nil {
			tx.Rollback() //nolint:errcheck // the first error says more
		}
		fresh = n > 0
		return err
	})
	if err != nil {
		giveBack()
		return nil, nil, false, err
	}
	return tx, func() {
		tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
		if o.dialect == sqldb.SQLite {
			// A COMMIT that failed, on a constraint say, can leave it open.
			conn.ExecContext(life, "ROLLBACK") //nolint:errcheck // most often there is nothing to roll back
		}
		giveBack()
	}, fresh, nil
}

func (o *Outbox) conn(ctx context.Context) (*sql.Conn, func(), error) {
	if o.dialect == sqldb.SQLite {
		return sqldb.Writer(ctx, o.db)
	}
	conn, err := o.db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { conn.Close() }, nil
}

// options: under a stricter level the loser of a race of twins would fail
// instead of seeing the winner's record.
func (o *Outbox) options() *sql.TxOptions {
	if o.dialect == sqldb.SQLite {
		return nil
	}
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

// sweepRows is the LIMIT of the statement.
const sweepRows = 1000

// sweep deletes some of the old records.
func (o *Outbox) sweep(ctx context.Context) (n int64, err error) {
	err = sqldb.WhileBusy(ctx, func() error {
		res, err := o.db.ExecContext(ctx, o.sql.sweep, o.cfg.Keep.Microseconds())
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}
