package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	eh "github.com/looplab/eventhorizon"
	ehmemory "github.com/looplab/eventhorizon/eventstore/memory"
	ehuuid "github.com/looplab/eventhorizon/uuid"

	"github.com/keelson-go/keelson/eventsource"
)

// The workload of the eventsource rows: one event of 256 bytes per append, to
// 10,000 streams in random order.
const (
	eventStreams = 10_000
	eventPayload = 256
)

func eventsourceMemoryRows() []row {
	return []row{
		{name: "eventsource: Memory W1, append to 10,000 streams", ours: benchMemory(plain), most: 400 * time.Nanosecond, peers: []peer{
			{"eventhorizon v0.17.0 memory, Save", benchEventhorizon, 0.3},
			{"mutex, map and copy into a slab", benchBare(false), 2},
		}},
		{name: "eventsource: Memory W2, append at a version", ours: benchMemory(atVersion), allocs: 1, most: 400 * time.Nanosecond, peers: []peer{
			{"eventhorizon v0.17.0 memory, Save", benchEventhorizon, 0.3},
			{"mutex, map and copy into a slab, version compared", benchBare(true), 2},
		}},
		{name: "eventsource: Memory W4, NoneSince on a cold tag among 10,000 of 20 events", ours: benchTags(true), allocs: 3, peers: []peer{
			{"the same without a condition", benchTags(false), 0},
		}},
		{name: "eventsource: Memory W4, what the condition adds, in turns on one store", ours: benchCondition, allocs: 3, most: 100 * time.Nanosecond},
		{name: "eventsource: Memory scan, per event", ours: benchScan, most: 200 * time.Nanosecond, peers: []peer{
			{"eventhorizon v0.17.0 memory, Load of 1000, per event", benchEventhorizonLoad, 0},
		}},
		{name: "eventsource: Memory W9, one goroutine's W1 at 10 M events", ours: benchLarge(10_000_000), peers: []peer{
			{"the same at 1 M events", benchLarge(1_000_000), 1.3},
		}},
	}
}

var eventNames = sync.OnceValue(func() (names [eventStreams]string) {
	for i := range names {
		names[i] = fmt.Sprint("account-", i)
	}
	return names
})

func plain(string, uint64) []eventsource.Condition { return nil }

func atVersion(stream string, v uint64) []eventsource.Condition {
	return []eventsource.Condition{eventsource.AtVersion(stream, v)}
}

// benchMemory gives each goroutine streams of its own, so that it knows their
// versions; all contend for the store.
func benchMemory(conds func(stream string, v uint64) []eventsource.Condition) func(b *testing.B) {
	return func(b *testing.B) {
		s, events := eventsource.NewMemory(), make([]eventsource.Event, eventStreams)
		for i, name := range eventNames() { // each stream is there, as in all contenders
			events[i] = eventsource.Event{Stream: name, Type: "account.deposited", Data: make([]byte, eventPayload)}
		}
		if _, err := s.Append(context.Background(), events); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		appendAll(b, s, conds)
	}
}

// appendAll runs the workload through the interface, as callers do.
func appendAll(b *testing.B, s eventsource.Store, conds func(stream string, v uint64) []eventsource.Condition) {
	names, data, part := eventNames(), make([]byte, eventPayload), atomic.Uint32{}
	b.RunParallel(func(pb *testing.PB) {
		mine := int(part.Add(1)-1) % 4 * (eventStreams / 4)
		versions := slices.Repeat([]uint64{1}, eventStreams/4)
		r := rand.New(rand.NewPCG(1, uint64(mine)))
		event := make([]eventsource.Event, 1)
		for pb.Next() {
			i := r.IntN(eventStreams / 4)
			event[0] = eventsource.Event{Stream: names[mine+i], Type: "account.deposited", Data: data}
			_, err := s.Append(context.Background(), event, conds(event[0].Stream, versions[i])...)
			if err != nil {
				b.Error(err)
				return
			}
			versions[i]++
		}
	})
}

func headOf(s eventsource.Store) eventsource.Position {
	h, _ := s.Head(context.Background())
	return h
}

type payload struct{ Data []byte }

