package eventfile_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

// failingSync lets the next sync wait until the channel is closed, and then fail.
func failingSync(fs *faultfs.FS) (leave chan struct{}) {
	leave = make(chan struct{})
	fs.Hook = func(op faultfs.Op) error {
		if op.Kind != "sync" {
			return nil
		}
		<-leave
		return syscall.EIO
	}
	return leave
}

// T30: what rests on an append that is not durable yet, be it a conflict, a
// Duplicate, a check that holds or what is tracked, is said only once that append
// is durable, and not at all if it fails.
func TestNothingIsSaidThatRestsOnWhatWasLost(t *testing.T) {
	tracked := eventsource.Track("source", 9)
	cases := map[string]func(ctx context.Context, l *eventfile.Log) error{
		"AtVersion": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, []eventsource.Event{{Type: "x"}}, eventsource.NoStream("new"))
			return err
		},
		"NoneSince": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, []eventsource.Event{{Type: "x"}}, eventsource.NoneSince(eventsource.Stream("new"), 3))
			return err
		},
		"Track": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, []eventsource.Event{{Type: "x"}}, tracked)
			return err
		},
		"Duplicate": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, []eventsource.Event{{ID: "twin", Stream: "new", Type: "t"}})
			return err
		},
		"ids that do not fit": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, []eventsource.Event{{ID: "twin", Stream: "other", Type: "t"}})
			return err
		},
		"a check that holds": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.Append(ctx, nil, eventsource.Exists("new"))
			return err
		},
		"what is tracked": func(ctx context.Context, l *eventfile.Log) error {
			_, err := l.LoadCheckpoint(ctx, "track/source")
			return err
		},
	}
	for name, dependent := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := faultfs.New(1)
				l := openFS(t, fs)
				write(t, l, 1, 3)
				leave := failingSync(fs)
				var first, second error
				go func() {
					_, first = l.Append(t.Context(), []eventsource.Event{{ID: "twin", Stream: "new", Type: "t"}}, tracked)
				}()
				synctest.Wait()
				said := false
				go func() { second = dependent(t.Context(), l); said = true }()
				ctx, cancel := context.WithCancelCause(t.Context())
				gone := errors.New("gone")
				var third error
				go func() { third = dependent(ctx, l) }()
				synctest.Wait()
				assert.False(t, said, "before anybody can know")
				cancel(gone)
				synctest.Wait()
				assert.ErrorIs(t, third, gone)
				assert.NotErrorIs(t, third, eventsource.ErrUncertain, "nothing was handed over")
				close(leave)
				synctest.Wait()
				assert.ErrorIs(t, first, eventsource.ErrUncertain)
				assert.ErrorIs(t, first, syscall.EIO)
				require.True(t, said)
				assert.ErrorIs(t, second, eventsource.ErrClosed)
				assert.ErrorIs(t, second, syscall.EIO)
				assert.False(t, isOne(second, eventsource.ErrConflict, eventsource.ErrTracked, eventsource.ErrInvalid), second)
			})
		})
	}
}

// A conflict that rests on durable events alone does not wait for anybody.
func TestAConflictWithDurableEventsIsSaidAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New(1)
		l := openFS(t, fs)
		write(t, l, 1, 3)
		leave := failingSync(fs)
		go func() { _, _ = l.Append(t.Context(), []eventsource.Event{{Stream: "new", Type: "t"}}) }()
		synctest.Wait()
		_, err := l.Append(t.Context(), nil, eventsource.NoStream("stream-1"))
		assert.ErrorIs(t, err, eventsource.ErrConflict)
		r, err := l.Append(t.Context(), []eventsource.Event{event(1)})
		assert.True(t, err == nil && r.Duplicate, r, err)
		close(leave)
	})
}

