package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
)

// The events of these rows have about 256 bytes of JSON each.
type (
	esEvent  interface{ isEvent() }
	esCredit esBooking
	esDebit  esBooking

	esBooking struct {
		Account  string `json:"account"`
		Cents    int64  `json:"cents"`
		Currency string `json:"currency"`
		Booked   string `json:"booked"`
		Note     string `json:"note"`
	}
)

func (esCredit) isEvent() {}
func (esDebit) isEvent()  {}

var esCodec = eventsource.NewCodec(map[string]esEvent{"account.credited": esCredit{}, "account.debited": esDebit{}})

func esEvolve(balance int64, e esEvent) int64 {
	switch e := e.(type) {
	case esCredit:
		return balance + e.Cents
	case esDebit:
		return balance - e.Cents
	}
	return balance
}

func esBookingOf(i int) esEvent {
	b := esBooking{fmt.Sprint("account-", i%10_000), int64(i), "EUR", "2026-01-02T03:04:05Z", strings.Repeat("x", 140)}
	if i%2 == 0 {
		return esDebit(b)
	}
	return esCredit(b)
}

// eventsourceFoldRows are the workloads W3, W6 and W8 of deciding and
// projecting, on the store in memory.
func eventsourceFoldRows() []row {
	rows := make([]row, 0, 5)
	for _, size := range []struct {
		name string
		n    int
	}{{"10", 10}, {"10,000", 10_000}, {"1 M", 1_000_000}} {
		n := sized(size.n)
		h := sync.OnceValue(func() *esHistory { return newESHistory(n) })
		target := 1.15
		if n == 10 {
			target = 0 // a read has a cost of its own
		}
		rows = append(rows, row{
			name:   "eventsource: W6, Fold of " + size.name + " events",
			ours:   func(b *testing.B) { h().fold(b) },
			peers:  []peer{{"a loop of json.Unmarshal over the same payloads, into the same types", func(b *testing.B) { h().loop(b) }, target}},
			allocs: int64(9*n + n/20 + 100),
		})
	}
	return append(
		rows,
		row{
			name: "eventsource: W3, Handle on one hot stream, a snapshot each 64 events", ours: esHot, allocs: 600,
			peers: []peer{{"Append under AtVersion alone, the state kept by hand", esHotBare, 0}},
		},
		row{
			name: "eventsource: W8, Append to Apply, live", ours: esLive, allocs: 60,
			peers: []peer{{"Append to a loop over Subscribe, nothing saved", esLiveBare, 0}},
		},
	)
}

// An esHistory is a store with n events, and their payloads beside it.
type esHistory struct {
	store    *eventsource.Memory
	payloads [][]byte
	types    []string
	want     int64
}

func newESHistory(n int) *esHistory {
	h := &esHistory{store: eventsource.NewMemory()}
	const chunk = 1000
	var batch []eventsource.Event
	for i := range n {
		e := esBookingOf(i)
		h.want = esEvolve(h.want, e)
		event, err := esCodec.Encode(e)
		if err != nil {
			panic(err)
		}
		event.Stream = fmt.Sprint("account-", i%10_000)
		h.payloads, h.types = append(h.payloads, event.Data), append(h.types, event.Type)
		if batch = append(batch, event); len(batch) == chunk || i == n-1 {
			if _, err := h.store.Append(context.Background(), batch); err != nil {
				panic(err)
			}
			batch = batch[:0]
		}
	}
	return h
}

func (h *esHistory) fold(b *testing.B) {
	for b.Loop() {
		got, _, err := eventsource.Fold(b.Context(), h.store, esCodec, eventsource.All(), eventsource.ReadOptions{}, 0, esEvolve)
		if err != nil || got != h.want {
			b.Fatal(got, err)
		}
	}
}

// loop is what one writes without a store: payloads in memory, a switch by name.
func (h *esHistory) loop(b *testing.B) {
	for b.Loop() {
		var got int64
		for i, data := range h.payloads {
			var e esEvent
			var err error
			switch h.types[i] {
			case "account.credited":
				var v esCredit
				err = json.Unmarshal(data, &v)
				e = v
			case "account.debited":
				var v esDebit
				err = json.Unmarshal(data, &v)
				e = v
			}
			if err != nil {
				b.Fatal(err)
			}
			got = esEvolve(got, e)
		}
		if got != h.want {
			b.Fatal(got)
		}
	}
}

var esDecider = eventsource.Decider[int, esEvent, int64]{
	Evolve:        esEvolve,
	Decide:        func(_ int64, i int) ([]esEvent, error) { return []esEvent{esBookingOf(i)}, nil },
	SnapshotEvery: 64,
}

func esHot(b *testing.B) {
	store, i := eventsource.NewMemory(), 0
	for b.Loop() {
		i++
		if out, err := esDecider.Handle(b.Context(), store, esCodec, eventsource.Scope{Stream: "hot"}, i); err != nil || out.Version != uint64(i) || out.SnapshotErr != nil {
			b.Fatal(out, err)
		}
	}
}

func esHotBare(b *testing.B) {
	store, i := eventsource.NewMemory(), 0
	var balance int64
	for b.Loop() {
		e := esBookingOf(i)
		event, err := esCodec.Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		event.Stream = "hot"
		if _, err := store.Append(b.Context(), []eventsource.Event{event}, eventsource.AtVersion("hot", uint64(i))); err != nil {
			b.Fatal(err)
		}
		balance = esEvolve(balance, e)
		i++
	}
}

func esLive(b *testing.B) {
	store, applied := eventsource.NewMemory(), make(chan eventsource.Position, 1)
	p := eventsource.Projection{
		Name: "live", Query: eventsource.All(),
		Apply: func(_ context.Context, batch eventsource.Batch) error {
			applied <- batch.Through
			return nil
		},
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx, store, store) }()
	esAppendEach(b, store, applied)
	cancel()
	<-done
}

func esLiveBare(b *testing.B) {
	store, applied := eventsource.NewMemory(), make(chan eventsource.Position, 1)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch, err := range eventsource.Subscribe(ctx, store, eventsource.All(), 0) {
			if err != nil {
				return
			}
			if len(batch.Events) > 0 {
				applied <- batch.Through
			}
		}
	}()
	esAppendEach(b, store, applied)
	cancel()
	<-done
}

// esAppendEach appends one event at a time, when the one before was applied.
func esAppendEach(b *testing.B, store eventsource.Store, applied <-chan eventsource.Position) {
	event, err := esCodec.Encode(esBookingOf(1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := store.Append(b.Context(), []eventsource.Event{event})
		if err != nil {
			b.Fatal(err)
		}
		if got := <-applied; got != r.Last {
			b.Fatal(got, r.Last)
		}
	}
}
