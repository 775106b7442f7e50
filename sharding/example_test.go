package sharding_test

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

func Example() {
	users, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{
		Shards: []sharding.Shard{{ID: "db-0"}, {ID: "db-1"}, {ID: "db-2"}},
	})
	if err != nil {
		panic(err) // the config is wrong, and err names the field
	}
	router, err := sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: users}, sharding.Config{})
	if err != nil {
		panic(err)
	}
	for _, user := range []string{"user:1", "user:2", "user:3"} {
		rt, err := router.Route(user)
		fmt.Println(user, rt.Shard, err)
	}
	// Output:
	// user:1 db-0 <nil>
	// user:2 db-1 <nil>
	// user:3 db-2 <nil>
}

// Users 1 to 1M, 1M to 2M and so on: ranges are half open, so no user has two
// shards and none is between them.
func ExampleNewRanges() {
	users, err := sharding.NewRanges(
		sharding.Between(1, 1_000_000, "shard-1"),
		sharding.Between(1_000_000, 2_000_000, "shard-2"),
		sharding.Between(2_000_000, 3_000_000, "shard-3"),
	)
	fmt.Println(err)
	fmt.Println(users.Owner(1_000_000))
	_, err = users.Owner(0)
	fmt.Println(errors.Is(err, sharding.ErrNoOwner), err)
	// Output:
	// <nil>
	// shard-2 <nil>
	// true sharding: no owner: key 0 is not in [1, 3000000)
}

// The same bound twice is the classic mistake of such tables.
func ExampleNewRanges_overlap() {
	_, err := sharding.NewRanges(
		sharding.Between(1, 1_000_001, "shard-1"),
		sharding.Between(1_000_000, 2_000_000, "shard-2"),
		sharding.Between(2_000_001, 3_000_000, "shard-3"),
	)
	fmt.Println(err)
	// Output:
	// sharding: overlap: [1, 1000001) -> shard-1 and [1000000, 2000000) -> shard-2 both own [1000000, 1000001)
	// sharding: gap: nobody owns [2000000, 2000001) between [1000000, 2000000) -> shard-2 and [2000001, 3000000) -> shard-3
}

func ExampleRanges_Split() {
	users, _ := sharding.NewRanges(sharding.Between(0, 100, "old"))
	users, _ = users.Split(60, "new")
	users, _ = users.Move(sharding.Between(0, 20, "new"))
	for r := range users.All() {
		fmt.Println(r)
	}
	// Output:
	// [0, 20) -> new
	// [20, 60) -> old
	// [60, 100) -> new
}

// A query for a run of keys visits the ranges that it overlaps, no others.
func ExampleRanges_Overlapping() {
	users, _ := sharding.NewRanges(
		sharding.Between("a", "h", "shard-1"), sharding.Between("h", "p", "shard-2"), sharding.Between("p", "z", "shard-3"),
	)
	from, to := "do", "hi"
	for r := range users.Overlapping(&from, &to) {
		fmt.Println(r)
	}
	// Output:
	// ["a", "h") -> shard-1
	// ["h", "p") -> shard-2
}

// Data that was placed by parseInt(md5(userId).substring(0, 8), 16) % 4 stays
// where it is. But one shard more moves four keys of five.
func ExampleBuckets_md5() {
	place := func(shards int) sharding.Map[string] {
		names := []sharding.ID{"db-0", "db-1", "db-2", "db-3", "db-4"}[:shards]
		m, err := sharding.Buckets(func(user string) int { return sharding.Mod(compat.MD5Hex(user), shards) }, names...)
		if err != nil {
			panic(err)
		}
		return m
	}
	four, five := place(4), place(5)
	fmt.Println(four.Owner("1"))
	moved := 0
	for user := range 10_000 {
		before, _ := four.Owner(fmt.Sprint(user))
		after, _ := five.Owner(fmt.Sprint(user))
		if before != after {
			moved++
		}
	}
	fmt.Printf("%.0f %% of the users move\n", float64(moved)/100)
	// Output:
	// db-0 <nil>
	// 80 % of the users move
}