// T29: after a failed fsync, appends and saves are refused, reading goes on, who
// waits is told, and the log reopens with all that was acknowledged.
func TestAFailedFsyncEndsWritingAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New(1)
		l := openFS(t, fs)
		write(t, l, 1, 5)
		var waited error
		go func() { waited = l.Wait(t.Context(), 5) }()
		leave := failingSync(fs)
		close(leave)
		_, err := l.Append(t.Context(), []eventsource.Event{event(6)})
		assert.ErrorIs(t, err, eventsource.ErrUncertain)
		_, err = l.Append(t.Context(), []eventsource.Event{event(7)})
		assert.ErrorIs(t, err, eventsource.ErrClosed)
		synctest.Wait()
		assert.ErrorIs(t, waited, eventsource.ErrClosed)
		assert.Equal(t, 5, len(collect(t, l, eventsource.All(), eventsource.ReadOptions{})))
		head, err := l.Head(t.Context())
		assert.True(t, err == nil && head == 5, head, err)
		assert.Contains(t, l.Stats().Poisoned, "input/output error")
		assert.ErrorIs(t, l.Close(), syscall.EIO)

		fs.Kill()
		l = openFS(t, fs.PowerCut(3))
		assert.True(t, len(collect(t, l, eventsource.All(), eventsource.ReadOptions{})) >= 5)
		write(t, l, 7, 9)
	})
}

func TestAFailedCheckpointIsUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New(1)
		l := openFS(t, fs)
		one := eventsource.Checkpoint{Epoch: 1}
		require.NoError(t, l.SaveCheckpoint(t.Context(), "a", eventsource.Checkpoint{}, one, nil))
		leave := failingSync(fs)
		errs := make([]error, 3)
		go func() { errs[0] = l.SaveCheckpoint(t.Context(), "a", one, eventsource.Checkpoint{}, nil) }()
		synctest.Wait()
		go func() { errs[1] = l.SaveCheckpoint(t.Context(), "a", one, eventsource.Checkpoint{Epoch: 2}, nil) }()
		go func() { _, errs[2] = l.LoadCheckpoint(t.Context(), "a") }()
		synctest.Wait()
		assert.Equal(t, []error{nil, nil, nil}, errs, "T30: nothing is said yet")
		close(leave)
		synctest.Wait()
		assert.ErrorIs(t, errs[0], eventsource.ErrUncertain)
		assert.ErrorIs(t, errs[1], eventsource.ErrClosed)
		assert.ErrorIs(t, errs[2], eventsource.ErrClosed)
		assert.Contains(t, l.Stats().Poisoned, "input/output error")
	})
}

// Checkpoints are rewritten when most of their log is of no use, and survive a
// power cut at every operation of that.
func TestCheckpointsAreCompacted(t *testing.T) {
	life := func(fs *faultfs.FS) (saved map[string]uint64, err error) {
		saved = map[string]uint64{}
		l, err := eventfile.OpenWith("/log", eventfile.Config{}, eventfile.Settings{FS: fs})
		if err != nil {
			return saved, err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		data := make([]byte, 60_000)
		for n := range uint64(60) {
			name := fmt.Sprintf("cp-%d", n%3)
			old := eventsource.Checkpoint{Epoch: saved[name]}
			if saved[name] > 0 {
				old.Data = []byte("not compared")
			}
			if err := l.SaveCheckpoint(context.Background(), name, old, eventsource.Checkpoint{Epoch: n + 1, Data: data}, nil); err != nil {
				return saved, err
			}
			saved[name] = n + 1
		}
		return saved, nil
	}
	whole := faultfs.New(1)
	_, err := life(whole)
	require.NoError(t, err)
	bytes := 0
	for _, name := range whole.Names() {
		bytes += len(whole.Bytes(name))
	}
	assert.True(t, bytes < 60*60_000*2/3, "bytes", bytes)
	off := errors.New("power cut")
	for n := 1; n < whole.Ops(); n++ {
		fs := faultfs.New(1)
		fs.Hook = func(op faultfs.Op) error {
			if op.N >= n {
				return off
			}
			return nil
		}
		saved, _ := life(fs)
		l, err := eventfile.OpenWith("/log", eventfile.Config{}, eventfile.Settings{FS: fs.PowerCut(uint64(n))})
		require.NoError(t, err, "operation", n)
		for name, epoch := range saved {
			c, err := l.LoadCheckpoint(t.Context(), name)
			require.NoError(t, err)
			require.True(t, c.Epoch >= epoch && len(c.Data) == 60_000, "operation", n, name, "is", c.Epoch, "saved", epoch)
		}
		require.NoError(t, l.Close())
	}
}
