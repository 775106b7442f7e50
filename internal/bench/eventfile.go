package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/wal"
)

// The workload of the eventfile rows is W1: one event of 256 bytes per append, to
// 10,000 streams in random order, in a log that has 100,000 events, with an fsync
// before each is acknowledged.
const (
	fileStreams = 10_000
	filePayload = 256
	fileRecord  = 28 + 14 + 13 + 10 + 1 + filePayload // what such an append takes in the log
)

func eventfileRows() []row {
	bare := func(callers int) func(b *testing.B) { return func(b *testing.B) { benchWal(b, callers) } }
	w1 := func(callers int) func(b *testing.B) {
		return func(b *testing.B) { benchFile(b, callers, sized(100_000)) }
	}
	return []row{
		{name: "eventfile: W1, 1 caller, fsync", ours: w1(1), allocs: 8, peers: []peer{
			{"bare internal/wal, fsync", bare(1), 0},
		}},
		{name: "eventfile: W1, 16 callers, fsync", ours: w1(16), allocs: 8, peers: []peer{
			{"1 caller, fsync", w1(1), 0}, {"bare internal/wal, 16 callers, fsync", bare(16), 0},
		}},
		{name: "eventfile: W1, 256 callers, fsync", ours: w1(256), allocs: 8, peers: []peer{
			{"1 caller, fsync", w1(1), 0.05}, {"bare internal/wal, 256 callers, fsync", bare(256), 2},
		}},
		{name: "eventfile: W9, W1 at 1,000,000 events, 256 callers, fsync", ours: func(b *testing.B) { benchFile(b, 256, sized(1_000_000)) }, allocs: 8, peers: []peer{
			{"at 100,000 events", func(b *testing.B) { benchFile(b, 256, sized(100_000)) }, 1.3},
		}},
		{name: "eventfile: open 1,000,000 events in files of 16 MiB, with their indexes", ours: benchReopen(false), allocs: 10_000_000, peers: []peer{
			{"without: every record read and checked", benchReopen(true), 0.2},
		}},
	}
}

// callers runs op on n goroutines without a pause. The loop hands out turns, and
// the turns that are on their way when it ends count too: a few hundred of them
// would otherwise make a short run look cheap in time and dear in allocations.
func callers(b *testing.B, n int, op func(r *rand.Rand) error) {
	turns := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		running.Go(func() {
			for range turns {
				if err := op(r); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for b.Loop() {
		turns <- struct{}{}
	}
	b.StartTimer()
	close(turns)
	running.Wait()
	b.StopTimer()
}

func benchFile(b *testing.B, n, prefilled int) {
	dir := b.TempDir()
	if prefilled > 0 {
		fill(b, dir, prefilled, eventfile.Config{NoSync: true})
	}
	l, err := eventfile.Open(dir, eventfile.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	names := streamNames()
	payload := make([]byte, filePayload)
	ctx := context.Background()
	callers(b, n, func(r *rand.Rand) error {
		_, err := l.Append(ctx, []eventsource.Event{{Stream: names[r.IntN(fileStreams)], Type: "deposited", Data: payload}})
		return err
	})
}

func streamNames() []string {
	names := make([]string, fileStreams)
	for i := range names {
		names[i] = fmt.Sprintf("account-%04d", i)
	}
	return names
}

// benchWal enqueues records of the size that eventfile's have.
func benchWal(b *testing.B, n int) {
	l, err := wal.Open(wal.Config{Dir: b.TempDir()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx := context.Background()
	callers(b, n, func(r *rand.Rand) error {
		var record [fileRecord]byte
		binary.LittleEndian.PutUint64(record[:], r.Uint64())
		if err := l.Reserve(ctx, len(record)); err != nil {
			return err
		}
		return l.Enqueue(record[:]).Wait(ctx)
	})
}

// fill writes events, a hundred per append.
func fill(b *testing.B, dir string, events int, cfg eventfile.Config) {
	l, err := eventfile.Open(dir, cfg)
	if err != nil {
		b.Fatal(err)
	}
	names := streamNames()
	payload := make([]byte, filePayload)
	for n := 0; n < events; n += 100 {
		batch := make([]eventsource.Event, 100)
		for i := range batch {
			batch[i] = eventsource.Event{Stream: names[rand.IntN(fileStreams)], Type: "deposited", Data: payload}
		}
		if _, err := l.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for { // until the indexes are written, which happens beside
		segments, _ := filepath.Glob(filepath.Join(dir, "*.wal"))
		indexes, _ := filepath.Glob(filepath.Join(dir, "*.idx"))
		if len(indexes) == len(segments)-1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchReopen(verify bool) func(b *testing.B) {
	return func(b *testing.B) {
		dir := b.TempDir()
		cfg := eventfile.Config{SegmentSize: 16 << 20, NoSync: true}
		fill(b, dir, sized(1_000_000), cfg)
		cfg.VerifyOnOpen = verify
		for b.Loop() {
			l, err := eventfile.Open(dir, cfg)
			if err != nil {
				b.Fatal(err)
			}
			if n := l.Stats().Events; n != uint64(sized(1_000_000)) {
				b.Fatalf("%d events", n)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
