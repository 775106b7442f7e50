package sagafile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

func create(id string) saga.Write {
	return saga.Write{
		Summary: saga.Summary{
			ID: id, Name: "order", Version: 1, Shape: "0123456789abcdef", Fingerprint: "0123456789abcdef0123456789abcdef",
			State: saga.Running, Step: "pay", Seq: 1,
		},
		Records: []saga.Record{{Kind: "start", Seq: 1, State: saga.Running, Data: json.RawMessage(`{"n":1}`)}},
		Release: true,
	}
}

func commit(t *testing.T, s *sagafile.Store, writes ...saga.Write) {
	t.Helper()
	verdicts, err := s.Commit(t.Context(), writes)
	require.NoError(t, err)
	for _, v := range verdicts {
		require.NoError(t, v.Err)
	}
}

// step claims a saga and extends it.
func step(t *testing.T, s *sagafile.Store, id string, state saga.State, data string) {
	t.Helper()
	w, err := s.Poll(t.Context(), saga.Lease{Owner: "o", For: time.Minute, Only: id})
	require.NoError(t, err)
	require.Equal(t, 1, len(w.Claimed))
	sum := w.Claimed[0]
	sum.Seq++
	sum.State = state
	commit(t, s, saga.Write{Summary: sum, Release: true, WakeIn: time.Hour, Records: []saga.Record{{
		Kind: "done", Step: "pay", Seq: sum.Seq, Epoch: sum.Epoch, State: state, Data: json.RawMessage(data),
	}}})
}

func list(t *testing.T, s *sagafile.Store) (all []saga.Summary) {
	t.Helper()
	for sum, err := range s.List(t.Context(), saga.Filter{}) {
		require.NoError(t, err)
		all = append(all, sum)
	}
	return all
}

// whole is everything that a store says of its sagas.
func whole(t *testing.T, s *sagafile.Store) string {
	t.Helper()
	var out strings.Builder
	for _, sum := range list(t, s) {
		sum, log, mail, err := s.Load(t.Context(), sum.ID)
		require.NoError(t, err)
		data, err := json.Marshal([]any{sum, log, mail})
		require.NoError(t, err)
		out.WriteString(string(data) + "\n")
	}
	return out.String()
}

// T36: whatever byte the tail is torn at, what was acknowledged before is there.
func TestTornTailIsCut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	commit(t, s, create("a"))
	step(t, s, "a", saga.Waiting, `{"set":{"n":2}}`)
	before := segment(t, dir)
	commit(t, s, create("b"))
	after := segment(t, dir)
	require.True(t, len(after) > len(before))
	for n := len(before); n <= len(after); n++ {
		torn := t.TempDir()
		name := filepath.Join(torn, fmt.Sprintf("%020d.wal", 1))
		require.NoError(t, os.WriteFile(name, after[:n], 0o600))
		r, err := sagafile.Open(torn, sagafile.Config{})
		require.NoError(t, err)
		ids := []string{}
		for _, sum := range list(t, r) {
			ids = append(ids, sum.ID)
		}
		assert.Equal(t, n == len(after), slices.Equal(ids, []string{"a", "b"}))
		assert.Equal(t, "a", ids[0])
		_, log, _, err := r.Load(t.Context(), "a")
		assert.NoError(t, err)
		assert.Equal(t, 2, len(log))
		require.NoError(t, r.Close())
	}
}

func segment(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%020d.wal", 1)))
	require.NoError(t, err)
	return data
}

// T36: a flipped bit in the middle is reported, and nothing is changed.
func TestDamageInTheMiddleIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	for i := range 5 {
		commit(t, s, create(fmt.Sprint(i)))
	}
	require.NoError(t, s.Close())
	data := segment(t, dir)
	data[len(data)/2] ^= 4
	name := filepath.Join(dir, fmt.Sprintf("%020d.wal", 1))
	require.NoError(t, os.WriteFile(name, data, 0o600))
	_, err := sagafile.Open(dir, sagafile.Config{})
	assert.ErrorIs(t, err, sagafile.ErrCorrupt)
	assert.Equal(t, string(data), string(segment(t, dir)))
}

