package window

import (
	"sync"
	"sync/atomic"
)

// Count holds exactly the last so many calls. A good call in a window full of
// good calls changes nothing, so it only goes to the totals, without a lock.
// All others take one: the ring and the counts change together, so what is
// read is always the outcome of calls in one order. A ring of atomic words
// needs no lock, but its sums are off while calls overtake each other.
type Count struct {
	total  Tally
	well   uint64        // the value of counts when all calls are there and good
	counts atomic.Uint64 // packed by pack; written with mu held

	mu           sync.Mutex // guards the ring
	next, size   int
	failed, slow ring
}

// NewCount returns a window of n calls, which is between 1 and 65536.
func NewCount(n int) *Count {
	return &Count{
		well: pack(Counts{Calls: uint64(n)}), size: n,
		failed: newRing(n), slow: newRing(n),
	}
}

// Add counts a call as the newest.
func (c *Count) Add(_ int64, failed, slow bool) bool {
	if failed || slow || c.counts.Load() != c.well {
		c.push(failed, slow)
	}
	return c.total.add(0, failed)
}

// push puts a call in the place of the oldest one.
func (c *Count) push(failed, slow bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := unpackCounts(c.counts.Load())
	n.Calls = min(n.Calls+1, uint64(c.size))
	n.Failures += c.failed.set(c.next, failed)
	n.Slow += c.slow.set(c.next, slow)
	c.next = (c.next + 1) % c.size
	c.counts.Store(pack(n))
}

// Read returns the counts of the last calls.
func (c *Count) Read(int64) Counts { return unpackCounts(c.counts.Load()) }

// Totals returns all that was counted.
func (c *Count) Totals() Totals { return c.total.Totals() }

// Seal ends the window.
func (c *Count) Seal() Totals { return c.total.Seal() }

// pack puts counts up to 65536 into one word, to be read at one instant.
func pack(c Counts) uint64 { return c.Calls | c.Failures<<20 | c.Slow<<40 }

func unpackCounts(v uint64) Counts {
	return Counts{Calls: v & (1<<20 - 1), Failures: v >> 20 & (1<<20 - 1), Slow: v >> 40}
}

// ring is a bit per call.
type ring []uint64

func newRing(n int) ring { return make(ring, (n+63)/64) }

// set changes bit i and returns by how much that changes the number of bits
// set; minus one is the largest uint64, which adds as well.
func (r ring) set(i int, on bool) uint64 {
	was := r[i/64] >> (i % 64) & 1
	var is uint64
	if on {
		is = 1
	}
	r[i/64] ^= (was ^ is) << (i % 64)
	return is - was
}
