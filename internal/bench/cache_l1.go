package main

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func cacheL1Rows() []row {
	const roomy, tight = 2 * cacheKeys, cacheKeys / 16
	rows := func(name string, size int, step time.Duration, otter float64, allocs int64, work func(c l1, key string, i uint32)) row {
		bench := func(build func(int, time.Duration) l1) func(*testing.B) {
			return benchL1(func() l1 { return build(size, step) }, size == roomy, work)
		}
		return row{name: "cache: " + name, ours: bench(keelsonL1), allocs: allocs, peers: []peer{
			{"otter v2.4.0", bench(otterL1), otter},
			{"theine v0.6.3", bench(theineL1), 0},
			{"ristretto v2.4.2", bench(ristrettoL1), 0},
			{"golang-lru v2.0.7, expirable", bench(golangLRU), 0},
			{"sturdyc v1.1.5", bench(sturdycL1), 0},
		}}
	}
	loading := func(build func(int, time.Duration) l1) func(*testing.B) {
		return benchL1(func() l1 { return build(roomy, time.Millisecond) }, true, loadOne)
	}
	return []row{
		rows("L1 hit, 65536 keys, zipf, 1 ms clocks", roomy, time.Millisecond, 0.75, 0, readOne),
		rows("L1 hit, the same, precise clocks", roomy, 0, 1, 0, readOne),
		rows("75 % Get, 25 % Set of present keys", roomy, time.Millisecond, 0.6, 1, mixedOne),
		rows("Get, Set on a miss, 4096 of 65536 keys", tight, time.Millisecond, 0.65, 1, fillOne),
		{name: "cache: Get with a loader, hit", ours: loading(keelsonLoading), peers: []peer{
			{"otter v2.4.0, Get", loading(otterL1), 0.6},
			{"sturdyc v1.1.5, GetOrFetch", loading(sturdycL1), 0.6},
		}},
	}
}

func readOne(c l1, key string, _ uint32) { c.get(key) }

func loadOne(c l1, key string, _ uint32) { c.load(key) }

func mixedOne(c l1, key string, i uint32) {
	if i%4 == 0 {
		c.set(key, key)
	} else {
		c.get(key)
	}
}

func fillOne(c l1, key string, _ uint32) {
	if !c.get(key) {
		c.set(key, key)
	}
}

// benchL1 runs work on keys of the sequence, each goroutine from somewhere else.
// A contender is filled once per GOMAXPROCS, not once per round.
func benchL1(build func() l1, hits bool, work func(c l1, key string, i uint32)) func(*testing.B) {
	var c l1
	cpus := 0
	return func(b *testing.B) {
		if n := runtime.GOMAXPROCS(0); n != cpus {
			if cpus > 0 {
				c.close()
			}
			c, cpus = filled(build()), n
		}
		names, order := cacheNames(), cacheOrder()
		var starts atomic.Uint32
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			i := starts.Add(1) * 7919977
			for pb.Next() {
				i++
				work(c, names[order[i%cacheSequence]], i)
			}
		})
		b.StopTimer()
		if key := names[0]; hits && c.get != nil && !c.get(key) || hits && c.load != nil && !c.load(key) {
			b.Error("a key that fits in is not there")
		}
	}
}
