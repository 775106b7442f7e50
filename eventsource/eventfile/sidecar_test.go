package eventfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func contents(t *testing.T, names []string) (all []string) {
	t.Helper()
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, string(b))
	}
	return all
}

// writeSidecar writes one whose checksum is right.
func writeSidecar(t *testing.T, name string, b []byte) {
	t.Helper()
	body := b[:len(b)-4]
	binary.LittleEndian.PutUint32(b[len(body):], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, os.WriteFile(name, b, 0o600))
}

// Names that come late, come again and come once: sidecars call them by numbers,
// which a log must give them again also where some of its files are read whole.
func TestNamesKeepTheirNumbersOverAReopen(t *testing.T) {
	dir := t.TempDir()
	cfg := eventfile.Config{SegmentSize: 3000, NoSync: true}
	l := open(t, dir, cfg)
	const events = 300
	late := func(n int) eventsource.Event {
		e := eventsource.Event{Stream: fmt.Sprint("stream-", n*n%(n/3+1)), Type: fmt.Sprint("type-", n/50), Tags: []string{fmt.Sprint("tag-", n%(n/5+1)), fmt.Sprint("only-", n)}}
		if n%9 == 0 {
			e.ID = fmt.Sprint("id-", n)
		}
		return e
	}
	for n := 1; n <= events; n++ {
		_, err := l.Append(t.Context(), []eventsource.Event{late(n)})
		require.NoError(t, err)
	}
	all := collect(t, l, eventsource.All(), eventsource.ReadOptions{})
	names := sidecars(t, dir, l)
	require.True(t, len(names) > 10)
	good := contents(t, names)
	for round, every := range []int{2, 3, len(names) + 1, 0} {
		require.NoError(t, l.Close())
		for i := range names {
			if every > 0 && i%every == 0 {
				require.NoError(t, os.Remove(names[i]))
			}
		}
		l = open(t, dir, cfg)
		require.Equal(t, all, collect(t, l, eventsource.All(), eventsource.ReadOptions{}), round)
		for n := 1; n <= events; n += 7 {
			e := all[n-1]
			for _, q := range []eventsource.Query{eventsource.Stream(e.Stream), {{Types: []string{e.Type}}}, {{Tags: e.Tags[:1]}}, {{Tags: e.Tags}}, {{IDs: []string{e.ID}}}} {
				var want []eventsource.Recorded
				for _, other := range all {
					if matches := q[0].IDs != nil && other.ID == e.ID || q[0].IDs == nil && q.Match(other.Event); matches {
						want = append(want, other)
					}
				}
				require.Equal(t, want, collect(t, l, q, eventsource.ReadOptions{}), round, q)
			}
		}
		sidecars(t, dir, l)
		require.Equal(t, good, contents(t, names), round)
	}
}

// An older copy of a file, put back beside its sidecar, grows to the same length
// with other events: the sidecar is none of that file any more.
func TestASidecarOfALostEndIsNotTakenForThatOfANewOne(t *testing.T) {
	dir := t.TempDir()
	cfg := eventfile.Config{SegmentSize: 2000, NoSync: true}
	first := filepath.Join(dir, fmt.Sprintf("%020d", 1))
	fill := func(l *eventfile.Log, stream string, events int) {
		for range events {
			_, err := l.Append(t.Context(), []eventsource.Event{{Stream: stream, Type: "t"}})
			require.NoError(t, err)
		}
	}
	l := open(t, dir, cfg)
	fill(l, "a", 3)
	older, err := os.ReadFile(first + ".wal")
	require.NoError(t, err)
	fill(l, "b", 30)
	require.Equal(t, 1, len(sidecars(t, dir, l)))
	require.NoError(t, l.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	removeAll(t, files)
	require.NoError(t, os.WriteFile(first+".wal", older, 0o600))

	l = open(t, dir, cfg)
	fill(l, "c", 30)
	require.Equal(t, 1, len(sidecars(t, dir, l)))
	for range 2 {
		assert.Equal(t, 3, len(collect(t, l, eventsource.Stream("a"), eventsource.ReadOptions{})))
		assert.Equal(t, 0, len(collect(t, l, eventsource.Stream("b"), eventsource.ReadOptions{})))
		assert.Equal(t, 30, len(collect(t, l, eventsource.Stream("c"), eventsource.ReadOptions{})))
		require.NoError(t, l.Close())
		l = open(t, dir, cfg)
	}
}

// What has a right checksum and makes no sense is no torn cache: somebody has
// made it so.
func TestSidecarsThatMakeNoSenseAreFound(t *testing.T) {
	for at, what := range map[int]string{56: "number of events", 88: "number of streams that come first", 90: "a stream's text"} {
		dir := t.TempDir()
		cfg := eventfile.Config{SegmentSize: 2000, NoSync: true}
		l := open(t, dir, cfg)
		write(t, l, 1, 60)
		name := sidecars(t, dir, l)[0]
		require.NoError(t, l.Close())
		b := []byte(contents(t, []string{name})[0])
		if b[at]++; at == 90 {
			b[at] -= 1 + 'x'
			copy(b[at:], "stream-2") // twice
		}
		writeSidecar(t, name, b)
		_, err := eventfile.Open(dir, cfg)
		assert.ErrorIs(t, err, eventsource.ErrCorrupt, what)
	}
}

func TestASidecarIsReadAsItWasWritten(t *testing.T) {
	good := eventfile.EncodeSidecar(event(0), event(1), event(3), event(4))
	if !eventfile.DecodeSidecar(good) {
		t.Fatal("a good sidecar is refused")
	}
	for at := 56; at < len(good)-4; at++ { // of any other byte: no panic, no huge allocation
		for _, change := range []byte{1, 0x7f, 0x80, 0xff} {
			b := slices.Clone(good)
			b[at] ^= change
			eventfile.DecodeSidecar(b)
		}
		if eventfile.DecodeSidecar(good[:at]) {
			t.Fatalf("%d bytes of %d are taken for a whole", at, len(good))
		}
	}
}

// Distances whose sum comes around to where it should be pass through where nothing
// is: such lists would not ascend.
func TestDistancesInASidecarDoNotComeAround(t *testing.T) {
	good := eventfile.EncodeSidecar(eventsource.Event{Stream: "s", Type: "t"}, eventsource.Event{Stream: "s", Type: "t", ID: "x"})
	if !eventfile.DecodeSidecar(good) {
		t.Fatal("a good sidecar is refused")
	}
	uvarints := func(numbers ...uint64) (b []byte) {
		for _, n := range numbers {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	replace := func(what string, old, new []byte) {
		if n := bytes.Count(good, old); n == 0 {
			t.Fatalf("%s: %x is not in %x", what, old, good)
		}
		if eventfile.DecodeSidecar(bytes.Replace(good, old, new, 1)) {
			t.Error(what, "are taken")
		}
	}
	replace("positions", []byte("\x01s\x02\x01\x02\x02\x01\x01"),
		append([]byte("\x01s\x02\x01\x02\x13"), uvarints(1<<63+1000, 1<<63-998)...))
	replace("ids", []byte("\x01\x02\x02\x01x"),
		append(append([]byte("\x02\x02\x02\x01x"), uvarints(math.MaxUint64)...), "\x02\x01y"...))
}
