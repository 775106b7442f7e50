package eventfile_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
)

// queries cover every kind of index.
var queries = []eventsource.Query{
	eventsource.All(), eventsource.Stream("stream-3"), eventsource.Stream(""),
	{{Types: []string{"type-1"}}},
	{{Tags: []string{"tag:2", "all"}}},
	{{IDs: []string{"id-8", "id-9", "00000000-0000-8000-8000-000000000011"}}},
	{{Streams: []string{"stream-1"}, Tags: []string{"all"}}, {Types: []string{"type-0"}, Tags: []string{"tag:0"}}},
}

// sidecars returns the indexes, of which every complete file must have one.
func sidecars(t *testing.T, dir string, l *eventfile.Log) []string {
	t.Helper()
	l.FinishSidecars()
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	names, err := filepath.Glob(filepath.Join(dir, "*.idx"))
	require.NoError(t, err)
	require.Equal(t, len(segments)-1, len(names))
	return names
}

// A log that is opened again answers as before: from sidecars, from the files
// alone, with all of them verified, with some sidecars missing or damaged.
func TestALogAnswersTheSameAfterReopen(t *testing.T) {
	dir := t.TempDir()
	cfg := eventfile.Config{SegmentSize: 4000}
	l := open(t, dir, cfg)
	_, err := l.Append(t.Context(), nil, eventsource.Track("early", 3))
	require.NoError(t, err)
	write(t, l, 1, 400)
	require.NoError(t, l.SaveCheckpoint(t.Context(), "mine", eventsource.Checkpoint{}, eventsource.Checkpoint{Position: 7, Epoch: 2, Data: []byte("x")}, nil))
	var want [][]eventsource.Recorded
	for _, q := range queries {
		want = append(want, collect(t, l, q, eventsource.ReadOptions{}))
	}
	names := sidecars(t, dir, l)
	require.True(t, len(names) > 10)
	require.NoError(t, l.Close())
	good := contents(t, names)

	damage := map[string]func(t *testing.T){
		"sidecars":    func(*testing.T) {},
		"none at all": func(t *testing.T) { removeAll(t, names) },
		"every third missing": func(t *testing.T) {
			for i := 0; i < len(names); i += 3 {
				require.NoError(t, os.Remove(names[i]))
			}
		},
		"all damaged": func(t *testing.T) {
			for i, name := range names {
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				b[i*31%len(b)]++
				require.NoError(t, os.WriteFile(name, b, 0o600))
			}
		},
		"all behind other names": func(t *testing.T) {
			for i, name := range names {
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				b[64+i%24]++
				writeSidecar(t, name, b)
			}
		},
		"all of an older layout": func(t *testing.T) {
			for _, name := range names {
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				b[7]-- // KEELIDX1
				writeSidecar(t, name, b)
			}
		},
		"all empty": func(t *testing.T) {
			for _, name := range names {
				require.NoError(t, os.WriteFile(name, nil, 0o600))
			}
		},
		"each that of the next": func(t *testing.T) {
			for i, next := range contents(t, names)[1:] {
				require.NoError(t, os.WriteFile(names[i], []byte(next), 0o600))
			}
		},
		"each that of another": func(t *testing.T) {
			first, err := os.ReadFile(names[0])
			require.NoError(t, err)
			for _, name := range names[1:] {
				require.NoError(t, os.WriteFile(name, first, 0o600))
			}
		},
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			harm(t)
			for _, verify := range []bool{false, true} {
				l := open(t, dir, eventfile.Config{SegmentSize: 4000, VerifyOnOpen: verify})
				for i, q := range queries {
					assert.Equal(t, want[i], collect(t, l, q, eventsource.ReadOptions{}), "query", i)
				}
				answersOld(t, l)
				sidecars(t, dir, l) // made anew
				require.NoError(t, l.Close())
				assert.Equal(t, good, contents(t, names))
			}
		})
	}
}

func removeAll(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, os.Remove(name))
	}
}

