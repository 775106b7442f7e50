package eventfile_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var update = flag.Bool("update", false, "write testdata/v1 anew, which must only be done before a format is released")

// golden is what testdata/v1 was written with: every form that a record has.
func golden(t *testing.T, dir string) {
	t.Helper()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	l, err := eventfile.OpenWith(dir, eventfile.Config{SegmentSize: 800}, eventfile.Settings{Now: func() time.Time { return clock }})
	require.NoError(t, err)
	for n := 1; n <= 16; n++ {
		clock = clock.Add(time.Second)
		batch := []eventsource.Event{event(n)}
		if n == 8 {
			batch = append(batch, eventsource.Event{Type: "bare"}, eventsource.Event{
				ID: "é\"", Stream: "s", Type: "t", Schema: 7, Meta: map[string]string{"": ""}, Data: []byte{0, 255},
			})
		}
		_, err := l.Append(t.Context(), batch, eventsource.Track("source", eventsource.Position(n)))
		require.NoError(t, err)
	}
	_, err = l.Append(t.Context(), nil, eventsource.Track("other", 99))
	require.NoError(t, err)
	zero, one, two := eventsource.Checkpoint{}, eventsource.Checkpoint{Position: 3, Epoch: 1, Data: []byte("old")}, eventsource.Checkpoint{Position: 4, Epoch: 1}
	for _, c := range []struct{ old, new eventsource.Checkpoint }{{zero, one}, {one, two}} {
		require.NoError(t, l.SaveCheckpoint(t.Context(), "kept", c.old, c.new, nil))
	}
	require.NoError(t, l.SaveCheckpoint(t.Context(), "gone", zero, one, nil))
	require.NoError(t, l.SaveCheckpoint(t.Context(), "gone", one, zero, nil))
	l.FinishSidecars()
	require.NoError(t, l.Close())
}

// T27: bytes that a release wrote open for ever, with and without their indexes.
func TestBytesOfTheFirstFormatOpenForEver(t *testing.T) {
	const source = "testdata/v1"
	if *update {
		require.NoError(t, os.RemoveAll(source))
		golden(t, source)
	}
	for _, verify := range []bool{false, true} {
		dir := t.TempDir()
		copyAll(t, source, dir)
		l := open(t, dir, eventfile.Config{VerifyOnOpen: verify})
		all := collect(t, l, eventsource.All(), eventsource.ReadOptions{})
		require.Equal(t, 18, len(all))
		fresh := t.TempDir() // what today's code makes of the same calls
		golden(t, fresh)
		want := collect(t, open(t, fresh, eventfile.Config{}), eventsource.All(), eventsource.ReadOptions{})
		for i := range all {
			if n := i + 1; n%4 > 1 || n == 9 || n > 10 && (n-2)%4 > 1 { // made by the log, which has its own salt
				want[i].ID, all[i].ID = "", ""
			}
			assert.Equal(t, want[i], all[i])
		}
		for name, want := range map[string]eventsource.Checkpoint{
			"kept": {Position: 4, Epoch: 1}, "gone": {}, "track/source": {Position: 16}, "track/other": {Position: 99},
		} {
			got, err := l.LoadCheckpoint(t.Context(), name)
			require.NoError(t, err)
			assert.True(t, got.Position == want.Position && got.Epoch == want.Epoch && len(got.Data) == 0, name, got)
		}
	}
}

// An id of the log's making is a part of the format: it is not stored.
func TestMadeIDsOfTheFirstFormat(t *testing.T) {
	dir := t.TempDir()
	copyAll(t, "testdata/v1", dir)
	all := collect(t, open(t, dir, eventfile.Config{}), eventsource.All(), eventsource.ReadOptions{Limit: 3})
	want, err := os.ReadFile("testdata/v1.ids")
	if *update {
		want, err = fmt.Appendf(nil, "%s\n%s\n", all[1].ID, all[2].ID), nil
		require.NoError(t, os.WriteFile("testdata/v1.ids", want, 0o600))
	}
	require.NoError(t, err)
	assert.Equal(t, string(want), all[1].ID+"\n"+all[2].ID+"\n")
}

func copyAll(t *testing.T, from, to string) {
	t.Helper()
	files := os.DirFS(from)
	require.NoError(t, fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o600)
	}))
}

// An append of the largest permitted size, in the form that grows most, fits a
// record.
func TestTheLargestAppendFits(t *testing.T) {
	l := open(t, t.TempDir(), eventfile.Config{NoSync: true})
	var events []eventsource.Event
	for range 4 {
		events = append(events, eventsource.Event{Type: "t", Data: make([]byte, 16<<20-1)})
	}
	_, err := l.Append(t.Context(), events)
	require.NoError(t, err)
	n := 0
	for e, err := range l.Read(t.Context(), eventsource.All(), eventsource.ReadOptions{Backward: true}) {
		require.NoError(t, err)
		assert.Equal(t, 16<<20-1, len(e.Data))
		n++
	}
	assert.Equal(t, 4, n)
}

func TestAllocationsOfAppendsAndReads(t *testing.T) {
	l := open(t, t.TempDir(), eventfile.Config{NoSync: true})
	events := []eventsource.Event{{Stream: "a", Type: "t", Data: make([]byte, 256)}}
	ctx := t.Context()
	perAppend := testing.AllocsPerRun(1000, func() {
		if _, err := l.Append(ctx, events); err != nil {
			t.Fatal(err)
		}
	})
	assert.True(t, perAppend <= 4, "allocations per append:", perAppend)
	perEvent := testing.AllocsPerRun(10, func() {
		for _, err := range l.Read(ctx, eventsource.All(), eventsource.ReadOptions{Limit: 500}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}) / 500
	assert.True(t, perEvent <= 4, "allocations per event:", perEvent)
	t.Logf("%v per append, %v per event read", perAppend, perEvent)
}
