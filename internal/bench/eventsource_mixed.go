package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
)

func eventsourceMixedRows() (rows []row) {
	one := peer{"an append for each", benchBatches(1), 0}
	for _, n := range []int{10, 100, 1000} {
		rows = append(rows, row{name: fmt.Sprintf("eventsource: Memory W5, appends of %d, per event", n), ours: benchBatches(n), peers: []peer{one}})
	}
	return append(rows, row{
		name: "eventsource: Memory W10, append beside a reader of all",
		ours: benchBesideReader(true), allocs: 3, peers: []peer{{"alone", benchBesideReader(false), 0}},
	})
}

// benchBatches appends n events at a time to random streams.
func benchBatches(n int) func(b *testing.B) {
	return func(b *testing.B) {
		s, names, data := eventsource.Store(filledLog(10*eventStreams)), eventNames(), make([]byte, eventPayload)
		r, events := rand.New(rand.NewPCG(5, 6)), make([]eventsource.Event, 0, n)
		b.ReportAllocs()
		put := func() {
			if len(events) == 0 {
				return
			}
			if _, err := s.Append(context.Background(), events); err != nil {
				b.Fatal(err)
			}
			events = events[:0]
		}
		for b.Loop() {
			events = append(events, eventsource.Event{Stream: names[r.IntN(len(names))], Type: "account.deposited", Data: data})
			if len(events) == n {
				put()
			}
		}
		put() // what is left, so that a short run appends at all
	}
}

// benchBesideReader appends while somebody reads all that there is, again and
// again.
func benchBesideReader(reads bool) func(b *testing.B) {
	return func(b *testing.B) {
		s := filledLog(10 * eventStreams)
		ctx, stop := context.WithCancel(b.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for reads && ctx.Err() == nil {
				for _, err := range s.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
					if err != nil {
						if ctx.Err() == nil {
							b.Error(err) // and nobody reads beside what is measured
						}
						return
					}
				}
			}
		}()
		b.ReportAllocs()
		b.ResetTimer()
		appendAll(b, s, plain)
		b.StopTimer()
		stop()
		<-done
	}
}
