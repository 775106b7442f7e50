package sqldb

import (
	"context"
	"database/sql"
)

// synchronousFull is the level of SQLite from which on a commit waits for the
// disk.
const synchronousFull = 2

var pragmas = [...]string{"PRAGMA synchronous=OFF", "PRAGMA synchronous=NORMAL"}

// Querier is a pool, a connection or a transaction.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Waits tells whether commits of an SQLite connection wait for the disk, and at
// which level of synchronous it is.
func Waits(ctx context.Context, q Querier) (ok bool, level int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level)
	return level >= synchronousFull, level, err
}

// Writer takes a connection to SQLite whose commits wait for the disk; release
// gives it back as it was. Drivers and DSNs may say synchronous=NORMAL, under
// which WAL mode forgets the last commits when the machine stops.
func Writer(ctx context.Context, db *sql.DB) (conn *sql.Conn, release func(), err error) {
	if conn, err = db.Conn(ctx); err != nil {
		return nil, nil, err
	}
	ok, level, err := Waits(ctx, conn)
	if err == nil && !ok {
		_, err = conn.ExecContext(ctx, "PRAGMA synchronous=FULL")
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, func() {
		if !ok {
			conn.ExecContext(context.WithoutCancel(ctx), pragmas[level]) //nolint:errcheck // stricter than asked for is no harm
		}
		conn.Close()
	}, nil
}

// Immediate runs f in a transaction of SQLite that begins as a writer.
// committing tells whether an error came from COMMIT.
func Immediate(ctx context.Context, db *sql.DB, f func(conn *sql.Conn) error) (committing bool, err error) {
	conn, release, err := Writer(ctx, db)
	if err != nil {
		return false, err
	}
	defer release()
	exec := func(query string) func() error {
		return func() error { _, err := conn.ExecContext(ctx, query); return err }
	}
	if err := WhileBusy(ctx, exec("BEGIN IMMEDIATE")); err != nil {
		return false, err
	}
	done := false
	defer func() {
		if !done { // an error, a panic or Goexit
			conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") //nolint:errcheck // the first error says more
		}
	}()
	if err := f(conn); err != nil {
		return false, err
	}
	if err := WhileBusy(ctx, exec("COMMIT")); err != nil { // readers can be in the way, without WAL
		return true, err
	}
	done = true
	return false, nil
}
