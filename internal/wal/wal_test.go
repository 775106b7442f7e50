package wal_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/internal/wal/faultfs"
)

func TestRecordsComeBackInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b") // made on the way
	for want := wal.LSN(0); want < 40; want += 10 {
		l, err := open(wal.Config{Dir: dir, SegmentSize: 300})
		require.NoError(t, err)
		assert.Equal(t, want, l.last)
		assert.Equal(t, want, l.Durable())
		fill(t, l.Log, want+10)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close(), "again")
	}
}

func TestRecordsAreReadByAddress(t *testing.T) {
	l, err := reopen(t, faultfs.New(1), wal.Config{SegmentSize: 2000})
	require.NoError(t, err)
	var refs []wal.Ref
	for n := wal.LSN(1); n <= 200; n++ {
		refs = append(refs, l.Enqueue(payload(n)).Ref)
	}
	require.NoError(t, appendTo(l.Log, 201))
	r := l.Reader()
	for i, ref := range refs {
		for _, ref := range []wal.Ref{ref, refs[len(refs)-1-i], ref} { // forwards, backwards
			rec, err := r.At(ref)
			require.NoError(t, err)
			assert.Equal(t, ref, rec.Ref)
			assert.Equal(t, payload(rec.LSN), rec.Data)
		}
		rec, err := l.ReadAt(ref, make([]byte, 0, 100))
		require.NoError(t, err)
		assert.Equal(t, wal.LSN(i+1), rec.LSN)
	}
}

func TestScanStartsAnywhereAndEndsAtWhatIsDurable(t *testing.T) {
	l, err := reopen(t, faultfs.New(1), wal.Config{SegmentSize: 300})
	require.NoError(t, err)
	fill(t, l.Log, 30)
	for from := wal.LSN(0); from <= 32; from++ {
		next := max(from, 1)
		for rec, err := range l.Scan(from) {
			require.NoError(t, err)
			assert.Equal(t, next, rec.LSN)
			assert.Equal(t, payload(next), rec.Data)
			if next == 15 {
				fill(t, l.Log, 31) // while the loop runs
			}
			next++
		}
		assert.True(t, next >= 31, "from", from, "ended before", next)
	}
}

// What is not yet durable is read from memory, so that an owner can look at what
// its index points to.
func TestPendingRecordsAreReadFromMemory(t *testing.T) {
	fs := faultfs.New(1)
	l, err := reopen(t, fs, wal.Config{})
	require.NoError(t, err)
	entered, leave := blockSyncs(fs)
	flying := l.Enqueue(payload(1))
	<-entered
	queued := l.Enqueue(payload(2))
	for i, ticket := range []wal.Ticket{flying, queued} {
		rec, err := l.ReadAt(ticket.Ref, nil)
		require.NoError(t, err)
		assert.Equal(t, payload(wal.LSN(i+1)), rec.Data)
	}
	assert.Equal(t, wal.LSN(0), l.Durable())
	_, err = l.ReadAt(queued.Ref+100_000, nil)
	assert.Error(t, err)
	close(leave)
	<-entered
	require.NoError(t, queued.Wait(t.Context()))
}

// blockSyncs lets syncs wait: each sends to entered, and goes on when leave is
// closed.
func blockSyncs(fs *faultfs.FS) (entered chan struct{}, leave chan struct{}) {
	entered, leave = make(chan struct{}, 100), make(chan struct{})
	fs.Hook = func(op faultfs.Op) error {
		if op.Kind == "sync" {
			entered <- struct{}{}
			<-leave
		}
		return nil
	}
	return entered, leave
}

func TestWhatComesDuringAnFsyncSharesTheNext(t *testing.T) {
	fs := faultfs.New(1)
	l, err := reopen(t, fs, wal.Config{})
	require.NoError(t, err)
	before := l.Stats().Syncs
	entered, leave := blockSyncs(fs)
	l.Enqueue(payload(1))
	<-entered
	var last wal.Ticket
	for n := wal.LSN(2); n <= 100; n++ {
		last = l.Enqueue(payload(n))
	}
	close(leave)
	require.NoError(t, last.Wait(t.Context()))
	s := l.Stats()
	assert.Equal(t, uint64(2), s.Syncs-before)
	assert.Equal(t, uint64(2), s.Batches)
	assert.Equal(t, uint64(100), s.Records)
}

