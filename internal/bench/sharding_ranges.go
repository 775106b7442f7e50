package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/keelson-go/keelson/sharding"
)

// numbers are sorted random bounds, and keys to look up among them.
func numbers(n int) (bounds, keys []uint64) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range n {
		bounds = append(bounds, rng.Uint64())
	}
	for range 1 << 16 {
		keys = append(keys, rng.Uint64())
	}
	slices.Sort(bounds)
	return bounds, keys
}

// rangesOf makes a range of each pair of neighbouring bounds, and of the ends.
func rangesOf[K int | uint64 | string](bounds []K) *sharding.Ranges[K] {
	all := []sharding.Range[K]{{To: &bounds[0], Owner: "node-0"}}
	for i := range bounds {
		r := sharding.Range[K]{From: &bounds[i], Owner: sharding.ID(fmt.Sprintf("node-%d", i%shardingShards))}
		if i+1 < len(bounds) {
			r.To = &bounds[i+1]
		}
		all = append(all, r)
	}
	return must(sharding.NewRanges(all...))
}

func benchRanges(n int) func(b *testing.B) {
	return func(b *testing.B) {
		bounds, keys := numbers(n)
		r := rangesOf(bounds)
		for i := 0; b.Loop(); i++ {
			if _, err := r.Owner(keys[i&(1<<16-1)]); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func benchSearch(n int) func(b *testing.B) {
	return func(b *testing.B) {
		bounds, keys := numbers(n)
		owners, sum := make([]sharding.ID, n+1), 0
		for i := 0; b.Loop(); i++ {
			key := keys[i&(1<<16-1)]
			sum += len(owners[sort.Search(len(bounds), func(i int) bool { return bounds[i] > key })])
		}
		sink.Add(uint64(sum))
	}
}

func texts() (bounds, keys []string) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4096 {
		bounds = append(bounds, fmt.Sprintf("tenant/users/%016x", rng.Uint64()))
	}
	for range 1 << 14 {
		keys = append(keys, fmt.Sprintf("tenant/users/%016x", rng.Uint64()))
	}
	slices.Sort(bounds)
	return bounds, keys
}

func benchTextRanges(b *testing.B) {
	bounds, keys := texts()
	r := rangesOf(bounds)
	for i := 0; b.Loop(); i++ {
		if _, err := r.Owner(keys[i&(1<<14-1)]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchTextSearch(b *testing.B) {
	bounds, keys := texts()
	owners, sum := make([]sharding.ID, len(bounds)+1), 0
	for i := 0; b.Loop(); i++ {
		at, _ := slices.BinarySearch(bounds, keys[i&(1<<14-1)])
		sum += len(owners[at])
	}
	sink.Add(uint64(sum))
}