var registerPayload = sync.OnceFunc(func() {
	eh.RegisterEventData("account.deposited", func() eh.EventData { return new(payload) })
})

// benchEventhorizon saves at the version that it knows, as every Save does. A
// Save makes copies of the event and of its data.
func benchEventhorizon(b *testing.B) {
	registerPayload()
	s, err := ehmemory.NewEventStore()
	if err != nil {
		b.Fatal(err)
	}
	data, now, part := &payload{make([]byte, eventPayload)}, time.Now(), atomic.Uint32{}
	ids := make([]ehuuid.UUID, eventStreams)
	for i := range ids {
		ids[i] = ehuuid.New()
		e := eh.NewEvent("account.deposited", data, now, eh.ForAggregate("account", ids[i], 1))
		if err := s.Save(context.Background(), []eh.Event{e}, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		mine := int(part.Add(1)-1) % 4 * (eventStreams / 4)
		versions := slices.Repeat([]int{1}, eventStreams/4)
		r := rand.New(rand.NewPCG(1, uint64(mine)))
		for pb.Next() {
			i := r.IntN(eventStreams / 4)
			e := eh.NewEvent("account.deposited", data, now, eh.ForAggregate("account", ids[mine+i], versions[i]+1))
			if err := s.Save(context.Background(), []eh.Event{e}, versions[i]); err != nil {
				b.Error(err)
				return
			}
			versions[i]++
		}
	})
}

// bare is the least that a store in memory does: it can give back the events
// of a stream, and all in order, and nothing else. So it keeps its slabs: one that
// lets go of those that are full is given warm memory again and again, where a
// store has to ask for more, and took 0.8 of the time.
type bare struct {
	mu      sync.Mutex
	streams map[string]*[]uint32
	where   []uint64 // slab, offset
	slabs   [][]byte
	slab    []byte // the last of slabs
}

func (s *bare) append(stream string, version int, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.streams[stream]
	if list == nil {
		list = new([]uint32)
		s.streams[stream] = list
	}
	if version >= 0 && len(*list) != version {
		return false
	}
	*list = append(*list, uint32(len(s.where)))
	if cap(s.slab)-len(s.slab) < len(data)+8 {
		s.slab = make([]byte, 0, 1<<20)
		s.slabs = append(s.slabs, s.slab[:cap(s.slab)])
	}
	s.where = append(s.where, uint64(len(s.slabs)-1)<<32|uint64(len(s.slab)))
	s.slab = binary.LittleEndian.AppendUint64(s.slab, uint64(time.Now().UnixMicro()))
	s.slab = append(s.slab, data...)
	return true
}

// event gives back the i-th event; all have n bytes of data.
func (s *bare) event(i uint32, n int) (micros int64, data []byte) {
	b := s.slabs[s.where[i]>>32][uint32(s.where[i]):]
	return int64(binary.LittleEndian.Uint64(b)), b[8:][:n]
}

func benchBare(versioned bool) func(b *testing.B) {
	return func(b *testing.B) {
		s, names, data, part := &bare{streams: map[string]*[]uint32{}}, eventNames(), make([]byte, eventPayload), atomic.Uint32{}
		for _, name := range names {
			s.append(name, 0, data)
		}
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			mine := int(part.Add(1)-1) % 4 * (eventStreams / 4)
			versions := slices.Repeat([]int{1}, eventStreams/4)
			r := rand.New(rand.NewPCG(1, uint64(mine)))
			for pb.Next() {
				i := r.IntN(eventStreams / 4)
				v := -1
				if versioned {
					v = versions[i]
				}
				if !s.append(names[mine+i], v, data) {
					b.Error("the version has moved")
					return
				}
				versions[i]++
			}
		})
	}
}

// tagged appends events with a tag, on condition that nobody has added one with
// this tag and type lately: since 64 positions ago.
type tagged struct {
	store   eventsource.Store
	tags    [][]string
	queries []eventsource.Query
	event   []eventsource.Event
	i       int
}

