package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
)

// temporary is an SQLite database for an example.
func temporary() (db *sql.DB, remove func()) {
	dir, err := os.MkdirTemp("", "keelson-example-")
	if err != nil {
		panic(err)
	}
	db, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		panic(err)
	}
	return db, func() {
		_ = db.Close()
		_ = os.RemoveAll(dir)
	}
}

func Example() {
	ctx := context.Background()
	db, remove := temporary()
	defer remove()

	if err := eventsql.Setup(ctx, db, eventsql.Config{}); err != nil {
		panic(err)
	}
	store, err := eventsql.Open(ctx, db, eventsql.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()

	opened := []eventsource.Event{{Stream: "account-7", Type: "account.opened"}}
	res, err := store.Append(ctx, opened, eventsource.NoStream("account-7"))
	fmt.Println(res.Version, err)
	_, err = store.Append(ctx, opened, eventsource.NoStream("account-7"))
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// eventsource: conflict: AtVersion("account-7", 0): the version is 1
}

// An order and its event are written together, or not at all.
func Example_appendTx() {
	ctx := context.Background()
	db, remove := temporary()
	defer remove()
	store := exampleStore(db, "CREATE TABLE orders (id text)")
	defer store.Close()

	place := func(id string, commit bool) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			panic(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ('"+id+"')"); err != nil {
			panic(err)
		}
		placed := eventsource.Event{Stream: "order-" + id, Type: "order.placed"}
		if _, err := store.AppendTx(ctx, tx, []eventsource.Event{placed}, eventsource.NoStream("order-"+id)); err != nil {
			panic(err)
		}
		if commit {
			if err := tx.Commit(); err != nil {
				panic(err)
			}
			store.Notify()
		}
	}
	place("41", false)
	place("42", true)
	for e := range store.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
		fmt.Println(e.Stream, e.Type)
	}
	// Output: order-42 order.placed
}

// A read model that counts each event exactly once.
func Example_inTx() {
	ctx, done := context.WithCancel(context.Background())
	db, remove := temporary()
	defer remove()
	store := exampleStore(db, "CREATE TABLE totals (stream text PRIMARY KEY, orders int)")
	defer store.Close()

	for _, customer := range []string{"ada", "bob", "ada"} {
		_, err := store.Append(ctx, []eventsource.Event{{Stream: customer, Type: "order.placed"}})
		if err != nil {
			panic(err)
		}
	}
	totals := eventsource.Projection{
		Name:  "totals",
		Query: eventsource.Query{{Types: []string{"order.placed"}}},
		Apply: eventsql.InTx(func(ctx context.Context, tx *sql.Tx, b eventsource.Batch) error {
			for _, e := range b.Events {
				_, err := tx.ExecContext(ctx, "INSERT INTO totals (stream, orders) VALUES (?, 1) "+
					"ON CONFLICT (stream) DO UPDATE SET orders = totals.orders + 1", e.Stream)
				if err != nil {
					return err
				}
			}
			return nil
		}),
		OnEvent: func(p eventsource.Progress) {
			if p.Through == 3 {
				done()
			}
		},
	}
	fmt.Println(totals.Run(ctx, store, store))
	var orders int
	if err := db.QueryRow("SELECT orders FROM totals WHERE stream = 'ada'").Scan(&orders); err != nil {
		panic(err)
	}
	fmt.Println(orders)
	// Output:
	// eventsource: projection totals ended: context canceled
	// 2
}

func exampleStore(db *sql.DB, table string) *eventsql.Store {
	ctx := context.Background()
	if err := eventsql.Setup(ctx, db, eventsql.Config{}); err != nil {
		panic(err)
	}
	if _, err := db.ExecContext(ctx, table); err != nil {
		panic(err)
	}
	store, err := eventsql.Open(ctx, db, eventsql.Config{})
	if err != nil {
		panic(err)
	}
	return store
}
