package outbox_test

import (
	"context"
	"database/sql"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
)

// The same runs on a database, with its output checked, in
// internal/verify/outbox.

// An order and the message about it commit together, or not at all.
//
//nolint:testableexamples // it needs a database
func Example() {
	var ctx context.Context
	var db *sql.DB
	var broker messaging.Publisher

	if err := outbox.Setup(ctx, db, outbox.Config{}); err != nil {
		panic(err)
	}
	box, err := outbox.Open(ctx, db, outbox.Config{})
	if err != nil {
		panic(err)
	}
	go box.Relay(ctx, broker) //nolint:errcheck // it ends with ctx

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ('42')"); err != nil {
		panic(err)
	}
	if err := box.Put(ctx, tx, messaging.Message{Topic: "orders", Key: "order-42", Body: []byte("placed")}); err != nil {
		panic(err)
	}
	if err := tx.Commit(); err != nil {
		panic(err)
	}
	box.Wake()
}
