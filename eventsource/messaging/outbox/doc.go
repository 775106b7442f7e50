// Package outbox makes a database transaction and the messages about it one
// thing: what is put in the transaction is published if and only if it commits,
// and what a message causes happens exactly once. It works in Postgres 13 and
// later and SQLite 3.35 and later, through database/sql with the driver of your
// choice, in front of any broker of package messaging.
//
// The nearest thing is a table and a loop that polls it. The difference: nothing
// is skipped when transactions commit late, the order per key survives crashes,
// several processes share the work, one message that no broker takes does not
// hold up the others, and an outage of the broker parks none.
//
//	err := outbox.Setup(ctx, db, outbox.Config{}) // creates or migrates
//	box, err := outbox.Open(ctx, db, outbox.Config{})
//	go box.Relay(ctx, broker) // publishes what has been committed
//
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, "INSERT INTO orders ...")
//	err = box.Put(ctx, tx, messaging.Message{Topic: "orders", Key: "order-42", Body: placed})
//	err = tx.Commit()
//	box.Wake()
//
// # The other end
//
// [Outbox.Handler] and [Outbox.Once] are the inbox: a record of the message's ID
// commits in the transaction of its effects, so that a duplicate finds it and
// does nothing. The record is per group: two groups process one message
// independently. What the handler puts is in the transaction as well, so that
// a chain of services has each effect once, however often its messages travel.
//
// # Lanes
//
// Messages are divided into 16 lanes by hash of their Key, of their ID if they
// have none. A relay claims up to half of the lanes that have something, reads the
// oldest messages of these, publishes them together, deletes them and lets go of
// the lanes: three round trips for up to [Config].Batch messages. A relay that
// dies with lanes claimed holds them up for [Config].Lease, measured by the
// database's clock. One that was paused for longer finds its claim gone, so that
// it deletes nothing; what it still sends are repeats.
//
// # What it does not do
//
// The relay deletes what the broker took, so the table is no archive; to keep
// events, put them into package eventsource/eventsql, whose log messaging.Relay
// publishes. Setup, deployment and backups of the broker are yours.
//
// # Tables
//
// They begin with [Config].Prefix: outbox, outbox_lanes, outbox_parked, inbox and
// schema. They may be read by anybody; write through this package alone.
package outbox
