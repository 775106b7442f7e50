package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
	"github.com/dgryski/go-jump"
	"github.com/dgryski/go-rendezvous"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/scatter"
)

// The workload of the sharding rows: 64 shards named node-0 and so on, and
// 4,096 string keys of 12 bytes.
const (
	shardingShards = 64
	shardingKeys   = 4096
)

func shardingRows() []row {
	return []row{
		{name: "sharding: Route, 16384 slots", ours: benchRoute, peers: []peer{
			{"buraksezer/consistent v1.0.0, LocateKey", benchLocateKey, 0.40},
			{"bare xxhash v2.3.0", benchXXHash, 2.5},
			{"the same hash and a table, no topology", benchTable, 0},
		}},
		{name: "sharding: Owners, 3 owners in 3 zones", ours: benchOwners, peers: []peer{
			{"buraksezer/consistent v1.0.0, GetClosestN", benchClosestN, 0.02},
		}},
		{name: "sharding: JumpBack, n = 1000", ours: benchBuckets(sharding.JumpBack, 1000), peers: []peer{
			{"dgryski/go-jump 2017-04-09", benchBuckets(goJump, 1000), 0.5},
		}},
		{name: "sharding: JumpBack, n = 100000", ours: benchBuckets(sharding.JumpBack, 100_000), peers: []peer{
			{"dgryski/go-jump 2017-04-09", benchBuckets(goJump, 100_000), 0.5},
			{"JumpBack, n = 1000", benchBuckets(sharding.JumpBack, 1000), 0},
			// Flat in n: 781 fills its power of two as 100,000 does, so as many keys draw
			// again, which is what costs more at some n than at others.
			{"JumpBack, n = 781", benchBuckets(sharding.JumpBack, 781), 1.3},
		}},
		{name: "sharding: Ranges.Owner, 4096 random uint64", ours: benchRanges(4096), peers: []peer{
			{"sort.Search with a closure", benchSearch(4096), 0.5},
		}},
		{name: "sharding: Ranges.Owner, 16 random uint64", ours: benchRanges(16), peers: []peer{
			{"sort.Search with a closure", benchSearch(16), 0.8},
		}},
		{name: "sharding: Ranges.Owner, 4096 strings, common prefix", ours: benchTextRanges, peers: []peer{
			{"slices.BinarySearch", benchTextSearch, 0.75},
		}},
		{name: "sharding: Route while maps are installed every ms", ours: benchInstalls(true), peers: []peer{
			{"the same, no installs", benchInstalls(false), 1.11},
		}},
		{name: "sharding: Rank, 1 of 64", ours: benchRank, peers: []peer{
			{"dgryski/go-rendezvous 2020-08-23", benchRendezvous, 5},
		}},
		{name: "sharding: Guard.Write around nothing", ours: benchGuard, peers: []peer{
			{"RWMutex, RLock and RUnlock", benchRLock, 2.5},
			{"unfenced: counted, routed, called", benchUnfenced, 0},
		}},
		{name: "sharding: scatter.Group, 100 keys", ours: benchGroup, allocs: 4},
		{name: "sharding: scatter.Do, 8 empty calls", ours: benchScatter, allocs: 30, peers: []peer{
			{"errgroup, by index", benchErrgroup, 1.5},
		}},
		{name: "sharding: NewSlots, 64 shards, 3 owners", ours: benchNewSlots(0), allocs: 500, most: 30 * time.Millisecond, peers: []peer{
			{"buraksezer/consistent v1.0.0, New", benchNewRing, 0},
		}},
		{name: "sharding: NewSlots, 64 shards, 3 owners, cap 105", ours: benchNewSlots(105), allocs: 1500, most: 40 * time.Millisecond},
	}
}

// sink keeps results alive.
var sink atomic.Uint64

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func shardList(n int) []sharding.Shard {
	all := make([]sharding.Shard, n)
	for i := range all {
		all[i] = sharding.Shard{ID: sharding.ID(fmt.Sprintf("node-%d", i))}
	}
	return all
}

var textKeys = func() []string {
	keys := make([]string, shardingKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%07d", i)
	}
	return keys
}()

func slotsOf(cfg sharding.SlotConfig) *sharding.Slots[string] {
	return must(sharding.NewSlots(sharding.String, cfg))
}

func routerOf(m sharding.Map[string]) *sharding.Router[string] {
	return must(sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: m}, sharding.Config{}))
}

func benchRoute(b *testing.B) {
	r := routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(shardingShards)}))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := uint64(0)
		for i := 0; pb.Next(); i++ {
			rt, err := r.Route(textKeys[i%shardingKeys])
			if err != nil {
				b.Error(err)
			}
			n += rt.Epoch
		}
		sink.Add(n)
	})
}

// benchTable is the least that a router by slots could cost: hash, slot and
// owner, where nothing ever changes.
func benchTable(b *testing.B) {
	t := slotTable{slots: make([]uint32, 16384)}
	for i, s := range shardList(shardingShards) {
		t.owners = append(t.owners, s.ID)
		for j := i; j < len(t.slots); j += shardingShards {
			t.slots[j] = uint32(i)
		}
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := uint64(0)
		for i := 0; pb.Next(); i++ {
			rt, err := t.route(textKeys[i%shardingKeys])
			if err != nil {
				b.Error(err)
			}
			n += rt.Epoch
		}
		sink.Add(n)
	})
}

type slotTable struct {
	slots  []uint32
	owners []sharding.ID
}

