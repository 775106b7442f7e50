// Package eventsql is an event store in a database that is there already:
// Postgres 13 and later, or SQLite 3.35 and later, through database/sql with
// the driver of your choice.
//
// It is what Marten is to .NET, with an order of events that readers can rely
// on, and with conditions over more than one stream.
//
//	db, err := sql.Open("pgx", url)
//	err = eventsql.Setup(ctx, db, eventsql.Config{}) // creates or migrates
//	store, err := eventsql.Open(ctx, db, eventsql.Config{})
//
//	_, err = store.Append(ctx, events, eventsource.AtVersion("account-7", 3))
//
// A [Store] is an [eventsource.Store] and [eventsource.Checkpoints]: deciders,
// subscriptions and projections of package eventsource work on it. What it adds
// is the transaction: [Store.AppendTx] appends in one of the caller's, and
// [InTx] lets a projection write its read model and its checkpoint in one, so
// that each event counts exactly once.
//
// # Order on Postgres
//
// Positions come from a sequence, and transactions commit in any order, so that
// a position can appear below one that has been read. A reader who goes on from
// the last one it saw loses it; that is the bug that event stores on Postgres
// are known for. Here every append holds a shared advisory lock on the position
// before its own until its transaction is over, and Head is the newest event
// below all of these. So nothing can appear at or below Head: without timeouts,
// without waiting, and without transaction ids, which a restored dump does not
// have. A transaction holds Head back only if it has appended, and only until
// it ends; what it rolls back leaves holes that nobody waits for.
//
// Conditions are ordered by more such locks, on hashes of what an append writes
// and looks at: appends that could conflict pass one by one, others side by
// side. They are held by the transaction and work through a pooler in
// transaction mode. Hashes that collide cost time and change no answer.
//
// # Durability
//
// On Postgres an append raises synchronous_commit to on for its transaction if
// it is lower; fsync is the server's. On SQLite it runs with synchronous=FULL
// whatever the data source name says, and appends that wait for the disk share
// the next sync, see [Config].GroupCommit. WAL mode is a good choice there, and
// stays yours.
//
// # Uncertain commits
//
// A connection that breaks during a commit leaves its outcome open. Ids are made
// before anything is sent, so that Append sends the events again and learns
// whether they are there; the caller sees one append. What remains unknown, a
// second loss or the end of the context, is [eventsource.ErrUncertain].
//
// # Tables
//
// The tables begin with [Config].Prefix: events, tags, checkpoints and schema,
// and on Postgres a sequence and five functions. They may be read by anybody;
// write through this package alone. Deleting or changing events is not
// supported.
package eventsql