// answersOld checks that what was appended before counts.
func answersOld(t *testing.T, l *eventfile.Log) {
	t.Helper()
	ctx := t.Context()
	r, err := l.Append(ctx, []eventsource.Event{event(8)}, eventsource.NoStream("stream-1"))
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 8, Last: 8, Version: r.Version, Duplicate: true}, r)
	made := collect(t, l, eventsource.All(), eventsource.ReadOptions{After: 2, Limit: 1})[0] // an id of the log's making
	r, err = l.Append(ctx, []eventsource.Event{{ID: made.ID, Stream: made.Stream, Type: made.Type}})
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 3, Last: 3, Version: made.Version, Duplicate: true}, r)
	_, err = l.Append(ctx, nil, eventsource.Track("source", 400))
	assert.ErrorIs(t, err, eventsource.ErrTracked)
	_, err = l.Append(ctx, nil, eventsource.NoneSince(eventsource.Query{{Tags: []string{"tag:2"}}}, 380))
	assert.ErrorIs(t, err, eventsource.ErrConflict)
	c, err := l.LoadCheckpoint(ctx, "mine")
	require.NoError(t, err)
	assert.Equal(t, eventsource.Checkpoint{Position: 7, Epoch: 2, Data: []byte("x")}, c)
	for source, want := range map[string]eventsource.Position{"source": 400, "early": 3, "none": 0} {
		c, err = l.LoadCheckpoint(ctx, "track/"+source)
		require.NoError(t, err)
		assert.Equal(t, want, c.Position, source)
	}
}

// T11: also over a restart, time does not decrease.
func TestTimeDoesNotDecreaseOverAReopen(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	clock := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	for i := range 6 {
		cfg := eventfile.Config{SegmentSize: []int64{300, 0}[i%2]} // many files, or one
		l, err := eventfile.OpenWith(dirs[i%2], cfg, eventfile.Settings{Now: func() time.Time { return clock }})
		require.NoError(t, err)
		for range 5 {
			_, err := l.Append(t.Context(), []eventsource.Event{{Type: "tick", Data: make([]byte, 100)}})
			require.NoError(t, err)
			clock = clock.Add(-time.Hour)
		}
		all := collect(t, l, eventsource.All(), eventsource.ReadOptions{})
		assert.True(t, slices.IsSortedFunc(all, func(a, b eventsource.Recorded) int { return a.Time.Compare(b.Time) }))
		require.NoError(t, l.Close())
	}
}

// T11: the time of the last event is known also if its file was read from its
// index alone, and a crash left nothing in the file behind it.
func TestTimeDoesNotDecreaseBehindAnEmptyFile(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	openAt := func() *eventfile.Log {
		l, err := eventfile.OpenWith(dir, eventfile.Config{SegmentSize: 300}, eventfile.Settings{Now: func() time.Time { return clock }})
		require.NoError(t, err)
		return l
	}
	l := openAt()
	write(t, l, 1, 9)
	l.FinishSidecars()
	require.NoError(t, l.Close())
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(segments[len(segments)-1], 64)) // its header
	clock = clock.Add(-time.Hour)
	l = openAt()
	write(t, l, 20, 20)
	last := collect(t, l, eventsource.All(), eventsource.ReadOptions{Backward: true, Limit: 1})[0]
	assert.Equal(t, clock.Add(time.Hour), last.Time)
	require.NoError(t, l.Close())
}

// Sealed files are checked when they are read; with VerifyOnOpen, before.
func TestDamageOfASealedFileIsFound(t *testing.T) {
	dir := t.TempDir()
	cfg := eventfile.Config{SegmentSize: 4000}
	l := open(t, dir, cfg)
	write(t, l, 1, 100)
	sidecars(t, dir, l)
	require.NoError(t, l.Close())
	name := filepath.Join(dir, "00000000000000000001.wal")
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[len(b)-3]++
	require.NoError(t, os.WriteFile(name, b, 0o600))

	l = open(t, dir, cfg)
	_, err = readAll(l, eventsource.All(), eventsource.ReadOptions{})
	assert.ErrorIs(t, err, eventsource.ErrCorrupt)
	_, err = readAll(l, eventsource.All(), eventsource.ReadOptions{After: 90})
	assert.NoError(t, err, "elsewhere all is well")
	require.NoError(t, l.Close())
	_, err = eventfile.Open(dir, eventfile.Config{SegmentSize: 4000, VerifyOnOpen: true})
	assert.ErrorIs(t, err, eventsource.ErrCorrupt)
}

