package window

import (
	"sync"
	"sync/atomic"
	"time"
)

// Time counts calls over a sliding time in ten buckets, so a call leaves the
// window at an age between nine tenths of it and all of it. To count is one
// load, one comparison and one add; to rotate costs the same for a gap of a
// bucket and of a year.
type Time struct {
	width int64        // of one bucket
	n     atomic.Int64 // the bucket that takes calls now, from 0 at time 0
	mu    sync.Mutex   // held to change n
	fast  Tally        // all calls but the slow ones; cell n%10 belongs to bucket n
	// slow counts the slow ones, in the same cells, or is nil if there are
	// none. A call is in exactly one of the two tallies, which makes the
	// slow calls a part of all calls at every instant.
	slow *Tally
}

// NewTime returns a window of length d, which is at least 1ms. slow tells
// whether it will be told of slow calls.
func NewTime(d time.Duration, slow bool) *Time {
	t := &Time{width: int64(d) / buckets}
	if slow {
		t.slow = new(Tally)
	}
	return t
}

// Add counts a call in the bucket of now.
func (t *Time) Add(now int64, failed, slow bool) bool {
	n := t.bucket(now)
	if slow {
		return t.slow.add(int(n%buckets), failed)
	}
	return t.fast.add(int(n%buckets), failed)
}

// Read returns the counts of the ten buckets that end with that of now. Calls
// that are counted meanwhile are in it or not.
func (t *Time) Read(now int64) Counts {
	t.bucket(now)
	var all, slow Totals
	for i := range buckets {
		all = all.Plus(t.fast.cell(i))
	}
	if t.slow != nil {
		for i := range buckets {
			slow = slow.Plus(t.slow.cell(i))
		}
		all = all.Plus(slow)
	}
	return Counts{
		Calls:    all.Succeeded + all.Failed,
		Failures: all.Failed,
		Slow:     slow.Succeeded + slow.Failed,
	}
}

// Totals returns all that was counted.
func (t *Time) Totals() Totals { return t.both((*Tally).Totals) }

// Seal ends the window.
func (t *Time) Seal() Totals { return t.both((*Tally).Seal) }

func (t *Time) both(f func(*Tally) Totals) Totals {
	sum := f(&t.fast)
	if t.slow != nil {
		sum = sum.Plus(f(t.slow))
	}
	return sum
}

// bucket returns the number of the bucket for now, after it has made sure that
// this bucket takes calls. Only the slow path divides.
func (t *Time) bucket(now int64) int64 {
	n := t.n.Load()
	if now-n*t.width < t.width {
		return n
	}
	return t.rotate(now)
}

// rotate empties the buckets between the last one used and that of now, and
// publishes the new number after that. A call that saw the old number waits
// here for the lock: were the number published first, the burst that follows
// a gap would be counted and then wiped.
func (t *Time) rotate(now int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, to := t.n.Load(), now/t.width
	if to <= n {
		return n
	}
	for i := max(n+1, to-buckets+1); i <= to; i++ {
		t.fast.clear(int(i % buckets))
		if t.slow != nil {
			t.slow.clear(int(i % buckets))
		}
	}
	t.n.Store(to)
	return to
}
