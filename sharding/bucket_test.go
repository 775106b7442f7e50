package sharding_test

import (
	"math"
	"math/bits"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

func TestJumpReproducesThePaper(t *testing.T) {
	for i, want := range []int{0, 0, 0, 0, 0, 0, 6, 6, 6, 6} {
		assert.Equal(t, want, sharding.Jump(1, i+1), "n = %d", i+1)
	}
}

// The vectors stand in the README of hash4j.
func TestJumpBackReproducesHash4j(t *testing.T) {
	for h, want := range map[uint64][2]int{
		0x7f7487ee708c8a96: {1, 1}, 0x6265648fbc797f25: {0, 0}, 0x85ef23a0b545d53b: {0, 2},
	} {
		assert.Equal(t, want, [2]int{sharding.JumpBack(h, 2), sharding.JumpBack(h, 3)}, "%x", h)
	}
}

var bucketings = map[string]func(uint64, int) int{"Mod": sharding.Mod, "Jump": sharding.Jump, "JumpBack": sharding.JumpBack}

// T12: a number of buckets that makes no sense panics here, not in the
// caller's index; the extremes work.
func TestBucketsOfExtremeNumbers(t *testing.T) {
	for name, bucket := range bucketings {
		for _, n := range []int{0, -1, math.MinInt} {
			assert.Contains(t, assert.Panics(t, func() { bucket(1, n) }).(string), "sharding: n is")
		}
		if bits.UintSize == 64 {
			large := int64(1) << 31
			assert.Panics(t, func() { bucket(1, int(large)) })
		}
		for _, h := range []uint64{0, 1, math.MaxUint64, 1 << 63} {
			assert.Equal(t, 0, bucket(h, 1), name)
			b := bucket(h, math.MaxInt32)
			assert.True(t, b >= 0 && b < math.MaxInt32, "%s(%d) = %d", name, h, b)
		}
	}
}

// From n to n+1 a bucket stays or becomes n.
func TestOneBucketMoreTakesFromAll(t *testing.T) {
	for _, name := range []string{"Jump", "JumpBack"} {
		bucket := bucketings[name]
		for h := range uint64(300) {
			h = sharding.Int(h)
			last := 0
			for n := 2; n <= 300; n++ {
				b := bucket(h, n)
				require.True(t, b == last || b == n-1, "%s(%x, %d) = %d after %d", name, h, n, b, last)
				last = b
			}
		}
	}
}

// Buckets fill evenly, for keys in sequence and for hashed ones. The statistic
// of a G-test over n buckets is near n-1 with deviation sqrt(2(n-1)); among
// 2 x 2 x 199 tests the largest of fair ones lies below 4.5 deviations, and a
// bucket that is missing or doubled lies far above.
func TestBucketsFillEvenly(t *testing.T) {
	const keys = 20000
	for name, bucket := range bucketings {
		for n := 2; n <= 200; n++ {
			for kind, hash := range map[string]func(uint64) uint64{"sequence": sharding.Int[uint64], "hashed": mix} {
				counts := make([]int, n)
				for k := range uint64(keys) {
					counts[bucket(hash(k), n)]++
				}
				require.True(t, deviations(counts, keys) < 4.5, "%s, n = %d, %s: %v deviations", name, n, kind, deviations(counts, keys))
			}
		}
	}
}

// deviations is how far a G-test lies above its mean.
func deviations(counts []int, total int) float64 {
	g, fair := 0.0, float64(total)/float64(len(counts))
	for _, c := range counts {
		if c > 0 {
			g += 2 * float64(c) * math.Log(float64(c)/fair)
		}
	}
	free := float64(len(counts) - 1)
	return (g - free) / math.Sqrt(2*free)
}

// mix is SplitMix64's output for state x, written again.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
