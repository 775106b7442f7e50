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
		one   bool // there is one of each size, see golangLRU
	}{
		{"keelson", func(n int) l1 { return keelsonL1(n, 0) }, false},
		{"otter v2.4.0", func(n int) l1 { return otterL1(n, 0) }, false},
		{"theine v0.6.3", func(n int) l1 { return theineL1(n, 0) }, false},
		{"ristretto v2.4.2", func(n int) l1 { return ristrettoL1(n, 0) }, false},
		{"golang-lru v2.0.7", func(n int) l1 { return golangLRU(n, 0) }, true},
		{"sturdyc v1.1.5", func(n int) l1 { return sturdycL1(n, 0) }, true},
	}
	sizes := []int{1000, 10_000, 200_000, 150_000}
	if detectsRaces { // which makes a call ten times as long
		contenders, sizes = contenders[:2], sizes[:3]
	}
	for _, size := range sizes {
		var bytes []float64
		for _, c := range contenders {
			copies := max(1, 10_000/size)
			if c.one {
				copies = 1
			}
			per, resident := heapPerEntry(c.build, size, copies)
			bytes = append(bytes, per)
			t.Logf("%6d entries: %-18s %6.1f B each, %6d resident", size, c.name, per, resident)
		}
		assert.LessOrEqual(t, bytes[0], float64(heapCeiling), "%d entries", size)
		assert.LessOrEqual(t, bytes[0], bytes[1], "%d entries, against otter", size)
	}
}

// heapPerEntry fills caches twice over, so that the policy has all that it needs
// for a cache at work. There are many copies of a small one, so that the KiB that
// the heap gains or loses meanwhile for tests that ended do not count. Keys and
// values exist before, hence are not counted.
func heapPerEntry(build func(int) l1, size, copies int) (per float64, resident int) {
	names := make([]string, 2*size)
	for i := range names {
		names[i] = "key " + strconv.Itoa(i)
	}
	caches := make([]l1, copies)
	before := heapInUse()
	for i := range caches {
		caches[i] = build(size)
		for _, name := range names {
			caches[i].set(name, name)
		}
	}
	after := heapInUse()
	entries := 0
	for _, c := range caches {
		entries += c.count()
	}
	runtime.KeepAlive(names)
	for _, c := range caches {
		c.close()
	}
	return float64(after-before) / float64(entries), entries / len(caches)
}

func heapInUse() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
