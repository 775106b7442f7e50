package window

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

const width = int64(time.Millisecond) // of one bucket in these tests

func newTime() *Time { return NewTime(time.Duration(width*buckets), true) }

func each(f func(name string, w Window)) {
	f("time", newTime())
	f("count", NewCount(3))
	f("tally", new(Tally))
}

func TestTimeForgetsAtTheAgeOfTheWindow(t *testing.T) {
	w := newTime()
	w.Add(width/2, true, false)
	w.Add(width, false, true)
	assert.Equal(t, Counts{Calls: 2, Failures: 1, Slow: 1}, w.Read(10*width-1))
	assert.Equal(t, Counts{Calls: 1, Slow: 1}, w.Read(10*width))
	assert.Equal(t, Counts{}, w.Read(11*width))
	assert.Equal(t, Totals{Succeeded: 1, Failed: 1}, w.Totals())
}

// T14: a time before the newest one counts as the newest, also below zero.
func TestTimeBeforeTheNewest(t *testing.T) {
	w := newTime()
	w.Add(25*width, true, false)
	w.Add(3*width, true, false)
	w.Add(-1, false, false)
	w.rotate(3 * width) // as a call does that read the clock long ago
	assert.Equal(t, Counts{Calls: 3, Failures: 2}, w.Read(0))
	assert.Equal(t, Counts{Calls: 3, Failures: 2}, w.Read(35*width-1-width))
	assert.Equal(t, Counts{}, w.Read(35*width))
}

// T12: a burst right after an idle gap, or exactly at a rotation, is counted
// in full.
func TestBurstAtARotationIsCountedInFull(t *testing.T) {
	for _, gap := range []int64{1, 2, 9, 10, 11, 1000} {
		w := newTime()
		for round := range int64(200) {
			now := (round + 1) * gap * width
			var wg sync.WaitGroup
			barrier := make(chan struct{})
			for range 8 {
				wg.Go(func() {
					<-barrier
					w.Add(now, true, false)
				})
			}
			close(barrier)
			wg.Wait()
			bursts := min(round, (buckets-1)/gap) + 1 // that are still in the window
			require.Equal(t, Counts{Calls: uint64(8 * bursts), Failures: uint64(8 * bursts)}, w.Read(now), "gap %d", gap)
		}
	}
}

// T12: a call that comes while another one still empties the old buckets
// waits, or its outcome would be wiped.
func TestCallDuringARotationIsNotWiped(t *testing.T) {
	w := newTime()
	w.fast.mu.Lock() // stops the rotation before it empties the first bucket
	var wg sync.WaitGroup
	var started atomic.Int64
	for range 8 {
		wg.Go(func() {
			started.Add(1)
			w.Add(50*width, true, false)
		})
	}
	for started.Load() < 8 {
		runtime.Gosched()
	}
	for range 1000 {
		runtime.Gosched() // let them come as far as they can
	}
	w.fast.mu.Unlock()
	wg.Wait()
	assert.Equal(t, Counts{Calls: 8, Failures: 8}, w.Read(50*width))
}

