package eventfile_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

// variants are the settings under which the suite runs: as shipped, with files of
// a few events, with hashes of 8 bits of which the parts of a table see none,
// without fsync, in memory.
func variants() map[string]func(t *testing.T) *eventfile.Log {
	opener := func(cfg eventfile.Config, s func() eventfile.Settings) func(t *testing.T) *eventfile.Log {
		return func(t *testing.T) *eventfile.Log {
			l, err := eventfile.OpenWith(t.TempDir(), cfg, s())
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			return l
		}
	}
	plain := func() eventfile.Settings { return eventfile.Settings{} }
	return map[string]func(t *testing.T) *eventfile.Log{
		"default":        opener(eventfile.Config{}, plain),
		"small segments": opener(eventfile.Config{SegmentSize: 500}, plain),
		"no sync":        opener(eventfile.Config{NoSync: true}, plain),
		"8 bits of hash": opener(eventfile.Config{NoSync: true}, func() eventfile.Settings { return eventfile.Settings{HashMask: 0xff} }),
		"in memory":      opener(eventfile.Config{}, func() eventfile.Settings { return eventfile.Settings{FS: faultfs.New(1)} }),
	}
}

// T1 to T11, and whatever else the contract says.
func TestLogIsAStore(t *testing.T) {
	for name, open := range variants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return open(t) })
		})
	}
}

func TestLogHasCheckpoints(t *testing.T) {
	for name, open := range variants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eventtest.TestCheckpoints(t, func(t *testing.T) eventsource.Checkpoints { return open(t) })
		})
	}
}

// T7: an id that looks as if this log had made it only says where to look.
func TestAForgedIDIsNoDuplicate(t *testing.T) {
	l := open(t, t.TempDir(), eventfile.Config{})
	_, err := l.Append(t.Context(), []eventsource.Event{{Type: "t"}})
	require.NoError(t, err)
	made := collect(t, l, eventsource.All(), eventsource.ReadOptions{})[0].ID
	forged := "00000000" + made[8:] // of another time
	r, err := l.Append(t.Context(), []eventsource.Event{{ID: forged, Type: "t"}})
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 2, Last: 2}, r)
	r, err = l.Append(t.Context(), []eventsource.Event{{ID: made, Type: "t"}})
	require.NoError(t, err)
	assert.Equal(t, eventsource.Result{First: 1, Last: 1, Duplicate: true}, r)
}

// T6: of concurrent twins one writes, however they interleave.
func TestTwinsAreWrittenOnce(t *testing.T) {
	l := openFS(t, faultfs.New(1))
	const rounds, twins = 300, 6
	for round := range rounds {
		var running sync.WaitGroup
		var fresh atomic.Int32
		start := make(chan struct{})
		for range twins {
			running.Go(func() {
				<-start
				r, err := l.Append(t.Context(), []eventsource.Event{{ID: fmt.Sprint("twin-", round), Type: "t"}})
				assert.NoError(t, err)
				if !r.Duplicate {
					fresh.Add(1)
				}
			})
		}
		close(start)
		running.Wait()
		require.Equal(t, int32(1), fresh.Load(), "round", round)
	}
	assert.Equal(t, uint64(rounds), l.Stats().Events)
}
