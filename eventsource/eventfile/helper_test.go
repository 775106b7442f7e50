package eventfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("KEELSON_EVENTFILE_CHILD"); dir != "" {
		child(dir)
	}
	if dir := os.Getenv("KEELSON_EVENTFILE_PROJECT"); dir != "" {
		project(dir)
	}
	os.Exit(m.Run())
}

// event is the n-th event of most tests here: it differs from all others.
func event(n int) eventsource.Event {
	e := eventsource.Event{
		Stream: fmt.Sprintf("stream-%d", n%7), Type: fmt.Sprintf("type-%d", n%3),
		Tags: []string{fmt.Sprintf("tag:%d", n%5), "all"},
		Meta: map[string]string{"number": fmt.Sprint(n)}, Data: fmt.Appendf(nil, "data of %d", n),
	}
	switch n % 4 {
	case 0:
		e.ID = fmt.Sprintf("id-%d", n)
	case 1:
		e.ID = fmt.Sprintf("00000000-0000-8000-8000-%012x", n)
	case 2:
		e.Stream = ""
	}
	return e
}

// write appends events from first to last, one by one and now and then three.
func write(t *testing.T, l *eventfile.Log, first, last int) {
	t.Helper()
	for n := first; n <= last; {
		batch := []eventsource.Event{event(n)}
		if n%10 == 0 {
			batch = append(batch, event(n+1), event(n+2))
		}
		_, err := l.Append(t.Context(), batch, eventsource.Track("source", eventsource.Position(n)))
		require.NoError(t, err)
		n += len(batch)
	}
}

// open opens a log that is closed when the test ends.
func open(t *testing.T, dir string, cfg eventfile.Config) *eventfile.Log {
	t.Helper()
	l, err := eventfile.Open(dir, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func openFS(t *testing.T, fs *faultfs.FS) *eventfile.Log {
	t.Helper()
	l, err := eventfile.OpenWith("/log", eventfile.Config{SegmentSize: 2000}, eventfile.Settings{FS: fs})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// collect reads to the end.
func collect(t *testing.T, s eventsource.Store, q eventsource.Query, o eventsource.ReadOptions) []eventsource.Recorded {
	t.Helper()
	all, err := readAll(s, q, o)
	require.NoError(t, err)
	return all
}

func readAll(s eventsource.Store, q eventsource.Query, o eventsource.ReadOptions) (all []eventsource.Recorded, err error) {
	for e, err := range s.Read(context.Background(), q, o) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// isOne says whether err is one of these.
func isOne(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