// On one processor the goroutine that writes, woken by the first record, must not
// be in its fsync before the others have had their turn.
func TestOneProcessorSharesFsyncsToo(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l, err := wal.Open(wal.Config{Dir: t.TempDir()}, nil)
	require.NoError(t, err)
	defer l.Close()
	requests := make(chan struct{})
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for range requests {
				if err := l.Reserve(t.Context(), 3); err != nil {
					t.Error(err)
				} else if err := l.Enqueue([]byte("abc")).Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	const records = 1600
	for range records {
		requests <- struct{}{}
	}
	close(requests)
	callers.Wait()
	stats := l.Stats()
	require.Equal(t, uint64(records), stats.Records)
	require.True(t, stats.Syncs < records/13, "%d fsyncs of %d records by 32 callers", stats.Syncs, records)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	fs := faultfs.New(1)
	l, err := reopen(t, fs, wal.Config{})
	require.NoError(t, err)
	_, leave := blockSyncs(fs)
	ticket := l.Enqueue(payload(1))
	cause := errors.New("the caller has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err = ticket.Wait(ctx)
	assert.ErrorIs(t, err, wal.ErrUncertain)
	assert.ErrorIs(t, err, cause)
	close(leave)
	require.NoError(t, ticket.Wait(t.Context()))
	assert.NoError(t, ticket.Wait(ctx), "durable is durable")
}

func TestReserveBoundsWhatIsPendingFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := open(wal.Config{Dir: "/log", FS: faultfs.New(1), MaxPending: 100})
		require.NoError(t, err)
		require.NoError(t, l.Reserve(t.Context(), 60))
		var order []int
		ctx, cancel := context.WithCancel(t.Context())
		for i, c := range []struct {
			ctx context.Context
			n   int
		}{{t.Context(), 90}, {ctx, 95}, {t.Context(), 10}, {t.Context(), 500}} {
			go func() {
				if err := l.Reserve(c.ctx, c.n); err == nil {
					order = append(order, i)
				}
			}()
			synctest.Wait()
		}
		assert.Equal(t, []int(nil), order, "the small one waits behind the large one")
		l.Release(60)
		synctest.Wait()
		assert.Equal(t, []int{0}, order)
		cancel()
		synctest.Wait()
		assert.Equal(t, []int{0, 2}, order, "who leaves lets the next one in")
		l.Release(90)
		synctest.Wait()
		assert.Equal(t, []int{0, 2}, order)
		l.Release(10)
		synctest.Wait()
		assert.Equal(t, []int{0, 2, 3}, order, "one that is larger than all room gets it alone")
		go func() { order = append(order, errorAt(l.Reserve(t.Context(), 1), wal.ErrClosed)) }()
		synctest.Wait()
		require.NoError(t, l.Close())
		synctest.Wait()
		assert.Equal(t, []int{0, 2, 3, -1}, order, "Close turns away who waits")
		assert.ErrorIs(t, l.Reserve(t.Context(), 1), wal.ErrClosed)
	})
}

func errorAt(err, want error) int {
	if errors.Is(err, want) {
		return -1
	}
	return 99
}

func TestRoomOfRecordsThatWereWrittenIsFreeAgain(t *testing.T) {
	l, err := reopen(t, faultfs.New(1), wal.Config{MaxPending: 200})
	require.NoError(t, err)
	fill(t, l.Log, 100)
	require.NoError(t, l.Reserve(t.Context(), 200))
}

func TestOversizedRecordsAreRefused(t *testing.T) {
	l, err := reopen(t, faultfs.New(1), wal.Config{})
	require.NoError(t, err)
	assert.Error(t, l.Reserve(t.Context(), wal.MaxRecord+1))
	assert.Panics(t, func() { l.Enqueue(make([]byte, wal.MaxRecord+1)) })
}

func TestSegmentsAreSealedAndDropped(t *testing.T) {
	fs := faultfs.New(1)
	l, err := reopen(t, fs, wal.Config{})
	require.NoError(t, err)
	l.Seal() // of nothing
	fill(t, l.Log, 5)
	l.Seal()
	l.Seal()
	fill(t, l.Log, 10)
	// Seal while a batch is open: the next record still begins a segment.
	_, leave := blockSyncs(fs)
	l.Enqueue(payload(11))
	l.Enqueue(payload(12))
	l.Seal()
	ticket := l.Enqueue(payload(13))
	close(leave)
	require.NoError(t, ticket.Wait(t.Context()))

	var ends []wal.LSN
	for _, s := range l.Segments() {
		ends = append(ends, s.Last)
	}
	assert.Equal(t, []wal.LSN{5, 12, 13}, ends)
	require.NoError(t, l.DropBefore(12), "record 12 is in the second one")
	assert.Equal(t, wal.LSN(6), l.Segments()[0].First)
	require.NoError(t, l.DropBefore(100))
	assert.Equal(t, uint64(1), l.Stats().Segments, "the last one stays")
	rec, err := l.ReadAt(ticket.Ref, nil)
	require.NoError(t, err)
	assert.Equal(t, payload(13), rec.Data)
	_, err = l.ReadAt(70, nil)
	assert.Error(t, err)
	require.NoError(t, l.Close())

	l, err = reopen(t, fs, wal.Config{})
	require.NoError(t, err)
	assert.Equal(t, wal.LSN(13), l.first)
	rec, err = l.ReadAt(ticket.Ref, nil)
	require.NoError(t, err, "addresses hold for ever")
	assert.Equal(t, payload(13), rec.Data)
}

