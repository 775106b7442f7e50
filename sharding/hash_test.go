package sharding_test

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/sharding"
)

type userID int32

// T14: equal numbers hash alike whatever their type; the text of one does not.
func TestIntegersHashByValue(t *testing.T) {
	want := sharding.Int(42)
	for _, got := range []uint64{
		sharding.Int(int8(42)), sharding.Int(uint8(42)), sharding.Int(int64(42)),
		sharding.Int(uint64(42)), sharding.Int(userID(42)),
	} {
		assert.Equal(t, want, got)
	}
	assert.NotEqual(t, want, sharding.String("42"))
	assert.Equal(t, sharding.Int(int8(-1)), sharding.Int(int64(-1)))
	assert.Equal(t, sharding.Int(int64(math.MinInt64)), sharding.Int(uint64(1<<63)))
	assert.Equal(t, sharding.Bytes(binary.LittleEndian.AppendUint64(nil, 42)), want)
	assert.Equal(t, sharding.String("key"), sharding.Bytes([]byte("key")))
}

func TestHashesDoNotAllocate(t *testing.T) {
	key, data, sum := "user:1234567", []byte("user:1234567"), uint64(0)
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
		sum += sharding.String(key) + sharding.Bytes(data) + sharding.Int(len(key))
	}))
}

// T5: the table that stands for the logarithm is exact, by the definition:
// v = floor(2^32 * log2(q)) means 2^v <= q^(2^32) < 2^(v+1).
func TestLogTableIsExact(t *testing.T) {
	const precision = 256
	for i, v := range sharding.LogTable {
		// Squaring q 32 times doubles its logarithm 32 times, to the bits of v.
		q := new(big.Float).SetPrec(precision).Quo(big.NewFloat(float64(1024+i)).SetPrec(precision), big.NewFloat(1024).SetPrec(precision))
		got, two := uint64(0), big.NewFloat(2)
		if q.Cmp(two) >= 0 {
			got, q = 1, q.Quo(q, two)
		}
		for range 32 {
			q.Mul(q, q)
			got <<= 1
			if q.Cmp(two) >= 0 {
				got |= 1
				q.Quo(q, two)
			}
		}
		assert.Equal(t, got, v, "i = %d", i)
	}
}

func TestCostIsTheLogarithm(t *testing.T) {
	last := sharding.Cost(0)
	for shift := range 64 {
		for _, u := range []uint64{1 << shift, 1<<shift + 1<<shift/3, 1<<shift + 1<<shift/2} {
			c := sharding.Cost(u)
			assert.True(t, c <= last, "cost grows at %x", u)
			last = c
			assert.InDelta(t, 64-math.Log2(float64(u|1)), float64(c)/(1<<32), 1e-6, "%x", u)
		}
	}
	assert.Equal(t, uint64(64)<<32, sharding.Cost(0))
}
