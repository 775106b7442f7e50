package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/outbox"
)

// temporary is an Outbox in an SQLite database for an example.
func temporary() (db *sql.DB, box *outbox.Outbox, remove func()) {
	dir, err := os.MkdirTemp("", "keelson-example-")
	if err != nil {
		panic(err)
	}
	db, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		panic(err)
	}
	if err := outbox.Setup(context.Background(), db, outbox.Config{}); err != nil {
		panic(err)
	}
	if box, err = outbox.Open(context.Background(), db, outbox.Config{}); err != nil {
		panic(err)
	}
	return db, box, func() {
		_ = db.Close()
		_ = os.RemoveAll(dir)
	}
}

// An order and the message about it commit together, or not at all.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	db, box, remove := temporary()
	defer remove()

	place := func(id string, commit bool) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			panic(err)
		}
		defer tx.Rollback()
		// Write the order here, through tx.
		if err := box.Put(ctx, tx, messaging.Message{Topic: "orders", Key: id, Body: []byte("placed")}); err != nil {
			panic(err)
		}
		if commit {
			if err := tx.Commit(); err != nil {
				panic(err)
			}
			box.Wake()
		}
	}
	place("order-41", false)
	place("order-42", true)
	err := box.Relay(ctx, publisher(func(_ context.Context, msgs ...messaging.Message) error {
		for _, m := range msgs {
			fmt.Println(m.Topic, m.Key, string(m.Body))
		}
		stop()
		return nil
	}))
	fmt.Println(err)
	// Output:
	// orders order-42 placed
	// outbox: relay ended: context canceled
}

// A handler whose effect is exactly one, however often the message arrives.
func Example_handler() {
	ctx := context.Background()
	db, box, remove := temporary()
	defer remove()
	if _, err := db.ExecContext(ctx, "CREATE TABLE stock (item text PRIMARY KEY, n int); INSERT INTO stock VALUES ('pen', 10)"); err != nil {
		panic(err)
	}
	reserve := box.Handler("inventory", func(ctx context.Context, tx *sql.Tx, d messaging.Delivery) error {
		if _, err := tx.ExecContext(ctx, "UPDATE stock SET n = n - 1 WHERE item = 'pen'"); err != nil {
			return err
		}
		return box.Put(ctx, tx, messaging.Message{Topic: "reserved", Key: d.Key})
	})
	d := messaging.Delivery{Message: messaging.Message{ID: "m-1", Topic: "orders", Key: "order-42"}, Attempt: 1}
	fmt.Println(reserve(ctx, d), reserve(ctx, d))
	var n int
	if err := db.QueryRowContext(ctx, "SELECT n FROM stock").Scan(&n); err != nil {
		panic(err)
	}
	fmt.Println(n)
	// Output:
	// <nil> <nil>
	// 9
}