func TestAMissingFirstFileIsFound(t *testing.T) {
	for _, first := range [][]eventsource.Event{nil, {event(1)}} {
		dir := t.TempDir()
		l := open(t, dir, eventfile.Config{SegmentSize: 70})
		_, err := l.Append(t.Context(), first, eventsource.Track("source", 1))
		require.NoError(t, err)
		write(t, l, 2, 9)
		require.NoError(t, l.Close())
		removeAll(t, []string{filepath.Join(dir, "00000000000000000001.wal")})
		_, err = eventfile.Open(dir, eventfile.Config{})
		assert.ErrorIs(t, err, eventsource.ErrCorrupt)
	}
}

// Records that are intact and yet do not fit are damage as well.
func TestRecordsThatDoNotFitAreFound(t *testing.T) {
	for name, records := range map[string][][]byte{
		"a version out of line":  {eventfile.EncodeRecord(event(1))},
		"a position used before": {eventfile.EncodeRecord(event(2)), eventfile.EncodeRecord(event(2))},
		"no record of ours":      {[]byte("something else that is long enough")},
	} {
		dir := t.TempDir()
		w, err := wal.Open(wal.Config{Dir: dir, Format: eventfile.FormatEvents}, nil)
		require.NoError(t, err)
		for _, b := range records {
			require.NoError(t, w.Enqueue(b).Wait(t.Context()))
		}
		require.NoError(t, w.Close())
		_, err = eventfile.Open(dir, eventfile.Config{})
		assert.ErrorIs(t, err, eventsource.ErrCorrupt, name)
	}
}

// T31: one process, and one Log in it, has the directory.
func TestASecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, eventfile.Config{})
	_, err := eventfile.Open(dir, eventfile.Config{})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "locked")
	require.NoError(t, l.Close())
	open(t, dir, eventfile.Config{})
}

func TestAClosedLogIsClosed(t *testing.T) {
	l := open(t, t.TempDir(), eventfile.Config{})
	write(t, l, 1, 3)
	waited := make(chan error)
	go func() { waited <- l.Wait(t.Context(), 3) }()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	assert.ErrorIs(t, <-waited, eventsource.ErrClosed)
	_, err := l.Append(t.Context(), []eventsource.Event{event(4)})
	assert.ErrorIs(t, err, eventsource.ErrClosed)
	_, err = readAll(l, eventsource.All(), eventsource.ReadOptions{})
	assert.ErrorIs(t, err, eventsource.ErrClosed)
	_, err = l.Head(t.Context())
	assert.ErrorIs(t, err, eventsource.ErrClosed)
	_, err = l.LoadCheckpoint(t.Context(), "a")
	assert.ErrorIs(t, err, eventsource.ErrClosed)
	err = l.SaveCheckpoint(t.Context(), "a", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1}, nil)
	assert.ErrorIs(t, err, eventsource.ErrClosed)
	assert.Equal(t, uint64(3), l.Stats().Events)
}

func TestBadSettingsAreRefused(t *testing.T) {
	_, err := eventfile.Open(t.TempDir(), eventfile.Config{SegmentSize: -1})
	assert.ErrorIs(t, err, eventsource.ErrInvalid)
}

func TestStatsTellWhatTheLogHolds(t *testing.T) {
	l := open(t, t.TempDir(), eventfile.Config{SegmentSize: 1000, NoSync: true})
	write(t, l, 1, 50)
	s := l.Stats()
	assert.Equal(t, uint64(52), s.Events)
	assert.Equal(t, uint64(42), s.Appends)
	assert.True(t, s.NoSync && s.Segments > 3 && s.Bytes > 5000 && s.IndexBytes > 50*20 && s.Syncs > 0 && s.Poisoned == "", s)
}
