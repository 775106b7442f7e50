package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"
)

// State returns the SQLSTATE of a Postgres error, "" for any other. pgx and
// lib/pq both have the method.
func State(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// RolledBack tells that the server said no: the transaction has left nothing.
// What it does not say no to may have been committed: a connection that broke,
// or one whose backend was told to end (57P01 to 57P03), perhaps right after
// the commit.
func RolledBack(err error) bool {
	state := State(err)
	return state != "" && !strings.HasPrefix(state, "08") && !strings.HasPrefix(state, "57P")
}

// NotSent tells that the statement never left: the connection from the pool was
// dead already.
func NotSent(err error) bool { return errors.Is(err, driver.ErrBadConn) }

// SerialFailure tells a deadlock or a failed serialization: the same again
// succeeds.
func SerialFailure(err error) bool {
	state := State(err)
	return state == "40001" || state == "40P01"
}

// Busy tells that another connection writes to the SQLite database. The drivers
// have the code in types of their own and the text of SQLite in the message.
func Busy(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked"))
}

// WhileBusy calls f until it returns something other than Busy, or ctx ends.
// Drivers differ in their busy timeout, and it may be zero.
func WhileBusy(ctx context.Context, f func() error) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 32*time.Millisecond) {
		err := f()
		if !Busy(err) {
			return err
		}
		pause.Reset(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
