package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// event is what the reference scans.
type event struct {
	stream, typ string
	tags        []string
}

func (e event) matches(it Item) bool {
	in := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	return in(it.Streams, e.stream) && in(it.Types, e.typ) &&
		!slices.ContainsFunc(it.Tags, func(tag string) bool { return !slices.Contains(e.tags, tag) })
}

func some(r *rand.Rand, prefix string, of, most int) (names []string) {
	for range r.IntN(most + 1) {
		if name := fmt.Sprint(prefix, r.IntN(of)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func randomEvent(r *rand.Rand) event {
	return event{fmt.Sprint("s", r.IntN(6)), fmt.Sprint("t", r.IntN(4)), some(r, "g", 5, 3)}
}

func randomItem(r *rand.Rand) Item {
	return Item{Streams: some(r, "s", 8, 2), Types: some(r, "t", 5, 2), Tags: some(r, "g", 6, 2)}
}

func add(x *Index, pos uint32, e event) {
	x.Streams.List(x.Streams.Intern(e.stream)).Append(pos)
	x.Types.List(x.Types.Intern(e.typ)).Append(pos)
	for _, tag := range e.tags {
		x.Tags.List(x.Tags.Intern(tag)).Append(pos)
	}
}

// The index against a linear scan, with all bits of the hashes, and (T7) with 8
// bits and with none, where every lookup is a collision.
func TestIndexAgreesWithAScan(t *testing.T) {
	for _, mask := range []uint64{^uint64(0), 255, 0} {
		r := rand.New(rand.NewPCG(1, mask))
		for range 300 {
			x := New(mask)
			var log []event
			for pos := range r.Uint32N(60) {
				log = append(log, randomEvent(r))
				add(x, pos+1, log[pos])
			}
			for range 20 {
				compare(t, r, x, log)
			}
		}
	}
}

func compare(t *testing.T, r *rand.Rand, x *Index, log []event) {
	t.Helper()
	last := uint32(len(log))
	after, upTo, back := r.Uint32N(last+1), r.Uint32N(last+1), r.IntN(2) == 0
	var items []Item
	for range r.IntN(4) {
		items = append(items, randomItem(r))
	}
	var want []uint32
	for i := after; i < upTo; i++ {
		if slices.ContainsFunc(items, log[i].matches) {
			want = append(want, i+1)
		}
	}
	if back {
		slices.Reverse(want)
	}
	var got []uint32
	c := NewCursor(after, upTo, back)
	for _, it := range items {
		c.Add(x, it, nil)
	}
	for pos, ok := c.Next(); ok; pos, ok = c.Next() {
		got = append(got, pos)
	}
	require.Equal(t, want, got, items, after, upTo, back)

	it := randomItem(r)
	newest := uint32(0)
	for i := after; i < last; i++ {
		if log[i].matches(it) {
			newest = i + 1
		}
	}
	require.Equal(t, newest, x.Newest(it, after, last), it, after)
}

func TestIDsAreOneMoreGroup(t *testing.T) {
	x := New(^uint64(0))
	for pos := uint32(1); pos <= 5; pos++ {
		add(x, pos, event{stream: "s", typ: fmt.Sprint("t", pos%2)})
	}
	byID := func(id string) (pos uint32, ok bool) {
		_, err := fmt.Sscanf(id, "id%d", &pos)
		return pos, err == nil
	}
	c := NewCursor(0, 5, true)
	c.Add(x, Item{IDs: []string{"id5", "id2", "id5", "none", "id1"}, Types: []string{"t1"}}, byID)
	var got []uint32
	for pos, ok := c.Next(); ok; pos, ok = c.Next() {
		got = append(got, pos)
	}
	assert.Equal(t, []uint32{5, 1}, got)
}

func TestManyPositionsAndElementsAtOnce(t *testing.T) {
	var l List
	l.Append(1)
	l.Reserve(5)
	room := l.array.Load()
	l.Extend(4, func(to []uint32) { copy(to, []uint32{3, 4, 5, 9}) })
	l.Append(10)
	assert.Equal(t, []uint32{1, 3, 4, 5, 9, 10}, l.Positions())
	assert.True(t, room == l.array.Load(), "there was room for all")

	var c Chunks[int]
	for i := uint32(250); i < 1000; {
		room := c.Room(i)
		require.True(t, len(room) > 0)
		for k := range room {
			room[k] = int(i)
			i++
		}
	}
	for i := uint32(250); i < 1000; i++ {
		require.Equal(t, int(i), *c.At(i))
	}
}

// A text is compared where it fits beside its list, else elsewhere. Without a bit
// of hash every text is compared with those before it.
func TestTextsOfEveryLengthAreToldApart(t *testing.T) {
	x := New(0)
	var texts []string
	for size := range 60 {
		for _, end := range []string{"a", "b", "\x00"} {
			texts = append(texts, strings.Repeat("x", size)+end)
		}
	}
	texts = append(texts, "", strings.Repeat("x", 254)+"y", strings.Repeat("x", 255))
	numbers := map[string]uint32{}
	for _, text := range texts {
		require.Equal(t, uint32(0), x.Tags.Known(text), text)
		numbers[text] = x.Tags.Intern(text)
	}
	assert.Equal(t, len(texts), x.Tags.Len())
	for _, text := range texts {
		require.Equal(t, numbers[text], x.Tags.Number(text), text)
		require.Equal(t, numbers[text], x.Tags.Known(text), text)
		require.Equal(t, text, x.Tags.Text(numbers[text]))
	}
}

// What is expected is only where to look first.
func TestAnExpectationMayBeWrong(t *testing.T) {
	x := New(^uint64(0))
	a, b := x.Streams.Intern("a"), x.Streams.Intern("b")
	for _, expected := range []uint32{a, 0, b} {
		x.Streams.Expect(expected)
		assert.Equal(t, a, x.Streams.Intern("a"))
		x.Streams.Expect(expected)
		assert.Equal(t, b, x.Streams.Known("b"))
		x.Streams.Expect(expected)
		assert.Equal(t, uint32(0), x.Streams.Known("c"))
	}
	assert.Equal(t, 2, x.Streams.Len())
}

func TestReadersSeeWhatIsPublished(t *testing.T) {
	var l List
	for pos := uint32(1); pos <= 300; pos++ {
		before := l.Positions()
		l.Put(pos)
		require.Equal(t, before, l.Positions())
		require.Equal(t, pos-1, l.Last())
		l.Publish()
		require.Equal(t, pos, l.Last())
	}
	assert.Equal(t, 300, l.Len())
}

func TestNamesSurviveTheirCaller(t *testing.T) {
	x := New(^uint64(0))
	numbers := map[uint32]string{}
	for i := range 5000 {
		name := fmt.Sprint("name-", i)
		numbers[x.Tags.Intern(name)] = name
	}
	assert.Equal(t, 5000, x.Tags.Len())
	for number, name := range numbers {
		require.Equal(t, name, x.Tags.Text(number))
		require.Equal(t, number, x.Tags.Number(name))
		require.Equal(t, number, x.Tags.Intern(name))
	}
	assert.Nil(t, x.Tags.Find("name-5000"))
}

// One writer, readers beside it: whatever was published is found, complete and
// in order. The race detector sees the rest.
func TestReadersBesideTheWriterSeeWhatWasPublished(t *testing.T) {
	const events = 20_000
	x := New(^uint64(0))
	var published atomic.Uint32
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for head := uint32(0); head < events; {
				head = published.Load()
				c := NewCursor(0, head, false)
				c.Add(x, Item{Streams: []string{"even"}}, nil)
				for want := uint32(2); want <= head; want += 2 {
					if pos, ok := c.Next(); !ok || pos != want {
						t.Errorf("head %d: got %d %v, want %d", head, pos, ok, want)
						return
					}
				}
				if head > 0 && x.Tags.Find(fmt.Sprint(head)).Last() != head {
					t.Errorf("the tag of position %d is not found", head)
				}
			}
		})
	}
	for pos := uint32(1); pos <= events; pos++ {
		add(x, pos, event{stream: [...]string{"even", "odd"}[pos%2], tags: []string{fmt.Sprint(pos)}})
		published.Store(pos)
	}
	readers.Wait()
}
