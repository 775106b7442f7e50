// Command sharding-hash places 100,000 users by hash in two ways, and adds a
// fifth shard to four: modulo moves four users of five, slots move one of five.
package main

import (
	"fmt"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

const users = 100_000

var shards = []sharding.ID{"db-0", "db-1", "db-2", "db-3", "db-4"}

// modulo is the classic: parseInt(md5(user).substring(0, 8), 16) % n. It is here
// for data that lies that way already.
func modulo(n int) (sharding.Map[string], error) {
	return sharding.Buckets(func(user string) int {
		return sharding.Mod(compat.MD5Hex(user), n)
	}, shards[:n]...)
}

// slots give each key one of 16,384 slots, and each shard its part of them.
func slots(n int) (sharding.Map[string], error) {
	var cfg sharding.SlotConfig
	for _, id := range shards[:n] {
		cfg.Shards = append(cfg.Shards, sharding.Shard{ID: id})
	}
	return sharding.NewSlots(sharding.String, cfg)
}

func main() {
	grow("modulo", modulo)
	grow("slots", slots)
}

// grow prints where the users are before and after, and how many have moved.
func grow(name string, place func(shards int) (sharding.Map[string], error)) {
	four, err := place(4)
	if err != nil {
		panic(err)
	}
	five, err := place(5)
	if err != nil {
		panic(err)
	}
	before, after, moved := map[sharding.ID]int{}, map[sharding.ID]int{}, 0
	for i := range users {
		user := fmt.Sprint(i)
		from, _ := four.Owner(user) // both maps own every key
		to, _ := five.Owner(user)
		before[from]++
		after[to]++
		if from != to {
			moved++
		}
	}
	fmt.Println(name)
	for _, id := range shards {
		fmt.Printf("  %s  %6d users, then %6d\n", id, before[id], after[id])
	}
	fmt.Printf("  %.1f %% of the users move\n", 100*float64(moved)/users)
}
