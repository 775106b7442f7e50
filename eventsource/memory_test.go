package eventsource_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T7: hashes only index. Cut to 8 bits, and to none at all, they change no
// answer of the whole suite.
func TestMemoryConformsWithCollidingHashes(t *testing.T) {
	for _, mask := range []uint64{0xff, 0} {
		t.Run(fmt.Sprint(mask), func(t *testing.T) {
			eventtest.TestStore(t, func(*testing.T) eventsource.Store { return eventsource.NewMemoryWith(mask, time.Now) })
		})
	}
}

// T11: the wall clock steps back, and the store's time does not, so that AsOf
// gives a prefix.
func TestTimeDoesNotStepBackWithTheClock(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.UTC)
	m := eventsource.NewMemoryWith(^uint64(0), func() time.Time { return now })
	ctx := context.Background()
	steps := []time.Duration{0, time.Second, -time.Hour, 30 * time.Minute, -time.Second, time.Hour, -24 * time.Hour}
	for _, step := range steps {
		now = now.Add(step)
		_, err := m.Append(ctx, []eventsource.Event{{Stream: "a", Type: "t"}})
		require.NoError(t, err)
	}
	var last time.Time
	var all []eventsource.Recorded
	for r, err := range m.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
		require.NoError(t, err)
		assert.False(t, r.Time.Before(last), r.Time, last)
		assert.Equal(t, 0, r.Time.Nanosecond()%1000)
		last, all = r.Time, append(all, r)
	}
	for _, at := range all {
		n := 0
		for r := range m.Read(ctx, eventsource.Stream("a"), eventsource.ReadOptions{AsOf: at.Time}) {
			n++
			assert.Equal(t, eventsource.Position(n), r.Position)
		}
		assert.True(t, n >= int(at.Position))
	}
}

// An append is its share of a slab, and the conditions a slice behind the
// interface; a stream of positions has its share of an array.
func TestAppendDoesNotAllocate(t *testing.T) {
	m, ctx := eventsource.NewMemory(), context.Background()
	data := make([]byte, 256)
	events := []eventsource.Event{{Stream: "a", Type: "t", Tags: []string{"x", "y"}, Data: data}}
	var store eventsource.Store = m
	appended := func(conds ...eventsource.Condition) float64 {
		return testing.AllocsPerRun(2000, func() {
			_, err := store.Append(ctx, events, conds...)
			require.NoError(t, err)
		})
	}
	assert.True(t, appended() < 0.5)
	version := uint64(2001)
	withVersion := testing.AllocsPerRun(2000, func() {
		_, err := store.Append(ctx, events, eventsource.AtVersion("a", version))
		require.NoError(t, err)
		version++
	})
	assert.True(t, withVersion <= 1.5, withVersion)
}

// A scan costs three allocations for 256 events.
func TestScanAllocatesByTheBatch(t *testing.T) {
	m, ctx := eventsource.NewMemory(), context.Background()
	for range 100 {
		events := make([]eventsource.Event, 100)
		for i := range events {
			events[i] = eventsource.Event{Stream: fmt.Sprint(i), Type: "t", Tags: []string{"x"}, Data: []byte("data")}
		}
		_, err := m.Append(ctx, events)
		require.NoError(t, err)
	}
	perScan := testing.AllocsPerRun(5, func() {
		n := 0
		for range m.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
			n++
		}
		require.Equal(t, 10_000, n)
	})
	assert.True(t, perScan/10_000 <= 0.05, perScan)
}

// Records of all sizes, beyond a slab too, come back.
func TestSlabsHoldWhatNeverFits(t *testing.T) {
	m, ctx, r := eventsource.NewMemory(), context.Background(), rand.New(rand.NewPCG(1, 1))
	var want []int
	for i := range 60 {
		size := r.IntN(1 << (i % 24))
		want = append(want, size)
		data := bytes.Repeat([]byte{byte(i)}, size)
		_, err := m.Append(ctx, []eventsource.Event{{Type: "t", Data: data}})
		require.NoError(t, err)
	}
	i := 0
	for rec := range m.Read(ctx, eventsource.All(), eventsource.ReadOptions{}) {
		require.Equal(t, want[i], len(rec.Data))
		require.Equal(t, want[i], bytes.Count(rec.Data, []byte{byte(i)}))
		i++
	}
	assert.Equal(t, 60, i)
}

// Nothing of a Memory outlives a bubble or is shared between two.
func TestMemoryIsAtHomeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		done := make(chan error)
		go func() { done <- m.Wait(t.Context(), 0) }()
		synctest.Wait() // it waits
		time.Sleep(time.Hour)
		before := time.Now().UTC()
		_, err := m.Append(t.Context(), []eventsource.Event{{Type: "t"}})
		require.NoError(t, err)
		require.NoError(t, <-done)
		for r := range m.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{}) {
			assert.Equal(t, before, r.Time)
		}
	})
}

func TestZeroValuesOfErrorsAndConditionsPrint(t *testing.T) {
	for want, c := range map[string]eventsource.Condition{
		`Condition{}`:       {},
		`AtVersion("a", 3)`: eventsource.AtVersion("a", 3),
		`AtVersion("a", 0)`: eventsource.NoStream("a"),
		`Exists("a")`:       eventsource.Exists("a"),
		`Track("a", 3)`:     eventsource.Track("a", 3),
		`NoneSince([{Streams:[a] Types:[] IDs:[] Tags:[]}], 3)`: eventsource.NoneSince(eventsource.Stream("a"), 3),
	} {
		assert.Equal(t, want, c.String())
	}
	m := eventsource.NewMemory()
	_, err := m.Append(t.Context(), nil, eventsource.Exists("a"))
	assert.Equal(t, `eventsource: conflict: Exists("a"): the version is 0`, err.Error())
	_, err = m.Append(t.Context(), nil, eventsource.Track("a", 0))
	assert.Equal(t, `eventsource: already tracked: Track("a", 0): position 0 is`, err.Error())
	var retryable interface{ Retryable() bool } = eventsource.ErrUncertain.(interface{ Retryable() bool })
	assert.False(t, retryable.Retryable())
}

// An append that comes between a waiter's look at Head and its wait must wake
// it: nothing else would, since the next append waits for the waiter. The two
// are let go at the same time, so that they meet there now and then.
func TestNoWakeUpIsLost(t *testing.T) {
	m, ctx := eventsource.NewMemory(), t.Context()
	seen := make(chan error)
	go func() {
		for after := range eventsource.Position(50_000) {
			seen <- m.Wait(ctx, after)
		}
	}()
	late := time.After(30 * time.Second)
	for range 50_000 {
		_, err := m.Append(ctx, []eventsource.Event{{Type: "t"}})
		require.NoError(t, err)
		select {
		case err := <-seen:
			require.NoError(t, err)
		case <-late:
			t.Fatal("the waiter sleeps although Head has passed it")
		}
	}
}
