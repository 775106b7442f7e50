package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// flights counts the calls in flight by the time they began, so that calls
// which hang are seen before they end, without a timer or a list of calls.
//
// Time is cut into quarters of SlowAfter. A cell counts the calls that began
// in its quarter; when the quarter is long enough ago, what is left of the
// cell moves to old, where the call that ends looks for itself. A call that
// ends while its cell moves may be taken off the wrong one of the two. Their
// sum stays exact, and the cell carries the difference to old when its turn
// comes again.
//
// The cells are shared by all processors. Spread over rows like those of a
// window they cost a quarter more on two cores, for two more tokens per call.
type flights struct {
	quarter int64
	n       atomic.Int64 // the latest quarter in which a call began
	cells   [8]atomic.Int64
	old     atomic.Int64 // began in quarter n-5 or before
	mu      sync.Mutex   // held to change n
}

// young is how many quarters before the present one can hold calls that are
// not yet overdue.
const young = 4

// newFlights returns flights for calls that are overdue after slowAfter.
func newFlights(slowAfter time.Duration) *flights {
	return &flights{quarter: max(1, int64(slowAfter)/young)}
}

// begin counts a call that begins at now. It reports whether it is the first
// one in its quarter: then calls may have become overdue.
func (f *flights) begin(now int64) (first bool) {
	n := f.n.Load()
	if now-n*f.quarter >= f.quarter {
		first = f.turn(now / f.quarter)
	}
	f.add(now, 1)
	return first
}

// end takes a call off that began at start.
func (f *flights) end(start int64) { f.add(start, -1) }

// add counts where a call that began at start belongs now.
func (f *flights) add(start, delta int64) {
	n := f.n.Load()
	q := n
	for q >= n-young && start < q*f.quarter { // a few steps instead of a division
		q--
	}
	if q < n-young {
		f.old.Add(delta)
		return
	}
	f.cells[q&7].Add(delta)
}

// turn makes to the latest quarter. Cells that are too old, and those that
// will be used again, move to old.
func (f *flights) turn(to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.n.Load()
	if to <= n {
		return false
	}
	for q := to - 7; q <= to; q++ {
		if q < to-young || q > n {
			f.old.Add(f.cells[q&7].Swap(0))
		}
	}
	f.n.Store(to)
	return true
}

// overdue returns how many calls have been running for SlowAfter at now, of
// which those of the last quarter are not told yet.
func (f *flights) overdue(now int64) uint64 {
	n, to := f.n.Load(), now/f.quarter
	sum := f.old.Load()
	for q := n - 7; q <= n; q++ {
		if q < to-young {
			sum += f.cells[q&7].Load()
		}
	}
	return uint64(max(0, sum))
}
