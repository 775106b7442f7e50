package main

import (
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

// heapCeiling is the most that an entry may cost beside the bytes of its key and
// value.
const heapCeiling = 114

// What an entry of a string keeps on the heap beyond the bytes of its key and
// value, in a full cache with a TTL. BENCHMARKS.md states what this test logs. Beside
// it stands how many entries are resident, since who keeps fewer needs less.
func TestHeapPerEntry(t *testing.T) {
	contenders := []struct {
		name  string
		build func(size int) l1
	}{
		{"keelson", func(n int) l1 { return keelsonL1(n, 0) }},
		{"otter v2.4.0", func(n int) l1 { return otterL1(n, 0) }},
		{"theine v0.6.3", func(n int) l1 { return theineL1(n, 0) }},
		{"ristretto v2.4.2", func(n int) l1 { return ristrettoL1(n, 0) }},
		{"golang-lru v2.0.7", func(n int) l1 { return golangLRU(n, 0) }},
		{"sturdyc v1.1.5", func(n int) l1 { return sturdycL1(n, 0) }},
	}
	for _, size := range []int{1000, 10_000, 150_000, 200_000} {
		var bytes []float64
		for _, c := range contenders {
			per, resident := heapPerEntry(c.build, size)
			bytes = append(bytes, per)
			t.Logf("%6d entries: %-18s %6.1f B each, %6d resident", size, c.name, per, resident)
		}
		assert.LessOrEqual(t, bytes[0], float64(heapCeiling), "%d entries", size)
		assert.LessOrEqual(t, bytes[0], bytes[1], "%d entries, against otter", size)
	}
}

// heapPerEntry fills a cache twice over, so that the policy has all that it needs
// for a cache at work. Keys and values exist before, hence are not counted.
func heapPerEntry(build func(int) l1, size int) (per float64, resident int) {
	names := make([]string, 2*size)
	for i := range names {
		names[i] = "key " + strconv.Itoa(i)
	}
	before := heapInUse()
	c := build(size)
	for _, name := range names {
		c.set(name, name)
	}
	after := heapInUse()
	resident = c.count()
	runtime.KeepAlive(names)
	c.close()
	return float64(after-before) / float64(resident), resident
}

func heapInUse() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