// Purge drops segments, and what lived in them is as it was, now and after a crash.
func TestPurgeKeepsWhatLives(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{SegmentSize: 4000})
	commit(t, s, create("keeps"), create("mail"))
	step(t, s, "keeps", saga.Waiting, `{"set":{"n":2}}`)
	require.NoError(t, s.Post(t.Context(), "mail", saga.Record{Kind: "signal", Code: "x", Key: "k"}))
	require.NoError(t, s.Post(t.Context(), "mail", saga.Record{Kind: "signal", Code: "y"}))
	for i := range 100 {
		id := fmt.Sprint("ends", i)
		commit(t, s, create(id))
		step(t, s, id, saga.Completed, `{}`)
	}
	before := size(t, dir)
	n, err := s.Purge(t.Context(), 0, 1000)
	require.NoError(t, err)
	assert.Equal(t, 100, n)
	assert.True(t, size(t, dir) < before/4, size(t, dir), before)
	live := whole(t, s)
	require.NoError(t, s.Post(t.Context(), "mail", saga.Record{Kind: "signal", Code: "x", Key: "k"}))
	assert.Equal(t, live, whole(t, s), "a key that was moved is known")

	again := open(t, crashed(t, dir), sagafile.Config{SegmentSize: 4000})
	require.NoError(t, again.Post(t.Context(), "mail", saga.Record{Kind: "signal", Code: "x", Key: "k"}))
	assert.Equal(t, live, whole(t, again))
	step(t, again, "keeps", saga.Completed, `{}`)
	_, log, _, err := again.Load(t.Context(), "keeps")
	require.NoError(t, err)
	assert.Equal(t, 3, len(log))
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		n += info.Size()
	}
	return n
}

// T15: what a saga was claimed, and at which epoch, outlives the process.
func TestClaimsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	commit(t, s, create("a"))
	for i := range 5 {
		w, err := s.Poll(t.Context(), saga.Lease{Owner: fmt.Sprint(i), For: time.Hour, Limit: 1, Can: []string{"order@1"}})
		require.NoError(t, err)
		require.Equal(t, 1, len(w.Claimed), "what the process before held is due at once")
		assert.Equal(t, i+1, w.Claimed[0].Claims)
		assert.Equal(t, uint64(i+2), w.Claimed[0].Epoch)
		dir = crashed(t, dir)
		s = open(t, dir, sagafile.Config{})
	}
}

func TestMemoryPerSaga(t *testing.T) {
	const n = 20_000
	s := open(t, t.TempDir(), sagafile.Config{NoSync: true})
	before := heap()
	for from := 0; from < n; from += 500 {
		var batch []saga.Write
		for i := range 500 {
			batch = append(batch, create(fmt.Sprintf("order-%012d", from+i)))
		}
		commit(t, s, batch...)
	}
	each := (heap() - before) / n
	t.Logf("%d bytes per saga", each)
	assert.True(t, each <= 700, each)
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestCallsAfterCloseMatchErrClosed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sagafile.Config{})
	_, err := sagafile.Open(dir, sagafile.Config{})
	assert.Error(t, err, "it is open")
	commit(t, s, create("a"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = s.Commit(t.Context(), []saga.Write{create("b")})
	_, err2 := s.Poll(t.Context(), saga.Lease{Owner: "o", For: time.Minute})
	_, _, _, err3 := s.Load(t.Context(), "a")
	err4 := s.Post(t.Context(), "a", saga.Record{})
	_, err5 := s.Purge(t.Context(), 0, 1)
	var err6 error
	for _, err6 = range s.List(t.Context(), saga.Filter{}) {
	}
	for _, err := range []error{err, err2, err3, err4, err5, err6} {
		assert.ErrorIs(t, err, fs.ErrClosed)
		var says interface{ Retryable() bool }
		assert.True(t, errors.As(err, &says) && !says.Retryable())
	}
	assert.Equal(t, "fsync", s.Durability())
}

var _ saga.Store = (*sagafile.Store)(nil)

func TestEndedContextIsNoCommit(t *testing.T) {
	s := open(t, t.TempDir(), sagafile.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Commit(ctx, []saga.Write{create("a")})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 0, len(list(t, s)))
}
