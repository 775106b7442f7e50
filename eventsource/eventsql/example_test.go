package eventsql_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
)

// The same code runs on a database, with its output checked, in
// internal/verify/eventsql.

//nolint:testableexamples // it needs a database
func Example() {
	ctx := context.Background()
	db, err := sql.Open("pgx", "postgres://localhost/shop")
	if err != nil {
		panic(err)
	}
	if err := eventsql.Setup(ctx, db, eventsql.Config{}); err != nil {
		panic(err)
	}
	store, err := eventsql.Open(ctx, db, eventsql.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()

	res, err := store.Append(ctx, []eventsource.Event{{Stream: "account-7", Type: "account.opened"}}, eventsource.NoStream("account-7"))
	fmt.Println(res.Version, err)
}

// An order and its event are written together, or not at all: an outbox, since
// the log can be relayed to a broker.
//
//nolint:testableexamples // it needs a database
func ExampleStore_AppendTx() {
	var ctx context.Context
	var db *sql.DB
	var store *eventsql.Store

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ('42')"); err != nil {
		panic(err)
	}
	placed := eventsource.Event{Stream: "order-42", Type: "order.placed"}
	if _, err := store.AppendTx(ctx, tx, []eventsource.Event{placed}, eventsource.NoStream("order-42")); err != nil {
		panic(err)
	}
	if err := tx.Commit(); err != nil {
		panic(err)
	}
	store.Notify() // subscribers of this process look now
}

// A read model that counts each event exactly once: its rows and the checkpoint
// of the projection commit together.
//
//nolint:testableexamples // it needs a database
func ExampleInTx() {
	var ctx context.Context
	var store *eventsql.Store

	orders := eventsource.Projection{
		Name:  "orders-per-day",
		Query: eventsource.Query{{Types: []string{"order.placed"}}},
		Apply: eventsql.InTx(func(ctx context.Context, tx *sql.Tx, b eventsource.Batch) error {
			for _, e := range b.Events {
				_, err := tx.ExecContext(ctx, "INSERT INTO per_day (day, orders) VALUES ($1, 1) "+
					"ON CONFLICT (day) DO UPDATE SET orders = per_day.orders + 1", e.Time.Format("2006-01-02"))
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	err := orders.Run(ctx, store, store) // until ctx ends
	fmt.Println(err)
}

// Subscribers learn at once of what other processes append, if something tells
// them: here LISTEN, whatever the driver's way to it.
//
//nolint:testableexamples // it needs a database
func ExampleStore_Notify() {
	var store *eventsql.Store
	var notifications <-chan string

	for range notifications {
		store.Notify()
	}
}
