package compat

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Murmur2 returns the 32-bit MurmurHash2 with the seed of Kafka's clients.
func Murmur2(b []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		h = h*m ^ (k^k>>24)*m
	}
	if len(b) > 0 {
		var tail [4]byte
		copy(tail[:], b)
		h = (h ^ binary.LittleEndian.Uint32(tail[:])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// KafkaPartition returns the partition that the default partitioner of Kafka's
// Java client gives to a record with a key, out of n. A nil key hashes like an
// empty one here; Kafka spreads records without a key instead. It panics for
// n <= 0.
func KafkaPartition(key []byte, n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("compat: n is %d, must be positive", n))
	}
	// The sign bit is masked. An absolute value would differ, and is negative
	// for the smallest number.
	return int(int64(Murmur2(key)&math.MaxInt32) % int64(n))
}

// Murmur3Token returns the token of Cassandra's Murmur3Partitioner for a
// partition key: the first half of the 128-bit MurmurHash3 for 64-bit
// machines, except that Cassandra takes the last bytes, up to 15, as signed
// numbers. The smallest number is no token and becomes the largest.
func Murmur3Token(key []byte) int64 {
	token := int64(murmur3(key))
	if token == math.MinInt64 {
		return math.MaxInt64
	}
	return token
}

const (
	c1 = 0x87c37b91114253d5
	c2 = 0x4cf5ad432745937f
)

func murmur3(b []byte) uint64 {
	var h1, h2 uint64
	n := uint64(len(b))
	for ; len(b) >= 16; b = b[16:] {
		h1 ^= first(binary.LittleEndian.Uint64(b))
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= second(binary.LittleEndian.Uint64(b[8:]))
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	}
	if len(b) > 8 {
		h2 ^= second(signed(b[8:]))
		b = b[:8]
	}
	h1 ^= first(signed(b)) // of nothing is 0
	h1, h2 = h1^n, h2^n
	h1 += h2
	h2 += h1
	return fmix(h1) + fmix(h2)
}

func first(k uint64) uint64  { return bits.RotateLeft64(k*c1, 31) * c2 }
func second(k uint64) uint64 { return bits.RotateLeft64(k*c2, 33) * c1 }

// signed reads up to 8 bytes, little endian, each as a signed number, whose
// sign reaches over all higher bytes.
func signed(b []byte) (k uint64) {
	for i, c := range b {
		k ^= uint64(int8(c)) << (8 * i)
	}
	return k
}

func fmix(k uint64) uint64 {
	k = (k ^ k>>33) * 0xff51afd7ed558ccd
	k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}