func newTagged(b *testing.B) *tagged {
	w := &tagged{store: eventsource.NewMemory(), event: []eventsource.Event{{Type: "course.booked", Data: make([]byte, eventPayload)}}}
	n := sized(200_000)
	for i := range n / 20 {
		tags := []string{fmt.Sprint("course:", i)}
		w.tags = append(w.tags, tags)
		w.queries = append(w.queries, eventsource.Query{{Types: []string{"course.booked"}, Tags: tags}})
	}
	for range n {
		w.append(b, false)
	}
	return w
}

func (w *tagged) append(b *testing.B, conditional bool) {
	w.i += 7 // no tag comes again within 64 appends
	i := w.i % len(w.tags)
	w.event[0].Tags = w.tags[i]
	var err error
	if conditional {
		_, err = w.store.Append(context.Background(), w.event, eventsource.NoneSince(w.queries[i], headOf(w.store)-64))
	} else {
		_, err = w.store.Append(context.Background(), w.event)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func benchTags(conditional bool) func(b *testing.B) {
	return func(b *testing.B) {
		w := newTagged(b)
		b.ReportAllocs()
		for b.Loop() {
			w.append(b, conditional)
		}
	}
}

// benchCondition appends with the condition and without in turns, so that both have
// the same store, its growth and the collections of garbage, and reports what the
// condition adds to an append.
func benchCondition(b *testing.B) {
	const turn = 100
	w := newTagged(b)
	b.ReportAllocs()
	var with, without time.Duration
	n := 0
	for i := 0; b.Loop(); i++ { // one append of each
		if i%turn > 0 {
			continue
		}
		n += turn
		for k := range 2 {
			conditional := (k+i/turn)%2 == 0 // who begins changes
			start := time.Now()
			for range turn {
				w.append(b, conditional)
			}
			if conditional {
				with += time.Since(start)
			} else {
				without += time.Since(start)
			}
		}
	}
	b.ReportMetric(float64(with-without)/float64(n), "ns/op")
}

func filledLog(n int) *eventsource.Memory {
	s, names, data := eventsource.NewMemory(), eventNames(), make([]byte, eventPayload)
	r := rand.New(rand.NewPCG(1, 2))
	events := make([]eventsource.Event, 1000)
	for range n / len(events) {
		for i := range events {
			events[i] = eventsource.Event{Stream: names[r.IntN(len(names))], Type: "account.deposited", Data: data}
		}
		if _, err := s.Append(context.Background(), events); err != nil {
			panic(err)
		}
	}
	return s
}

var scanned = sync.OnceValue(func() *eventsource.Memory { return filledLog(sized(200_000)) })

func benchScan(b *testing.B) {
	s := scanned()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		for _, err := range s.Read(context.Background(), eventsource.All(), eventsource.ReadOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n == b.N {
				break
			}
		}
	}
}

func benchEventhorizonLoad(b *testing.B) {
	registerPayload()
	s, err := ehmemory.NewEventStore()
	if err != nil {
		b.Fatal(err)
	}
	id, now := ehuuid.New(), time.Now()
	for v := range 1000 {
		e := eh.NewEvent("account.deposited", &payload{make([]byte, eventPayload)}, now, eh.ForAggregate("account", id, v+1))
		if err := s.Save(context.Background(), []eh.Event{e}, v); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 1000 {
		if _, err := s.Load(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// benchLarge is W1 on a store that holds n events already, filled anew in each
// round. In tests it has ten of each stream, as the first of a stream allocates.
// What it appends goes to memory that the process has had before: a first touch
// costs as much as an append, or four, and who has the larger heap has more of them.
func benchLarge(n int) func(b *testing.B) {
	return func(b *testing.B) {
		s, names, r := eventsource.Store(filledLog(max(sized(n), 10*eventStreams))), eventNames(), rand.New(rand.NewPCG(3, 4))
		event := []eventsource.Event{{Type: "account.deposited", Data: make([]byte, eventPayload)}}
		if !small {
			warm(1 << 30)
		}
		b.ReportAllocs()
		for b.Loop() {
			event[0].Stream = names[r.IntN(len(names))]
			if _, err := s.Append(context.Background(), event); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// warm leaves n bytes, which the process has touched, free in its heap.
func warm(n int) {
	var all [][]byte
	for range n >> 20 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	runtime.KeepAlive(all)
	runtime.GC()
}