// A segment without records is not sealed: its successor would have its name.
func TestCleanMarksAloneAreNoSegment(t *testing.T) {
	fs := faultfs.New(1)
	for range 20 {
		l, err := open(wal.Config{Dir: "/log", FS: fs, SegmentSize: 100})
		require.NoError(t, err)
		l.Seal()
		require.NoError(t, l.Close())
	}
	l, err := reopen(t, fs, wal.Config{SegmentSize: 100})
	require.NoError(t, err)
	l.Seal()
	fill(t, l.Log, 3)
}

func TestOwnersSkipSealedSegments(t *testing.T) {
	disk := image(t, 20, wal.Config{SegmentSize: 300}, true)
	var replayed, skipped []wal.LSN
	l, err := wal.Open(wal.Config{
		Dir: "/log", FS: disk,
		Sealed: func(s wal.Segment) (bool, error) {
			skipped = append(skipped, s.First)
			return len(skipped) < 3, nil
		},
	}, func(r wal.Record) error { replayed = append(replayed, r.LSN); return nil })
	require.NoError(t, err)
	assert.True(t, len(skipped) > 3)
	assert.Equal(t, skipped[2], replayed[0])
	assert.Equal(t, wal.LSN(20), l.Durable())
	require.NoError(t, l.Close())

	refuse := errors.New("not this one")
	_, err = wal.Open(wal.Config{Dir: "/log", FS: disk, Sealed: func(wal.Segment) (bool, error) { return false, refuse }}, nil)
	assert.ErrorIs(t, err, refuse)
	_, err = wal.Open(wal.Config{Dir: "/log", FS: disk}, func(wal.Record) error { return refuse })
	assert.ErrorIs(t, err, refuse)
}

// T31: the directory belongs to one log at a time, in one process too.
func TestASecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	l, err := open(wal.Config{Dir: dir})
	require.NoError(t, err)
	_, err = open(wal.Config{Dir: dir})
	assert.ErrorIs(t, err, wal.ErrLocked)
	require.NoError(t, l.Close())
	l, err = open(wal.Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestAnotherFormatAndBadSettingsAreRefused(t *testing.T) {
	disk := image(t, 3, wal.Config{Format: 7}, true)
	_, err := open(wal.Config{Dir: "/log", FS: disk, Format: 8})
	assert.Error(t, err)
	assert.NotErrorIs(t, err, wal.ErrCorrupt)
	_, err = open(wal.Config{Dir: "/log", FS: disk, SegmentSize: -1})
	assert.Error(t, err)
	_, err = reopen(t, disk, wal.Config{Format: 7})
	require.NoError(t, err)
}

func TestAClosedLogTakesNothingAndReadsNothing(t *testing.T) {
	l, err := open(wal.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	ticket := l.Enqueue(payload(1))
	require.NoError(t, l.Close())
	require.NoError(t, ticket.Wait(t.Context()), "Close writes what was enqueued")
	assert.ErrorIs(t, l.Enqueue(payload(2)).Wait(t.Context()), wal.ErrClosed)
	_, err = l.ReadAt(ticket.Ref, nil)
	assert.ErrorIs(t, err, wal.ErrClosed)
}

func TestACloseThatIsUnderWayTakesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New(1)
		l, err := open(wal.Config{Dir: "/log", FS: fs})
		require.NoError(t, err)
		_, leave := blockSyncs(fs)
		before := l.enqueue(1)
		go func() { assert.NoError(t, l.Close()) }()
		synctest.Wait()
		after := l.enqueue(2)
		close(leave)
		assert.NoError(t, before.Wait(t.Context()))
		assert.ErrorIs(t, after.Wait(t.Context()), wal.ErrClosed)
	})
}
