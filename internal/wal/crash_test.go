package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

// script is a life of a log: it opens, appends, seals, drops, closes and opens
// again, until something fails. acked is the last record that was acknowledged,
// sent the last one enqueued, dropped what DropBefore was told.
func script(fs *faultfs.FS, c wal.Config) (acked, sent, dropped wal.LSN, err error) {
	c.Dir, c.FS, c.SegmentSize = "/log", fs, 400
	for range 3 {
		l, err := open(c)
		if err != nil {
			return acked, sent, dropped, err
		}
		for range 7 {
			first := l.enqueue(sent + 1)
			second := l.enqueue(sent + 2)
			sent += 2
			if sent%8 == 0 {
				l.Seal()
			}
			for i, t := range []wal.Ticket{first, second} {
				if err = t.Wait(tContext); err != nil {
					return acked, sent, dropped, errors.Join(err, l.Close())
				}
				acked = sent - 1 + wal.LSN(i)
			}
		}
		dropped = acked - 6
		if err = errors.Join(l.DropBefore(dropped), l.Close()); err != nil {
			return acked, sent, dropped, err
		}
	}
	return acked, sent, dropped, nil
}

func (o opened) enqueue(n wal.LSN) wal.Ticket { return o.Enqueue(payload(n)) }

// verify opens what a crash has left: all that was acknowledged is there, nothing
// that was not sent, in one piece; and so again after more appends and crashes.
func verify(t *testing.T, fs *faultfs.FS, acked, sent, dropped wal.LSN, what string) {
	t.Helper()
	for round := range uint64(3) {
		l, err := open(wal.Config{Dir: "/log", FS: fs, SegmentSize: 400})
		require.NoError(t, err, what, "round", round)
		require.True(t, l.last >= acked && l.last <= sent, what, "round", round, "acked", acked, "sent", sent, "found", l.last)
		require.True(t, l.first <= max(dropped, 1), what, "first", l.first, "dropped before", dropped)
		acked, sent = l.last, l.last // what was replayed stays
		if round < 2 {
			fill(t, l.Log, acked+3)
			acked, sent = acked+3, sent+3
		}
		fs = fs.PowerCut(round)
		_ = l.Close()
	}
}

// T29: every operation fails once, in turn; the process goes on, and is killed;
// or the power goes as well.
func TestAnyFailedOperationLosesNothingAcknowledged(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 1; ; n++ {
			fs := faultfs.New(uint64(n))
			fs.Hook = func(op faultfs.Op) error {
				if op.N == n {
					return cause
				}
				return nil
			}
			acked, sent, dropped, err := script(fs, wal.Config{})
			if fs.Ops() < n {
				require.NoError(t, err)
				require.True(t, n > 100, "a script of", n)
				break
			}
			require.ErrorIs(t, err, cause, "operation", n)
			what := fmt.Sprintf("%v at operation %d", cause, n)
			for seed := range uint64(8) {
				verify(t, fs.PowerCut(seed), acked, sent, dropped, what+", power cut")
			}
			fs.Kill()
			verify(t, fs, acked, sent, dropped, what+", killed")
		}
	}
}

// T28: the power goes at every operation, and the disk reorders what was not
// synced.
func TestAPowerCutAnywhereLosesNothingAcknowledged(t *testing.T) {
	off := errors.New("power cut")
	for n := 1; ; n++ {
		fs := faultfs.New(uint64(n))
		fs.Hook = func(op faultfs.Op) error {
			if op.N >= n {
				return off
			}
			return nil
		}
		acked, sent, dropped, err := script(fs, wal.Config{})
		if fs.Ops() < n {
			require.NoError(t, err)
			break
		}
		for seed := range uint64(30) {
			verify(t, fs.PowerCut(seed), acked, sent, dropped, fmt.Sprintf("power cut at operation %d, seed %d", n, seed))
		}
	}
}

// Without fsync the machine may lose acknowledged records, though never any in
// the middle, and the process none.
func TestNoSyncKeepsAPrefix(t *testing.T) {
	fs := faultfs.New(1)
	acked, sent, dropped, err := script(fs, wal.Config{NoSync: true})
	require.NoError(t, err)
	verify(t, fs.Clone(), acked, sent, dropped, "killed")

	l, err := open(wal.Config{Dir: "/more", FS: fs, NoSync: true, SegmentSize: 400})
	require.NoError(t, err)
	assert.True(t, l.Stats().NoSync)
	fill(t, l.Log, 40)
	for seed := range uint64(200) {
		l, err := open(wal.Config{Dir: "/more", FS: fs.PowerCut(seed)})
		require.NoError(t, err, "seed", seed)
		require.True(t, l.last <= 40)
		require.NoError(t, l.Close())
	}
	require.NoError(t, l.Close())
}

// T29: what follows a failure is refused unwritten, reads go on, and Close leaves
// no clean mark.
func TestAFailedFsyncPoisonsTheLog(t *testing.T) {
	fs := faultfs.New(3)
	l, err := open(wal.Config{Dir: "/log", FS: fs})
	require.NoError(t, err)
	fill(t, l.Log, 3)
	entered, leave := make(chan struct{}), make(chan struct{})
	fs.Hook = func(op faultfs.Op) error {
		if op.Kind != "sync" {
			return nil
		}
		close(entered)
		<-leave
		return syscall.EIO
	}
	flying := l.enqueue(4)
	<-entered
	built := l.enqueue(5)
	close(leave)

	err = flying.Wait(t.Context())
	assert.ErrorIs(t, err, wal.ErrUncertain)
	assert.ErrorIs(t, err, syscall.EIO)
	for _, err := range []error{built.Wait(t.Context()), l.enqueue(6).Wait(t.Context()), l.Reserve(t.Context(), 1)} {
		assert.ErrorIs(t, err, wal.ErrPoisoned)
		assert.ErrorIs(t, err, syscall.EIO)
		assert.NotErrorIs(t, err, wal.ErrUncertain)
	}
	ops := fs.Ops()
	assert.Equal(t, wal.LSN(3), l.Durable())
	n := wal.LSN(0)
	for rec, err := range l.Scan(1) {
		require.NoError(t, err)
		n = rec.LSN
	}
	assert.Equal(t, wal.LSN(3), n, "reads go on")
	assert.Contains(t, l.Stats().Poisoned, "sync /log/")
	assert.ErrorIs(t, l.Close(), wal.ErrPoisoned)
	assert.Equal(t, ops, fs.Ops(), "nothing is tried again")
	verify(t, fs.PowerCut(1), 3, 4, 0, "after poison")
}

// T29: bytes behind the new end are cut before anything is written there, so that
// they never come back between later batches.
func TestStaleBytesBehindTheTailNeverReturn(t *testing.T) {
	disk := image(t, 5, wal.Config{}, false)
	name := disk.Names()[0]
	whole := disk.Bytes(name)
	tail := len(whole) - 40 - 16 - len(payload(5))
	torn := slices.Clone(whole)
	torn[tail+20]++ // the mark; the record behind it is intact
	disk.Set(name, torn)
	l, err := open(wal.Config{Dir: "/log", FS: disk})
	require.NoError(t, err)
	assert.Equal(t, wal.LSN(4), l.last)
	assert.Equal(t, tail, len(disk.Bytes(name)))
	for seed := range uint64(20) {
		after := disk.PowerCut(seed)
		assert.Equal(t, tail, len(after.Bytes(name)), "the cut is synced")
	}
	require.NoError(t, l.Close())
}
