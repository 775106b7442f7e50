package sagasql

import (
	"context"
	"database/sql"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// write runs f in a transaction of its own. A deadlock, a failed serialization, or a
// standstill that has cost the locks is tried again: nothing of it was committed.
func (s *Store) write(ctx context.Context, f func(c *conn) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.dialect == sqldb.SQLite {
		return ended(ctx, s.immediate(ctx, f))
	}
	var err error
	for range 10 {
		err = s.readCommitted(ctx, f)
		if again := sqldb.SerialFailure(err) || sqldb.State(err) == stoodStill; !again || ctx.Err() != nil {
			break
		}
	}
	return ended(ctx, err)
}

// stoodStill is the state of a session that Postgres has ended by the time-out of
// [conn.begin].
const stoodStill = "25P03"

func (s *Store) readCommitted(ctx context.Context, f func(c *conn) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	c := &conn{s: s, q: tx}
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := f(c); err != nil {
		return err
	}
	return tx.Commit()
}

// snapshot runs f on one state of the database.
func (s *Store) snapshot(ctx context.Context, f func(c *conn) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	opts := &sql.TxOptions{}
	if s.dialect == sqldb.Postgres {
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	err := sqldb.WhileBusy(ctx, func() error {
		tx, err := s.db.BeginTx(ctx, opts)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // nothing was written
		c := &conn{s: s, q: tx}
		if err := c.begin(ctx); err != nil {
			return err
		}
		return f(c)
	})
	return ended(ctx, err)
}

// synchronousFull is the level from which on a commit waits for the disk.
const synchronousFull = 2

// immediate runs f in a transaction that begins as SQLite's one writer, on a
// connection whose commits wait for the disk. Drivers and data source names may say
// synchronous=NORMAL, under which WAL mode forgets the last commits when the
// machine stops.
func (s *Store) immediate(ctx context.Context, f func(c *conn) error) error {
	db, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if !s.cfg.Relaxed {
		restore, err := full(ctx, db)
		if err != nil {
			return err
		}
		defer restore()
	}
	exec := func(query string) func() error {
		return func() error { _, err := db.ExecContext(ctx, query); return err }
	}
	if err := sqldb.WhileBusy(ctx, exec("BEGIN IMMEDIATE")); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // an error, a panic or Goexit
			db.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") //nolint:errcheck // the first error says more
		}
	}()
	c := &conn{s: s, q: db, prepared: map[string]*sql.Stmt{}, detached: context.WithoutCancel(ctx)}
	defer c.close()
	if err := c.tick(ctx); err != nil {
		return err
	}
	if err := f(c); err != nil {
		return err
	}
	if err := sqldb.WhileBusy(ctx, exec("COMMIT")); err != nil { // readers can be in the way, without WAL
		return err
	}
	done = true
	return nil
}

// full raises a connection's level, and returns what gives it back as it was.
func full(ctx context.Context, db *sql.Conn) (restore func(), err error) {
	var level int
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
		return nil, err
	}
	if level >= synchronousFull {
		return func() {}, nil
	}
	if _, err := db.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
		return nil, err
	}
	return func() {
		query := "PRAGMA synchronous=NORMAL"
		if level == 0 {
			query = "PRAGMA synchronous=OFF"
		}
		db.ExecContext(context.WithoutCancel(ctx), query) //nolint:errcheck // stricter than asked for is no harm
	}, nil
}
