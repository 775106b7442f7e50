package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// The rows of saga start sagas from c goroutines, each of which waits for the end
// of its saga before it starts the next, and give the time per saga: the wall clock
// divided by sagas. Steps do nothing but change two fields of six. Every append is
// durable before the next step begins, but for the rows in memory.
func sagaRows() []row {
	file, lite, pg := fileSagas, sqliteSagas, postgresSagas("w_")
	w2 := chainOf(4)
	return []row{{
		name: "saga: W1, memory, 10 steps, c=1", ours: sagas(memorySagas, 1, chainOf(10), saga.Completed),
		allocs: 120, most: 10 * time.Microsecond,
	}, {
		name: "saga: W2, file, fsync, 4 steps, c=1", ours: sagas(file, 1, w2, saga.Completed),
		peers:  []peer{{"bare internal/wal, 5 records, c=1", bareWal(1), 1.67}},
		allocs: 120, most: 2 * time.Millisecond,
	}, {
		name: "saga: W2, file, fsync, 4 steps, c=64", ours: sagas(file, 64, w2, saga.Completed),
		peers:  []peer{{"bare internal/wal, 5 records, c=64", bareWal(64), 1.67}},
		allocs: 120,
	}, {
		name: "saga: W2, file, fsync, 4 steps, c=256", ours: sagas(file, 256, w2, saga.Completed),
		peers:  []peer{{"bare internal/wal, 5 records, c=256", bareWal(256), 1.67}},
		allocs: 240, most: time.Second / 15_000,
	}, {
		name: "saga: W2, SQLite, WAL, FULL, 4 steps, c=64", ours: sagas(lite, 64, w2, saga.Completed),
		peers: []peer{
			{"bare statements, 64 sagas a transaction", bareSQLite, 1.67},
			{"dbos v1.2.0, 4 steps, WAL, FULL", dbosWorkflows(dbosOnSQLite, 64), 0.1},
		},
		allocs: 1500, most: time.Second / 4000,
	}, {
		name: "saga: W2, Postgres, fsync, 4 steps, c=64", ours: sagas(pg, 64, w2, saga.Completed),
		peers: []peer{
			{"bare statements, 64 sagas a statement", barePostgres, 1.67},
			{"dbos v1.2.0, 4 steps, fsync", dbosWorkflows(dbosOnPostgres, 64), 0.1},
		},
		allocs: 1500, most: time.Second / 4000,
	}, {
		name: "saga: W3, file, fsync, refused at step 4, 3 undos, c=256", ours: sagas(file, 256, refusedAt(4), saga.Compensated),
		peers:  []peer{{"W2", sagas(file, 256, w2, saga.Completed), 2}},
		allocs: 250,
	}, {
		name: "saga: W3, Postgres, fsync, refused at step 4, 3 undos, c=64", ours: sagas(pg, 64, refusedAt(4), saga.Compensated),
		peers:  []peer{{"W2", sagas(pg, 64, w2, saga.Completed), 2}},
		allocs: 2500,
	}, {
		name: "saga: W4, file, fsync, graph 1-16-1, c=64", ours: sagas(file, 64, graph(16), saga.Completed),
		peers:  []peer{{"a chain of 18", sagas(file, 64, chainOf(18), saga.Completed), 0}},
		allocs: 1500,
	}, {
		name: "saga: W5, file, fsync, 64 KiB of state, 20 steps that change 100 B, c=16", ours: sagasOf(file, 16, large(), largeState(), saga.Completed),
		peers:  []peer{{"without the 64 KiB", sagasOf(file, 16, large(), sagaLarge{}, saga.Completed), 0}},
		allocs: 1500,
	}}
}

// sagaOrder is the state of most rows.
type sagaOrder struct {
	ID     int    `json:"id"`
	User   string `json:"user"`
	Paid   bool   `json:"paid"`
	Stock  string `json:"stock"`
	Parcel string `json:"parcel"`
	N      int    `json:"n"`
}

func sagaStep(name string) saga.Step[sagaOrder] {
	return saga.Step[sagaOrder]{
		Name: name,
		Do:   func(_ context.Context, o *sagaOrder) error { o.N++; o.Stock = name; return nil },
		Undo: func(_ context.Context, o *sagaOrder) error { o.N--; return nil },
	}
}

func chainOf(n int) saga.Definition[sagaOrder] {
	d := saga.Definition[sagaOrder]{Name: "chain-of-" + strconv.Itoa(n)}
	for i := range n {
		d.Steps = append(d.Steps, sagaStep("step-"+strconv.Itoa(i+1)))
	}
	return d
}

func refusedAt(n int) saga.Definition[sagaOrder] {
	d := chainOf(n)
	d.Name = "refused-at-" + strconv.Itoa(n)
	d.Steps[n-1].Do = func(context.Context, *sagaOrder) error { return saga.Refuse(errSoldOut) }
	return d
}