// T13: while others record and rotate, no reader sees more failures or slow
// calls than calls, or a total that runs backwards; at the end it is exact.
func TestReadersSeeConsistentCounts(t *testing.T) {
	each(func(name string, w Window) {
		const goroutines, each = 4, 15_000
		done := make(chan struct{})
		var readers, writers sync.WaitGroup
		readers.Go(func() { watch(t, w, done) })
		var clock sync.Mutex
		var now int64
		for range goroutines {
			writers.Go(func() {
				for i := range each {
					clock.Lock()
					now += width / 7
					at := now
					clock.Unlock()
					w.Add(at, i%3 == 0, i%5 != 0)
				}
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
		total := w.Totals()
		assert.Equal(t, uint64(goroutines*each), total.Succeeded+total.Failed, name)
		assert.Equal(t, total, w.Seal(), name)
	})
}

// watch reads w until done is closed.
func watch(t *testing.T, w Window, done chan struct{}) {
	var last Totals
	for {
		c, total := w.Read(0), w.Totals()
		if c.Failures > c.Calls || c.Slow > c.Calls || total.Succeeded < last.Succeeded || total.Failed < last.Failed {
			t.Errorf("%+v, %+v after %+v", c, total, last)
			return
		}
		last = total
		select {
		case <-done:
			return
		default:
		}
	}
}

// T15: 2^31 and 2^32 calls in a bucket keep the rate, and the totals are exact.
func TestManyCallsInABucketKeepTheRate(t *testing.T) {
	for _, spread := range []bool{false, true} {
		w := NewTime(time.Hour, false)
		word := &w.fast.base[0]
		if spread {
			w.fast.rows.Store(makeRows(1))
			word = &w.fast.rows.Load().row[0].cells[0]
		}
		want := Totals{}
		for range 1 << 7 {
			const n = 1 << 26 // successes at once, and a tenth of that in failures
			word.Add(n*oneSuccess + n/10*oneFailure)
			w.Add(0, false, false)
			w.Add(0, true, false)
			want = want.Plus(Totals{n + 1, n/10 + 1})
			c := w.Read(0)
			assert.InDelta(t, 1/11.0, float64(c.Failures)/float64(c.Calls), 0.0001)
		}
		assert.True(t, want.Succeeded > 1<<32)
		assert.Equal(t, want, w.Totals())
		assert.Equal(t, want, w.Seal())
	}
}

func TestSealedWindowRefuses(t *testing.T) {
	each(func(name string, w Window) {
		assert.True(t, w.Add(0, false, false), name)
		assert.True(t, w.Add(0, true, false), name)
		want := Totals{1, 1}
		assert.Equal(t, want, w.Seal(), name)
		assert.False(t, w.Add(0, false, false), name)
		assert.False(t, w.Add(50*width, true, true), name)
		assert.Equal(t, want, w.Totals(), name)
		assert.Equal(t, want, w.Seal(), name)
	})
}

// T28: every call that races with the seal is either counted or refused, also
// while the cells spread over rows.
func TestSealRacesWithCalls(t *testing.T) {
	for round := range 300 {
		each(func(name string, w Window) {
			if tally, ok := w.(*Tally); ok && round%2 == 0 {
				tally.base[0].Add(hot - 10)
				tally.gone.Succeeded -= hot - 10
			}
			var counted [4]uint64
			var wg sync.WaitGroup
			barrier := make(chan struct{})
			for g := range counted {
				wg.Go(func() {
					<-barrier
					for i := range int64(50) {
						if w.Add(i*width, i%2 == 0, i%3 == 0) {
							counted[g]++
						}
					}
				})
			}
			close(barrier)
			sealed := w.Seal()
			wg.Wait()
			want := counted[0] + counted[1] + counted[2] + counted[3]
			require.Equal(t, want, sealed.Succeeded+sealed.Failed, name)
		})
	}
}

// T28: rows that came after the seal would take calls that nobody counts.
func TestHotCellGetsNoRowsAfterTheSeal(t *testing.T) {
	var w Tally
	w.Add(0, false, false)
	w.Seal()
	w.settle(0, hot) // as a call does that was counted just before
	assert.Nil(t, w.rows.Load())
	assert.False(t, w.Add(0, false, false))
}

func TestHotCellGetsRows(t *testing.T) {
	var w Tally
	w.Add(0, false, false)
	w.base[0].Add(hot - 2)
	require.Nil(t, w.rows.Load())
	w.Add(0, false, false)
	require.Equal(t, newRows() == nil, w.rows.Load() == nil, "a machine with one processor has none")
	for range 100 {
		w.Add(0, true, false)
	}
	assert.Equal(t, Totals{hot, 100}, w.Totals())
}
