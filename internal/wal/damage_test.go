package wal_test

import (
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

// T28: damage anywhere in a log that was closed is found.
func TestEveryFlippedBitOfAClosedLogIsFound(t *testing.T) {
	disk := image(t, 12, wal.Config{SegmentSize: 400}, true)
	for _, name := range disk.Names() {
		whole := disk.Bytes(name)
		last := name == disk.Names()[len(disk.Names())-1]
		for i := range whole {
			b := slices.Clone(whole)
			b[i] ^= 1 << (i % 8)
			disk.Set(name, b)
			l, err := open(wal.Config{Dir: "/log", FS: disk.Clone()})
			if last && i >= len(whole)-40 { // the clean mark itself
				require.NoError(t, err)
				require.Equal(t, wal.LSN(12), l.last)
				require.NoError(t, l.Close())
			} else {
				require.ErrorIs(t, err, wal.ErrCorrupt, name, "byte", i)
			}
		}
		disk.Set(name, whole)
	}
}

// T28: after a crash the last batch may be torn; what a later mark calls durable
// may not be.
func TestDamageIsToldFromATornTail(t *testing.T) {
	const records = 12
	disk := image(t, records, wal.Config{}, false)
	name := disk.Names()[0]
	whole := disk.Bytes(name)
	tail := len(whole) - 40 - 16 - len(payload(records)) // where the last batch begins
	for i := range whole {
		flipped := slices.Clone(whole)
		flipped[i] ^= 0x10
		disk.Set(name, flipped)
		l, err := open(wal.Config{Dir: "/log", FS: disk.Clone()})
		if i < tail {
			require.ErrorIs(t, err, wal.ErrCorrupt, "byte", i)
			continue
		}
		require.NoError(t, err, "byte", i)
		require.Equal(t, wal.LSN(records-1), l.last)
		require.NoError(t, l.Close())
	}
}

// T28: cut at every length, or filled with zeros from every offset, a log comes
// back with all batches that are whole.
func TestATornTailIsCutAtEveryLength(t *testing.T) {
	const records = 12
	disk := image(t, records, wal.Config{}, false)
	name := disk.Names()[0]
	whole := disk.Bytes(name)
	ends := map[int]wal.LSN{64: 0} // length of the file after each batch
	for n, end := wal.LSN(1), 64; n <= records; n++ {
		end += 40 + 16 + len(payload(n))
		ends[end] = n
	}
	want := wal.LSN(0)
	for n := range len(whole) + 1 {
		if last, ok := ends[n]; ok {
			want = last
		}
		if n > 0 && n < 64 { // no header was written, so nothing else was
			verifyTail(t, disk, name, whole[:n], 0)
			continue
		}
		verifyTail(t, disk, name, whole[:n], want)
		if n >= 64 {
			zeros := append(slices.Clone(whole[:n]), make([]byte, len(whole)-n)...)
			if slices.Equal(zeros, whole) {
				continue // the bytes were zeros
			}
			verifyTail(t, disk, name, zeros, want)
		}
	}
}

func verifyTail(t *testing.T, disk *faultfs.FS, name string, data []byte, want wal.LSN) {
	t.Helper()
	disk.Set(name, data)
	fs := disk.Clone()
	l, err := open(wal.Config{Dir: "/log", FS: fs})
	require.NoError(t, err, "length", len(data))
	require.True(t, l.last == want || (l.last == want+1 && len(data) > 64), "length", len(data), "found", l.last, "want", want)
	fill(t, l.Log, l.last+2)
	sent := l.last + 2
	require.NoError(t, l.Close())
	verify(t, fs, sent, sent, 0, "after a torn tail")
}

// A batch of which the end is missing keeps the records that it has, under a mark
// of its own, so that it is whole from then on.
func TestATornBatchKeepsItsFirstRecords(t *testing.T) {
	fs := faultfs.New(1)
	l, err := open(wal.Config{Dir: "/log", FS: fs})
	require.NoError(t, err)
	entered, leave := blockSyncs(fs)
	l.enqueue(1)
	<-entered
	var last wal.Ticket
	for n := wal.LSN(2); n <= 9; n++ {
		last = l.enqueue(n)
	}
	close(leave)
	require.NoError(t, last.Wait(t.Context()))
	disk := fs.Clone()
	require.NoError(t, l.Close())
	name := disk.Names()[0]
	whole := disk.Bytes(name)
	for n := 64 + 40 + 16 + len(payload(1)); n < len(whole); n++ {
		disk.Set(name, whole[:n])
		l, err := open(wal.Config{Dir: "/log", FS: disk.Clone()})
		require.NoError(t, err)
		found := l.last
		require.NoError(t, l.Close())
		verifyTail(t, disk, name, whole[:n], found)
		if n == len(whole)-1 {
			require.Equal(t, wal.LSN(8), found)
		}
	}
}

// A record may hold the bytes of another log, marks and all: the salt of this one
// keeps them data, also when the record is torn.
func TestDataThatImitatesFramesIsData(t *testing.T) {
	other := image(t, 12, wal.Config{}, true)
	data := other.Bytes(other.Names()[0])
	fs := faultfs.New(1)
	l, err := wal.Open(wal.Config{Dir: "/log", FS: fs}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Enqueue(data).Wait(t.Context()))
	disk := fs.Clone()
	require.NoError(t, l.Close())
	torn := disk.Bytes(disk.Names()[0])
	disk.Set(disk.Names()[0], torn[:len(torn)-1])
	l, err = wal.Open(wal.Config{Dir: "/log", FS: disk}, nil)
	require.NoError(t, err)
	assert.Equal(t, wal.LSN(0), l.Durable())
	require.NoError(t, l.Close())
}

// Files that are missing, or stand where they do not belong, are no torn tail.
func TestMissingAndForeignSegmentsAreFound(t *testing.T) {
	disk := image(t, 20, wal.Config{SegmentSize: 300}, true)
	names := disk.Names()
	require.True(t, len(names) >= 4)
	middle := disk.Clone()
	require.NoError(t, middle.Remove(names[1]))
	swapped := disk.Clone()
	swapped.Set(names[1], disk.Bytes(names[2]))
	short := disk.Clone()
	short.Set(names[1], disk.Bytes(names[1])[:100])
	headless := disk.Clone()
	headless.Set(names[1], nil)
	for i, fs := range []*faultfs.FS{middle, swapped, short, headless} {
		_, err := open(wal.Config{Dir: "/log", FS: fs})
		assert.ErrorIs(t, err, wal.ErrCorrupt, "case", i)
	}
	other := disk.Clone()
	other.Set("/log/notes.wal", []byte("no segment"))
	_, err := reopen(t, other, wal.Config{})
	assert.NoError(t, err, "files with other names are left alone")
}

// A piece that is cut out of the middle leaves intact frames on both sides.
func TestMissingBatchesAreFound(t *testing.T) {
	disk := image(t, 6, wal.Config{}, false)
	name := disk.Names()[0]
	whole := disk.Bytes(name)
	from := 64 + 2*56 + len(payload(1)) + len(payload(2))
	to := from + 56 + len(payload(3))
	disk.Set(name, slices.Delete(whole, from, to))
	_, err := open(wal.Config{Dir: "/log", FS: disk})
	assert.ErrorIs(t, err, wal.ErrCorrupt)
}

// A sealed segment must have the length that its successor knows, also if nobody
// reads it, and end with the record before its successor's first.
func TestSegmentsOfAnotherLogAreFound(t *testing.T) {
	twoSegments := func(first ...string) *faultfs.FS {
		fs := faultfs.New(1)
		l, err := wal.Open(wal.Config{Dir: "/log", FS: fs}, nil)
		require.NoError(t, err)
		for _, data := range first {
			require.NoError(t, l.Enqueue([]byte(data)).Wait(t.Context()))
		}
		l.Seal()
		l.Enqueue([]byte("second segment"))
		require.NoError(t, l.Close())
		return fs
	}
	skip := func(wal.Segment) (bool, error) { return true, nil }
	one := twoSegments(string(make([]byte, 10+56+10)))
	two := twoSegments(string(make([]byte, 10)), string(make([]byte, 10))) // as long as one
	three := twoSegments(string(make([]byte, 11)))

	one.Set(one.Names()[0], two.Bytes(two.Names()[0]))
	_, err := wal.Open(wal.Config{Dir: "/log", FS: one}, nil)
	assert.ErrorIs(t, err, wal.ErrCorrupt, "two records, then record 2")

	one.Set(one.Names()[0], three.Bytes(three.Names()[0]))
	_, err = wal.Open(wal.Config{Dir: "/log", FS: one, Sealed: skip}, nil)
	assert.ErrorIs(t, err, wal.ErrCorrupt, "another length")
}

// Damage to a sealed segment that was skipped at Open is found when it is read.
func TestDamageIsFoundWhenRead(t *testing.T) {
	disk := image(t, 20, wal.Config{SegmentSize: 300}, true)
	b := disk.Bytes(disk.Names()[0])
	b[len(b)-1]++
	disk.Set(disk.Names()[0], b)
	l, err := wal.Open(wal.Config{Dir: "/log", FS: disk, Sealed: func(wal.Segment) (bool, error) { return true, nil }}, nil)
	require.NoError(t, err)
	var last error
	for _, err := range l.Scan(1) {
		last = err
	}
	assert.ErrorIs(t, last, wal.ErrCorrupt)
	require.NoError(t, l.Close())
}
