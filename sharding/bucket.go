package sharding

import (
	"fmt"
	"math/bits"
)

// Mod returns the bucket h % n, for data that is placed that way already. One
// bucket more moves n/(n+1) of the keys: for new data take [JumpBack] or
// [NewSlots]. It panics unless 0 < n <= 1<<31-1.
func Mod(h uint64, n int) int {
	checkBuckets(n)
	return int(h % uint64(n))
}

// Jump returns the bucket of jump consistent hashing ("A Fast, Minimal Memory,
// Consistent Hash Algorithm", Lamping and Veach 2014), for data that is placed
// that way already. From n to n+1 buckets a key stays or moves to the new one.
// It takes O(log n) steps and panics unless 0 < n <= 1<<31-1.
func Jump(h uint64, n int) int {
	checkBuckets(n)
	b, j := int64(-1), int64(0)
	for j < int64(n) {
		b = j
		h = h*2862933555777941757 + 1
		// One division and one product of float64, each rounded as IEEE 754
		// says: there is no sum that a processor could fuse with them, so
		// every platform gets the same bucket.
		j = int64(float64(b+1) * (float64(1<<31) / float64(h>>33+1)))
	}
	return int(b)
}

// JumpBack returns the bucket of JumpBackHash ("JumpBackHash: Say Goodbye to
// the Modulo Operation to Distribute Keys Uniformly to Buckets", Ertl 2024)
// with SplitMix64 seeded by h as the generator. It is the choice for shards
// that are numbered and only ever added at the end: from n to n+1 buckets a
// key stays or moves to the new one, as with [Jump], but it takes integers
// only and a few nanoseconds whatever n is. It panics unless
// 0 < n <= 1<<31-1.
func JumpBack(h uint64, n int) int {
	checkBuckets(n)
	h += golden
	r := mix(h)
	// Each bit set in x is a power of two b at which the key jumped last into
	// [b, 2b). Walking from the top, the first jump that ends below n is it.
	x := uint32(r^r>>32) & (1<<bits.Len32(uint32(n-1)) - 1)
	for x > 0 {
		b := uint32(1) << (bits.Len32(x) - 1)
		half := r >> (bits.OnesCount32(x) & 1 * 32)
		if c := b + uint32(half)&(b-1); c < uint32(n) {
			return int(c)
		}
		if c := redraw(h, b, uint32(n)); c >= b {
			return int(c)
		}
		x ^= b
	}
	return 0
}

// redraw draws numbers below 2b from the SplitMix64 stream whose state is h
// until one is below n, and returns it. Below b means that the key did not
// jump into [b, n).
func redraw(h uint64, b, n uint32) uint32 {
	for {
		h += golden
		w := mix(h)
		if c := uint32(w) & (2*b - 1); c < n {
			return c
		}
		if c := uint32(w>>32) & (2*b - 1); c < n {
			return c
		}
	}
}

func checkBuckets(n int) {
	if n <= 0 || n > 1<<31-1 {
		panic(fmt.Sprintf("sharding: n is %d, must be 1 to %d", n, 1<<31-1))
	}
}
