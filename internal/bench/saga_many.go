package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// Rows about many sagas at once: recovery, waiting, and what fails for ever.
func sagaManyRows() []row {
	return []row{{
		name: "saga: W6, file, fsync, open and finish 100,000 that a process left", ours: recovery(1, 100_000),
		peers:  []peer{{"10 times 10,000", recovery(10, 10_000), 1.3}},
		allocs: 20_000_000, most: 10 * time.Second,
	}, {
		name: "saga: W6, Postgres, fsync, finish 10,000 that a process left", ours: recoveryOn(postgresSagas("w6_"), 10_000),
		allocs: 20_000_000,
	}, {
		name: "saga: W7, memory, a Poll beside 100,000 that wait", ours: pollBeside(memorySagas, 100_000),
		peers:  []peer{{"beside none", pollBeside(memorySagas, 0), 0}},
		allocs: 50, most: 10 * time.Millisecond,
	}, {
		name: "saga: W7, file, fsync, a Poll beside 100,000 that wait", ours: pollBeside(fileSagas, 100_000),
		peers:  []peer{{"beside none", pollBeside(fileSagas, 0), 0}},
		allocs: 50, most: 10 * time.Millisecond,
	}, {
		name: "saga: W7, SQLite, WAL, FULL, a Poll beside 100,000 that wait", ours: pollBeside(sqliteSagas, 100_000),
		peers:  []peer{{"beside none", pollBeside(sqliteSagas, 0), 0}},
		allocs: 1000, most: 10 * time.Millisecond,
	}, {
		name: "saga: W7, Postgres, fsync, a Poll beside 100,000 that wait", ours: pollBeside(postgresSagas("w7_"), 100_000),
		peers:  []peer{{"beside none", pollBeside(postgresSagas("w7none_"), 0), 0}},
		allocs: 1000, most: 10 * time.Millisecond,
	}, {
		name: "saga: W8, file, fsync, W2 with 1 % poison, c=64, per clean saga", ours: besidePoison(100),
		peers:  []peer{{"without poison", besidePoison(0), 1 / 0.95}},
		allocs: 250,
	}}
}

// many is sized for rows one of whose operations is n sagas, rounds how often they
// run: once in the tests.
func many(n int) int {
	if small {
		return min(n, 200)
	}
	return n
}

func rounds(b *testing.B) int {
	if small {
		return 1
	}
	return b.N
}

// fillSagas creates n sagas, each released by the write that creates it.
func fillSagas(b *testing.B, store saga.Store, n int, wakeIn time.Duration) {
	c, err := saga.New(store, saga.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := saga.Register(c, chainOf(4))
	if err != nil {
		b.Fatal(err)
	}
	for n > 0 {
		batch := make([]saga.Write, min(n, 512))
		for i := range batch {
			if batch[i], err = s.Prepare(sagaID(), sagaOrder{User: "ada", Parcel: "none"}); err != nil {
				b.Fatal(err)
			}
			batch[i].WakeIn = wakeIn
			if wakeIn != 0 {
				batch[i].Summary.State = saga.Waiting
			}
		}
		if _, err := store.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		n -= len(batch)
	}
}

// finish serves until n sagas have completed.
func finish(b *testing.B, store saga.Store, n int) {
	c, err := saga.New(store, saga.Config{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := saga.Register(c, chainOf(4)); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	for c.Stats().Completed < uint64(n) {
		if ctx.Err() != nil {
			b.Fatal(ctx.Err())
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// recovery opens directories with n sagas each that have begun and are held by
// nobody, and brings them to their end.
func recovery(directories, n int) func(b *testing.B) {
	return func(b *testing.B) {
		for range rounds(b) * directories {
			b.StopTimer()
			dir := b.TempDir()
			s, err := sagafile.Open(dir, sagafile.Config{NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			fillSagas(b, s, many(n), 0)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			b.StartTimer()
			if s, err = sagafile.Open(dir, sagafile.Config{}); err != nil {
				b.Fatal(err)
			}
			finish(b, s, many(n))
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = os.RemoveAll(dir)
			b.StartTimer()
		}
	}
}

func recoveryOn(open func(b *testing.B) saga.Store, n int) func(b *testing.B) {
	return func(b *testing.B) {
		s := open(b)
		for range rounds(b) {
			b.StopTimer()
			fillSagas(b, s, many(n), 0)
			b.StartTimer()
			finish(b, s, many(n))
		}
	}
}

// pollBeside is what a process with nothing to do does once a second.
func pollBeside(open func(b *testing.B) saga.Store, n int) func(b *testing.B) {
	return func(b *testing.B) {
		ctx, s := context.Background(), open(b)
		there := 0 // tables outlive a round
		for range s.List(ctx, saga.Filter{}) {
			there++
		}
		fillSagas(b, s, max(many(n)-there, 0), 24*time.Hour)
		lease := saga.Lease{Owner: "bench-" + strconv.FormatInt(sagaIDs.Add(1), 10), For: time.Minute, Limit: 1000, Can: []string{"chain-of-4@1"}}
		for b.Loop() {
			w, err := s.Poll(ctx, lease)
			if err != nil || len(w.Claimed) > 0 {
				b.Fatalf("claimed %d, %v", len(w.Claimed), err)
			}
		}
	}
}

// besidePoison runs clean sagas, and one that fails for ever per every clean ones.
func besidePoison(every int64) func(b *testing.B) {
	return func(b *testing.B) {
		c, clean := served(b, fileSagas(b), chainOf(4))
		broken := sagaStep("broken")
		broken.Do = func(context.Context, *sagaOrder) error { return errSoldOut }
		broken.Retry = saga.Retry{Attempts: -1}
		poison, err := saga.Register(c, saga.Definition[sagaOrder]{Name: "poison", Steps: []saga.Step[sagaOrder]{broken}})
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.Background()
		if _, err := clean.Run(ctx, sagaID(), sagaOrder{}); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		concurrently(b, 64, func() error {
			id := sagaIDs.Add(1)
			if every > 0 && id%every == 0 {
				if err := poison.Start(ctx, fmt.Sprint("poison-", id), sagaOrder{}); err != nil {
					return err
				}
			}
			_, err := clean.Run(ctx, "order-"+strconv.FormatInt(id, 10), sagaOrder{User: "ada"})
			return err
		})
		b.StopTimer()
	}
}