var errSoldOut = errors.New("sold out")

// graph is a step, n beside each other, and one behind all of them. Those beside
// each other may not change one field.
func graph(n int) saga.Definition[sagaOrder] {
	nothing := func(context.Context, *sagaOrder) error { return nil }
	d := saga.Definition[sagaOrder]{Name: "graph-of-" + strconv.Itoa(n), Steps: []saga.Step[sagaOrder]{sagaStep("first")}}
	last := sagaStep("last")
	for i := range n {
		name := "beside-" + strconv.Itoa(i+1)
		d.Steps = append(d.Steps, saga.Step[sagaOrder]{Name: name, Do: nothing, Undo: nothing, After: []string{"first"}})
		last.After = append(last.After, name)
	}
	d.Steps = append(d.Steps, last)
	return d
}

// sagaLarge is the state of W5.
type sagaLarge struct {
	Blob string `json:"blob"`
	Note string `json:"note"`
}

func largeState() sagaLarge { return sagaLarge{Blob: string(make64KiB())} }

func make64KiB() []byte {
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	return text
}

func large() saga.Definition[sagaLarge] {
	d := saga.Definition[sagaLarge]{Name: "large"}
	for i := range 20 {
		name := "step-" + strconv.Itoa(i+1)
		note := fmt.Sprintf("%-100s", name)
		d.Steps = append(d.Steps, saga.Step[sagaLarge]{
			Name: name, Do: func(_ context.Context, s *sagaLarge) error { s.Note = note; return nil },
		})
	}
	return d
}

// served is a coordinator that serves until the benchmark ends.
func served[S any](b *testing.B, store saga.Store, d saga.Definition[S]) (*saga.Coordinator, *saga.Saga[S]) {
	c, err := saga.New(store, saga.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := saga.Register(c, d)
	if err != nil {
		b.Fatal(err)
	}
	serve(b, c)
	return c, s
}

func serve(b *testing.B, c *saga.Coordinator) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// sagaIDs counts over all rows and rounds: tables outlive them.
var sagaIDs atomic.Int64

func sagas(open func(b *testing.B) saga.Store, c int, d saga.Definition[sagaOrder], ends saga.State) func(b *testing.B) {
	return sagasOf(open, c, d, sagaOrder{User: "ada", Parcel: "none"}, ends)
}

func sagasOf[S any](open func(b *testing.B) saga.Store, c int, d saga.Definition[S], in S, ends saga.State) func(b *testing.B) {
	return func(b *testing.B) {
		_, s := served(b, open(b), d)
		if _, err := s.Run(context.Background(), sagaID(), in); endOf(err) != ends { // until it serves
			b.Fatalf("%v, want %v", err, ends)
		}
		b.ResetTimer()
		concurrently(b, c, func() error {
			if _, err := s.Run(context.Background(), sagaID(), in); endOf(err) != ends {
				return fmt.Errorf("%w, want %v", err, ends)
			}
			return nil
		})
		b.StopTimer()
	}
}

func sagaID() string { return "order-" + strconv.FormatInt(sagaIDs.Add(1), 10) }

func endOf(err error) saga.State {
	if e, ok := errors.AsType[*saga.Error](err); ok {
		return e.State
	}
	if err != nil {
		return 0
	}
	return saga.Completed
}

// concurrently calls op b.N times from c goroutines.
func concurrently(b *testing.B, c int, op func() error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range c {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := op(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func memorySagas(*testing.B) saga.Store { return saga.NewMemory() }

func fileSagas(b *testing.B) saga.Store {
	s, err := sagafile.Open(b.TempDir(), sagafile.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func sqliteSagas(b *testing.B) saga.Store {
	return sagasIn(b, sqliteFull(b, 4), sagasql.Config{})
}

// sqliteFull is a database whose commits wait for the disk.
func sqliteFull(b *testing.B, conns int) *sql.DB {
	source := "file:" + b.TempDir() + "/sagas.db?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(ON)&_txlock=immediate"
	return opened(b, "sqlite", source, conns)
}

func opened(b *testing.B, driver, source string, conns int) *sql.DB {
	db, err := sql.Open(driver, source)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

// postgresSagas opens tables that all rounds of a row share.
func postgresSagas(prefix string) func(b *testing.B) saga.Store {
	return func(b *testing.B) saga.Store {
		return sagasIn(b, opened(b, "pgx", startedPostgres(b).URL(), 8), sagasql.Config{Prefix: "saga_" + prefix})
	}
}

func sagasIn(b *testing.B, db *sql.DB, cfg sagasql.Config) saga.Store {
	err := sagasql.Setup(context.Background(), db, cfg)
	if err != nil {
		b.Fatal(err)
	}
	s, err := sagasql.Open(context.Background(), db, cfg)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
