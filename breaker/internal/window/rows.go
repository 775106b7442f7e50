package window

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// rows spreads the cells of a hot tally over the processors. A shared add
// costs 6 ns alone, but 45 to 90 ns as soon as two cores mix it with other
// work, since the cache line travels with each add. A call finds the row of
// its processor with a token from a sync.Pool, which keeps one per processor
// and so hands the same token to the same core: 5 ns more, and it scales.
// Rejected: a random row, whose line is rarely the own one, and rows made after
// a failed compare-and-swap, since few adds collide in time that share a line.
type rows struct {
	mask uint32 // the number of rows, a power of two, less one
	row  []row
	_    [96]byte // or a small neighbour on the heap that is written often slows every call
}

// row is a set of cells in cache lines of its own, in pairs because
// processors fetch lines in pairs.
type row struct {
	cells [buckets]atomic.Uint64
	_     [128 - 8*buckets]byte
}

// newRows returns rows for all processors, or nil on a machine with only one,
// where nothing is shared. Tokens wander when a goroutine is stopped between
// Get and Put; with a row per processor two of them would soon share one more
// often than not, so there are four per processor while that is little memory.
func newRows() *rows {
	p := runtime.GOMAXPROCS(0)
	if p == 1 {
		return nil
	}
	return makeRows(min(64, 4<<bits.Len(uint(p-1))))
}

func makeRows(n int) *rows { return &rows{mask: uint32(n - 1), row: make([]row, n)} }

// mine returns the row of the processor that runs the caller, which is only a
// hint: every row is correct, the own one is fast.
func (r *rows) mine() *row {
	t := tokens.Get().(*token)
	i := t.number & r.mask
	tokens.Put(t)
	return &r.row[i]
}

type token struct {
	number uint32
	_      [60]byte // or two processors' tokens share a line
}

var (
	lastToken atomic.Uint32
	tokens    = sync.Pool{New: func() any { return &token{number: lastToken.Add(1)} }}
)
