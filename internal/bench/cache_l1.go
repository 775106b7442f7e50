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
		bench := func(who string, build func(int, time.Duration) l1) func(*testing.B) {
			return benchL1(name, who, func() l1 { return build(size, step) }, size == roomy, work)
		}
		against := func(who string, build func(int, time.Duration) l1, target float64) peer {
			return peer{who, bench(who, build), target}
		}
		return row{name: "cache: " + name, ours: bench("keelson", keelsonL1), allocs: allocs, peers: []peer{
			against("otter v2.4.0", otterL1, otter),
			against("theine v0.6.3", theineL1, 0),
			against("ristretto v2.4.2", ristrettoL1, 0),
			against("golang-lru v2.0.7, expirable", golangLRU, 0),
			against("sturdyc v1.1.5", sturdycL1, 0),
		}}
	}
	loading := func(who string, build func(int, time.Duration) l1) func(*testing.B) {
		return benchL1("loading", who, func() l1 { return build(roomy, time.Millisecond) }, true, loadOne)
	}
	return []row{
		rows("L1 hit, 65536 keys, zipf, 1 ms clocks", roomy, time.Millisecond, 0.75, 0, readOne),
		rows("L1 hit, the same, precise clocks", roomy, 0, 1, 0, readOne),
		rows("75 % Get, 25 % Set of present keys", roomy, time.Millisecond, 0.6, 1, mixedOne),
		rows("Get, Set on a miss, 4096 of 65536 keys", tight, time.Millisecond, 0.65, 1, fillOne),
		{name: "cache: Get with a loader, hit", ours: loading("keelson", keelsonLoading), peers: []peer{
			{"otter v2.4.0, Get", loading("otter", otterL1), 0.6},
			{"sturdyc v1.1.5, GetOrFetch", loading("sturdyc", sturdycL1), 0.6},
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

// A stage holds the contenders of one row at one GOMAXPROCS, filled once. The next
// row has it cleared, or the caches of all rows would be there for every
// collection to scan.
type stage struct {
	row  string
	cpus int
	all  map[string]l1
}

var onStage stage

func (s *stage) contender(row, name string, build func() l1) l1 {
	if n := runtime.GOMAXPROCS(0); row != s.row || n != s.cpus {
		for _, c := range s.all {
			c.close()
		}
		*s = stage{row: row, cpus: n, all: map[string]l1{}}
	}
	if _, ok := s.all[name]; !ok {
		s.all[name] = filled(build())
	}
	return s.all[name]
}

// benchL1 runs work on keys of the sequence, each goroutine from somewhere else.
func benchL1(row, name string, build func() l1, hits bool, work func(c l1, key string, i uint32)) func(*testing.B) {
	return func(b *testing.B) {
		c := onStage.contender(row, name, build)
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
