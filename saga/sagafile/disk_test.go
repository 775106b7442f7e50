package sagafile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

func openFS(t *testing.T, files *faultfs.FS) *sagafile.Store {
	t.Helper()
	s, err := sagafile.OpenFS("sagas", sagafile.Config{SegmentSize: 4000}, files)
	require.NoError(t, err)
	return s
}

// T36: a write or fsync that fails is an error whose outcome is unknown, and the
// last thing that the store does: every later call fails and says that no repeat
// helps. What was acknowledged before is there when it is opened anew.
func TestFailedWritesPoison(t *testing.T) {
	for _, c := range []struct {
		kind string
		err  error
	}{{"sync", syscall.EIO}, {"write", syscall.ENOSPC}} {
		files := faultfs.New(1)
		s := openFS(t, files)
		commit(t, s, create("before"))
		step(t, s, "before", saga.Waiting, `{"set":{"n":2}}`)
		files.Hook = func(op faultfs.Op) error {
			if op.Kind == c.kind {
				return c.err
			}
			return nil
		}
		_, err := s.Commit(t.Context(), []saga.Write{create("unknown")})
		require.ErrorIs(t, err, c.err)
		files.Hook = nil // the disk is well again: too late
		_, err = s.Commit(t.Context(), []saga.Write{create("after")})
		_, errPoll := s.Poll(t.Context(), saga.Lease{Owner: "o", For: time.Minute})
		errPost := s.Post(t.Context(), "before", saga.Record{Kind: "signal"})
		_, _, _, errLoad := s.Load(t.Context(), "before")
		var errList error
		for _, errList = range s.List(t.Context(), saga.Filter{IDs: []string{"nobody's"}}) {
		}
		_, errPurge := s.Purge(t.Context(), 0, 1)
		for _, err := range []error{err, errPoll, errPost, errLoad, errList, errPurge} {
			require.ErrorIs(t, err, c.err)
			var says interface{ Retryable() bool }
			assert.True(t, errors.As(err, &says) && !says.Retryable(), c.kind)
		}
		_ = s.Close()
		files.Kill()
		again := openFS(t, files.PowerCut(2))
		_, log, _, err := again.Load(t.Context(), "before")
		require.NoError(t, err)
		assert.Equal(t, 2, len(log))
		for _, sum := range list(t, again) {
			assert.True(t, sum.ID != "after", "refused, and there")
		}
		require.NoError(t, again.Close())
	}
}

// T2, T36: whatever the disk keeps of what was not synced, at a power cut at any
// moment, everything that was acknowledged is there and every saga is whole.
func TestPowerCutsLoseNothingAcknowledged(t *testing.T) {
	for seed := range uint64(60) {
		files := faultfs.New(seed)
		s := openFS(t, files)
		at := int(seed)%20 + 1
		files.Hook = func(op faultfs.Op) error {
			if op.N >= at && op.Kind == "sync" {
				return syscall.EIO
			}
			return nil
		}
		var acknowledged []string
		for i := range 40 {
			id := fmt.Sprint("s", i)
			if _, err := s.Commit(t.Context(), []saga.Write{create(id)}); err != nil {
				break
			}
			acknowledged = append(acknowledged, id)
		}
		again := openFS(t, files.PowerCut(seed))
		for _, id := range acknowledged {
			_, log, _, err := again.Load(t.Context(), id)
			require.NoError(t, err, id)
			assert.Equal(t, 1, len(log))
		}
		found := list(t, again)
		assert.True(t, len(found) <= len(acknowledged)+1, len(found), len(acknowledged))
		commit(t, again, create("new"))
		require.NoError(t, again.Close())
	}
}

// T36: a commit is acknowledged after its fsync and not before, and so is what
// rests on one.
func TestNothingIsSaidBeforeItsSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := faultfs.New(1)
		s := openFS(t, files)
		leave := make(chan struct{})
		files.Hook = func(op faultfs.Op) error {
			if op.Kind == "sync" {
				<-leave
			}
			return nil
		}
		var said atomic.Int32
		ask := func(name string, call func(ctx context.Context) error) {
			go func() {
				assert.NoError(t, call(t.Context()), name)
				said.Add(1)
			}()
			synctest.Wait()
		}
		ask("commit", func(ctx context.Context) error {
			_, err := s.Commit(ctx, []saga.Write{create("a")})
			return err
		})
		ask("the same again", func(ctx context.Context) error {
			_, err := s.Commit(ctx, []saga.Write{create("a")})
			return err
		})
		ask("Load", func(ctx context.Context) error {
			_, _, _, err := s.Load(ctx, "a")
			return err
		})
		ask("List", func(ctx context.Context) (err error) {
			for _, err = range s.List(ctx, saga.Filter{}) {
			}
			return err
		})
		ask("Poll", func(ctx context.Context) error {
			w, err := s.Poll(ctx, saga.Lease{Owner: "o", For: time.Minute, Limit: 1, Can: []string{"order@1"}})
			assert.Equal(t, 1, len(w.Claimed))
			return err
		})
		assert.Equal(t, int32(0), said.Load())
		close(leave)
		synctest.Wait()
		assert.Equal(t, int32(5), said.Load())
		require.NoError(t, s.Close())
	})
}

// T36: zeros behind the end, as a file system leaves them that had made room, are
// no damage.
func TestZeroFilledTailIsCut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	commit(t, s, create("a"))
	data := segment(t, dir)
	for _, zeros := range []int{1, 100, 5000} {
		torn := t.TempDir()
		name := filepath.Join(torn, fmt.Sprintf("%020d.wal", 1))
		require.NoError(t, os.WriteFile(name, append(bytes.Clone(data), make([]byte, zeros)...), 0o600))
		r := open(t, torn, sagafile.Config{})
		assert.Equal(t, 1, len(list(t, r)))
		commit(t, r, create("b"))
	}
}

// T7, W5: twenty steps that change 100 bytes each of a state of 64 KiB write the
// state once, and the changes.
func TestBytesFollowWhatChanges(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	c, err := saga.New(s, saga.Config{})
	require.NoError(t, err)
	type large struct{ Blob, Note string }
	d := saga.Definition[large]{Name: "large"}
	for i := range 20 {
		d.Steps = append(d.Steps, saga.Step[large]{
			Name: fmt.Sprint("step-", i), Do: func(_ context.Context, l *large) error {
				l.Note = fmt.Sprintf("%-100d", i)
				return nil
			},
		})
	}
	run, err := saga.Register(c, d)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	in := large{Blob: strings.Repeat("x", 64<<10)}
	_, err = run.Run(ctx, "1", in)
	require.NoError(t, err)
	stop()
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
	input, err := json.Marshal(in)
	require.NoError(t, err)
	written := size(t, dir)
	t.Logf("%d bytes, %d of them the input", written, len(input))
	assert.True(t, written <= int64(len(input))+20*300+300, written) // and a header of the file and the saga
}