// With slots, a fifth shard takes one key of five, and nothing moves between
// the other four.
func ExampleSlots_Diff() {
	cfg := sharding.SlotConfig{Shards: []sharding.Shard{{ID: "db-0"}, {ID: "db-1"}, {ID: "db-2"}, {ID: "db-3"}}}
	four, _ := sharding.NewSlots(sharding.String, cfg)
	cfg = four.Config()
	cfg.Shards = append(cfg.Shards, sharding.Shard{ID: "db-4"})
	five, _ := sharding.NewSlots(sharding.String, cfg)

	plan, err := four.Diff(five)
	toOthers := slices.ContainsFunc(plan, func(m sharding.Move[int]) bool { return m.To != "db-4" })
	fmt.Printf("%d %% of the slots move, to others than db-4: %t, %v\n", 100*len(plan)/16384, toOthers, err)
	fmt.Println(plan[0])
	// Output:
	// 20 % of the slots move, to others than db-4: false, <nil>
	// [2, 3) db-0 -> db-4
}

// A plan in steps: what is held keeps its owner until its turn comes.
func ExamplePlan() {
	cfg := sharding.SlotConfig{Slots: 256, Shards: []sharding.Shard{{ID: "a"}, {ID: "b"}}}
	before, _ := sharding.NewSlots(sharding.String, cfg)
	cfg.Shards = append(cfg.Shards, sharding.Shard{ID: "c"})
	after, _ := sharding.NewSlots(sharding.String, cfg)
	plan, _ := before.Diff(after)

	moved := 0
	for step := range slices.Chunk(plan, 64) {
		moved += len(step)
		cfg.Assigned = plan[moved:].Held()
		next, err := sharding.NewSlots(sharding.String, cfg)
		fmt.Printf("%d slots moved, c has %.2f of all, %v\n", moved, next.Share("c"), err)
	}
	fmt.Println(plan[:2].Reverse())
	// Output:
	// 64 slots moved, c has 0.25 of all, <nil>
	// 76 slots moved, c has 0.30 of all, <nil>
	// [5, 6) c -> a
	// [2, 3) c -> b
}

// A large tenant gets a shard of its own.
func ExamplePin() {
	rest, _ := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "shared-0"}, {ID: "shared-1"}}})
	tenants, err := sharding.Pin(map[string]sharding.ID{"acme": "acme-only"}, rest)
	fmt.Println(err)
	fmt.Println(tenants.Owner("acme"))
	fmt.Println(tenants.Owner("corner shop"))
	// Output:
	// <nil>
	// acme-only <nil>
	// shared-0 <nil>
}

// Orders live beside their tenant.
func ExampleBy() {
	type order struct{ tenant, number string }
	tenants, _ := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "db-0"}, {ID: "db-1"}}})
	orders := sharding.By(func(o order) string { return o.tenant }, tenants)
	fmt.Println(orders.Owner(order{"acme", "1"}))
	fmt.Println(orders.Owner(order{"acme", "2"}))
	// Output:
	// db-1 <nil>
	// db-1 <nil>
}

// Vitess names shards by ranges of a hash, which By puts before the ranges.
func ExampleBy_vitess() {
	var all []sharding.Range[uint64]
	for name := range strings.FieldsSeq("-40 40-80 80-") {
		r, err := compat.KeyRange(name)
		if err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	ranges, _ := sharding.NewRanges(all...)
	// The xxhash vindex writes the hash little endian; a range reads it from
	// the left.
	users := sharding.By(func(user string) uint64 { return bits.ReverseBytes64(sharding.String(user)) }, sharding.Map[uint64](ranges))
	fmt.Println(users.Owner("user:1"))
	fmt.Println(users.Owner("user:2"))
	// Output:
	// 80- <nil>
	// -40 <nil>
}

// Shuffle sharding: each tenant gets 2 of 8 workers, so two tenants rarely
// share both, and one that brings down its workers hurts few others.
func ExampleRank_shuffle() {
	var workers []sharding.Shard
	for i := range 8 {
		workers = append(workers, sharding.Shard{ID: sharding.ID(fmt.Sprintf("worker-%d", i))})
	}
	mine := make([]sharding.ID, 2)
	for _, tenant := range []string{"acme", "corner shop", "zoo"} {
		n := sharding.Rank(sharding.String(tenant), workers, mine)
		fmt.Println(tenant, mine[:n])
	}
	// Output:
	// acme [worker-7 worker-4]
	// corner shop [worker-6 worker-3]
	// zoo [worker-5 worker-3]
}
