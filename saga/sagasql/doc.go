// Package sagasql keeps sagas in Postgres or SQLite, beside a service's own tables
// if it likes: [StartTx] creates a saga in the caller's transaction, so that it
// exists if and only if the order that it belongs to does.
//
//	if err := sagasql.Setup(ctx, db, sagasql.Config{}); err != nil {
//		return err
//	}
//	store, err := sagasql.Open(ctx, db, sagasql.Config{})
//	if err != nil {
//		return err
//	}
//	c, err := saga.New(store, saga.Config{})
//
// Any number of processes share the tables on Postgres; leases go by the server's
// clock, on SQLite by the host's. The package imports no driver: pgx and lib/pq,
// modernc's and mattn's SQLite work.
//
// A coordinator renews its lease by statements of the store. Give the store a
// *sql.DB of its own, so that a business pool without free connections does not
// cost the lease.
//
// # Durability
//
// A commit waits for the disk: on SQLite every connection is set to
// synchronous=FULL while the store writes, whatever the driver's default, and a
// Postgres session with synchronous_commit=off is refused. Config.Relaxed accepts
// both as they are.
//
// # Text
//
// Postgres knows neither NUL nor broken UTF-8: both become U+FFFD in codes, errors
// and keys. Data is kept byte for byte.
package sagasql
