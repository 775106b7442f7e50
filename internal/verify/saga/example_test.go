package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// must ends an example.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func memoryDB() *sql.DB {
	db, err := sql.Open("sqlite", "file::memory:?_pragma=synchronous(FULL)")
	must(err)
	db.SetMaxOpenConns(1) // the database is the connection
	return db
}

// The order and its saga are written together: there is neither one without the
// other, whatever fails in between.
func ExampleStartTx() {
	ctx := context.Background()
	db := memoryDB()
	defer db.Close()
	must(sagasql.Setup(ctx, db, sagasql.Config{}))
	store, err := sagasql.Open(ctx, db, sagasql.Config{})
	must(err)
	c, err := saga.New(store, saga.Config{})
	must(err)
	type order struct{ Total int }
	orders, err := saga.Register(c, saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{
		{Name: "pay", Do: func(_ context.Context, o *order) error {
			fmt.Println("pays", o.Total)
			return nil
		}},
	}})
	must(err)
	_, err = db.ExecContext(ctx, "CREATE TABLE orders (id text PRIMARY KEY, total integer)")
	must(err)

	tx, err := db.BeginTx(ctx, nil)
	must(err)
	_, err = tx.ExecContext(ctx, "INSERT INTO orders (id, total) VALUES ('order-17', 42)")
	must(err)
	must(sagasql.StartTx(ctx, tx, store, orders, "order-17", order{42}))
	must(tx.Commit())

	ctx, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- c.Serve(ctx) }()
	o, err := orders.Wait(ctx, "order-17")
	fmt.Println(o.Total, err)
	stop()
	fmt.Println(<-done)
	// Output:
	// pays 42
	// 42 <nil>
	// <nil>
}

// The participant's row and its effect commit together.
func ExampleIn() {
	ctx := context.Background()
	db := memoryDB()
	defer db.Close()
	must(barrier.Setup(ctx, db))
	_, err := db.ExecContext(ctx, "CREATE TABLE payments (id text PRIMARY KEY, amount integer)")
	must(err)
	pay := func(c saga.Call, amount int) (int, error) {
		tx, err := db.BeginTx(ctx, nil)
		must(err)
		defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
		got, err := barrier.Do(ctx, barrier.In(tx), c, func(ctx context.Context) (int, error) {
			_, err := tx.ExecContext(ctx, "INSERT INTO payments (id, amount) VALUES (?1, ?2)", c.Saga, amount)
			fmt.Println("took", amount)
			return amount, err
		})
		if err != nil {
			return 0, err
		}
		return got, tx.Commit()
	}
	call := saga.Call{Saga: "order-17", Step: "pay"}
	fmt.Println(pay(call, 42))
	fmt.Println(pay(call, 42)) // the message came again

	late := saga.Call{Saga: "order-18", Step: "pay"}
	undo := late
	undo.Undo = true
	fmt.Println(pay(undo, -7)) // the action never came
	_, err = pay(late, 7)
	fmt.Println(errors.Is(err, barrier.ErrLate))
	// Output:
	// took 42
	// 42 <nil>
	// 42 <nil>
	// 0 <nil>
	// true
}
