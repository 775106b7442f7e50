package eventsource_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// manyKinds are events with ids, tags, Meta and Data of all kinds, in more than
// three batches of a read.
func manyKinds(r *rand.Rand) (events []eventsource.Event) {
	for i := range 700 {
		e := eventsource.Event{Stream: fmt.Sprint("s", i%7), Type: fmt.Sprint("t", i%3), Schema: 1 + i%2}
		switch i % 4 {
		case 1:
			e.ID = fmt.Sprintf("%08x-0000-8000-8000-%012x", r.Uint32(), i)
		case 2:
			e.ID = fmt.Sprint(strings.Repeat("x", r.IntN(60)), i)
		}
		for range r.IntN(4) {
			e.Tags = append(e.Tags, fmt.Sprint("g", len(e.Tags), r.IntN(5)))
		}
		for k := range r.IntN(3) {
			if e.Meta == nil {
				e.Meta = map[string]string{}
			}
			e.Meta[fmt.Sprint("k", k)] = strings.Repeat("v", r.IntN(300))
		}
		if n := r.IntN(40); n > 0 {
			e.Data = slices.Repeat([]byte{byte(i)}, n)
		}
		events = append(events, e)
	}
	return events
}

// holding returns a Memory with these events.
func holding(t *testing.T, events []eventsource.Event) *eventsource.Memory {
	t.Helper()
	m := eventsource.NewMemory()
	for part := range slices.Chunk(events, 70) {
		_, err := m.Append(t.Context(), part)
		require.NoError(t, err)
	}
	return m
}

// isEvent says whether r is events[i] as appended.
func isEvent(r eventsource.Recorded, events []eventsource.Event, i int) bool {
	want := events[i]
	return r.Position == eventsource.Position(i+1) && r.Version == uint64(i/7+1) && (want.ID == "" || r.ID == want.ID) &&
		r.Stream == want.Stream && r.Type == want.Type && r.Schema == want.Schema &&
		slices.Equal(r.Tags, want.Tags) && maps.Equal(r.Meta, want.Meta) && string(r.Data) == string(want.Data)
}

// T8: what a loop does to an event is not seen by those before and behind it, in
// this batch or in another, nor by a later read; at once or when all are there.
func TestEventsOfAReadShareNothing(t *testing.T) {
	events := manyKinds(rand.New(rand.NewPCG(1, 2)))
	m := holding(t, events)
	for _, o := range []eventsource.ReadOptions{{}, {Backward: true}, {Limit: 300}, {After: 100, Limit: 272, Backward: true}} {
		for _, later := range []bool{false, true} {
			var kept []eventsource.Recorded
			for r, err := range m.Read(t.Context(), eventsource.All(), o) {
				require.NoError(t, err)
				require.True(t, isEvent(r, events, int(r.Position)-1), r)
				if kept = append(kept, r); !later && len(kept)%2 == 0 {
					scribble(r)
				}
			}
			for i := 1; later && i < len(kept); i += 2 {
				scribble(kept[i])
			}
			for i := 0; i < len(kept); i += 2 {
				require.True(t, isEvent(kept[i], events, int(kept[i].Position)-1), kept[i])
			}
		}
	}
}

func scribble(r eventsource.Recorded) {
	clear(r.Data)
	clear(r.Tags)
	clear(r.Meta)
	_, _ = append(r.Data, 0xff), append(r.Tags, "beyond")
}

// A read is a value: loops over it are strangers, also those within each other
// and those that end early.
func TestLoopsOverOneReadAreStrangers(t *testing.T) {
	events := manyKinds(rand.New(rand.NewPCG(3, 4)))
	seq := holding(t, events).Read(t.Context(), eventsource.All(), eventsource.ReadOptions{})
	slow, stopSlow := iter.Pull2(seq)
	defer stopSlow()
	for i := range events {
		r, err, ok := slow()
		require.True(t, ok && err == nil && isEvent(r, events, i), i, err, r)
		quick, stop := iter.Pull2(seq)
		for k := range i % 20 {
			r, err, ok := quick()
			require.True(t, ok && err == nil && isEvent(r, events, k), k, err, r)
		}
		stop()
	}
	_, _, ok := slow()
	assert.False(t, ok)
}

// Conditions ask the index as the writer does, and readers beside it ask in their
// own way. The race detector sees the rest.
func TestReadersBesideConditionsSeeTheirEvents(t *testing.T) {
	m, ctx := eventsource.NewMemory(), t.Context()
	q := eventsource.Query{{Streams: []string{"a", "b"}, Types: []string{"t"}, Tags: []string{"x"}}}
	const events = 3000
	done := make(chan error, 2)
	for range cap(done) {
		go func() { done <- readUntil(m.Read(ctx, q, eventsource.ReadOptions{}), events) }()
	}
	for i := range events {
		e := eventsource.Event{Stream: []string{"a", "b"}[i%2], Type: "t", Tags: []string{"x"}, Data: fmt.Append(nil, i+1)}
		_, err := m.Append(ctx, []eventsource.Event{e}, eventsource.NoneSince(q, eventsource.Position(i)))
		require.NoError(t, err)
	}
	for range cap(done) {
		assert.NoError(t, <-done)
	}
}

// readUntil repeats a read of numbered events until there are n.
func readUntil(seq iter.Seq2[eventsource.Recorded, error], n int) error {
	for seen := 0; seen < n; {
		seen = 0
		for r, err := range seq {
			if err != nil {
				return err
			}
			if seen++; r.Position != eventsource.Position(seen) || string(r.Data) != fmt.Sprint(seen) {
				return fmt.Errorf("event %d is %+v", seen, r)
			}
		}
	}
	return nil
}

// Whatever the length of its texts, a batch is a few allocations: memory is
// asked for once, and not in steps.
func TestLongTextsCostNoMoreAllocationsThanShortOnes(t *testing.T) {
	ctx := context.Background()
	scan := func(text string) float64 {
		m := eventsource.NewMemory()
		for range 16 {
			e := eventsource.Event{Type: "t", Tags: []string{"x"}, Data: []byte("data"), Meta: map[string]string{"k": text}}
			_, err := m.Append(ctx, []eventsource.Event{e})
			require.NoError(t, err)
		}
		return testing.AllocsPerRun(100, func() {
			for range m.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
			}
		})
	}
	short, long := scan("v"), scan(strings.Repeat("v", 2000))
	assert.True(t, long <= short, short, long)
	assert.True(t, short <= 16*2+12, short)
}

// The id that a store makes tells when it did, to the millisecond, and is found
// by its text.
func TestMadeIDsTellTheTime(t *testing.T) {
	for _, now := range []time.Time{time.UnixMicro(0), time.UnixMicro(999), time.Unix(1, 1_999_999), time.Date(2026, 1, 1, 0, 0, 0, 123_999_999, time.UTC)} {
		m := eventsource.NewMemoryWith(^uint64(0), func() time.Time { return now })
		_, err := m.Append(t.Context(), []eventsource.Event{{Type: "t"}})
		require.NoError(t, err)
		n := 0
		for r := range m.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{}) {
			assert.Equal(t, fmt.Sprintf("%012x", now.UnixMilli()), r.ID[:8]+r.ID[9:13])
			for same := range m.Read(t.Context(), eventsource.Query{{IDs: []string{r.ID}}}, eventsource.ReadOptions{}) {
				assert.Equal(t, r, same)
				n++
			}
		}
		assert.Equal(t, 1, n)
	}
}