//go:noinline
func (t *slotTable) route(key string) (sharding.Route, error) {
	owner := t.owners[t.slots[xxhash.Sum64String(key)>>50]]
	return sharding.Route{Shard: owner, Epoch: 1}, nil
}

func benchXXHash(b *testing.B) {
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := uint64(0)
		for i := 0; pb.Next(); i++ {
			n += xxhash.Sum64String(textKeys[i%shardingKeys])
		}
		sink.Add(n)
	})
}

// member and hasher are what buraksezer/consistent asks for.
type member string

func (m member) String() string { return string(m) }

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// ring is configured as its zero value says: 271 partitions, 20 replicas, load
// 1.25.
func ring(n int) *consistent.Consistent {
	var members []consistent.Member
	for _, s := range shardList(n) {
		members = append(members, member(s.ID))
	}
	return consistent.New(members, consistent.Config{Hasher: hasher{}, PartitionCount: 271, ReplicationFactor: 20, Load: 1.25})
}

func byteKeys() [][]byte {
	keys := make([][]byte, shardingKeys)
	for i := range keys {
		keys[i] = []byte(textKeys[i])
	}
	return keys
}

func benchLocateKey(b *testing.B) {
	c, keys := ring(shardingShards), byteKeys()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if c.LocateKey(keys[i%shardingKeys]) == nil {
				b.Error("no owner")
			}
		}
	})
}

func benchOwners(b *testing.B) {
	all := shardList(shardingShards)
	for i := range all {
		all[i].Zone = fmt.Sprintf("zone-%d", i%3)
	}
	r := routerOf(slotsOf(sharding.SlotConfig{Shards: all, Owners: 3}))
	for i := 0; b.Loop(); i++ {
		var three [3]sharding.ID
		if _, err := r.Owners(textKeys[i%shardingKeys], three[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchClosestN(b *testing.B) {
	c, keys := ring(shardingShards), byteKeys()
	for i := 0; b.Loop(); i++ {
		if _, err := c.GetClosestN(keys[i%shardingKeys], 3); err != nil {
			b.Fatal(err)
		}
	}
}

func goJump(h uint64, n int) int { return int(jump.Hash(h, n)) }

// benchBuckets takes hashed keys: SplitMix64 in sequence.
func benchBuckets(bucket func(uint64, int) int, n int) func(b *testing.B) {
	return func(b *testing.B) {
		hashes, sum := make([]uint64, shardingKeys), 0
		for i := range hashes {
			hashes[i] = sharding.Int(i)
		}
		for i := 0; b.Loop(); i++ {
			sum += bucket(hashes[i%shardingKeys], n)
		}
		sink.Add(uint64(sum))
	}
}

// benchInstalls routes on all processors but one; that one installs, or sleeps.
func benchInstalls(busy bool) func(b *testing.B) {
	return func(b *testing.B) {
		maps := [2]sharding.Map[string]{
			slotsOf(sharding.SlotConfig{Shards: shardList(shardingShards)}),
			slotsOf(sharding.SlotConfig{Shards: shardList(shardingShards + 1)}),
		}
		r := routerOf(maps[1])
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for epoch := uint64(2); !stop.Load(); epoch++ {
				time.Sleep(time.Millisecond)
				if !busy {
					continue
				}
				if err := r.Install(sharding.Topology[string]{Epoch: epoch, Map: maps[epoch%2]}); err != nil {
					b.Error(err)
				}
			}
		})
		workers := max(1, runtime.GOMAXPROCS(0)-1)
		b.ResetTimer()
		var routes sync.WaitGroup
		for range workers {
			routes.Go(func() {
				for i := range b.N {
					if _, err := r.Route(textKeys[i%shardingKeys]); err != nil {
						b.Error(err)
					}
				}
			})
		}
		routes.Wait()
		b.StopTimer()
		stop.Store(true)
		wg.Wait()
	}
}

func benchRank(b *testing.B) {
	all, dst := shardList(shardingShards), make([]sharding.ID, 1)
	for i := 0; b.Loop(); i++ {
		sharding.Rank(sharding.String(textKeys[i%shardingKeys]), all, dst)
	}
}

func benchRendezvous(b *testing.B) {
	var names []string
	for _, s := range shardList(shardingShards) {
		names = append(names, string(s.ID))
	}
	r, sum := rendezvous.New(names, xxhash.Sum64String), 0
	for i := 0; b.Loop(); i++ {
		sum += len(r.Lookup(textKeys[i%shardingKeys]))
	}
	sink.Add(uint64(sum))
}

func benchGroup(b *testing.B) {
	r := routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(8)}))
	for b.Loop() {
		if _, err := scatter.Group(r, textKeys[:100]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchScatter(b *testing.B) {
	var ids []sharding.ID
	for _, s := range shardList(8) {
		ids = append(ids, s.ID)
	}
	ctx := context.Background()
	for b.Loop() {
		if _, err := scatter.Do(ctx, ids, scatter.Config{}, func(context.Context, sharding.ID) (int, error) { return 1, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func benchErrgroup(b *testing.B) {
	for b.Loop() {
		results := make([]int, 8)
		g, _ := errgroup.WithContext(context.Background())
		for i := range results {
			g.Go(func() error { results[i] = 1; return nil })
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchNewSlots(limit int) func(b *testing.B) {
	return func(b *testing.B) {
		all := shardList(shardingShards)
		for b.Loop() {
			slotsOf(sharding.SlotConfig{Shards: all, Owners: 3, CapPercent: limit})
		}
	}
}

func benchNewRing(b *testing.B) {
	for b.Loop() {
		ring(shardingShards)
	}
}
