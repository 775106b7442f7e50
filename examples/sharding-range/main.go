// Command sharding-range places users by ranges of their number. Ranges are half
// open, so that no user has two shards or none; a full one is split while the
// others stay where they are.
package main

import (
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/sharding"
)

func main() {
	users, err := sharding.NewRanges(
		sharding.Between(1, 1_000_000, "shard-1"), // 1 <= user < 1,000,000
		sharding.Between(1_000_000, 2_000_000, "shard-2"),
		sharding.Between(2_000_000, 3_000_000, "shard-3"),
	)
	if err != nil {
		panic(err)
	}
	fmt.Println("the edges")
	for _, user := range []int{0, 1, 999_999, 1_000_000, 1_999_999, 2_000_000, 2_999_999, 3_000_000} {
		owner, err := users.Owner(user)
		if errors.Is(err, sharding.ErrNoOwner) {
			owner = "nobody's: an error, never a guess"
		}
		fmt.Printf("  user %7d  %s\n", user, owner)
	}

	fmt.Println("a query for users 900,000 to 1,100,000 asks")
	from, to := 900_000, 1_100_000
	for r := range users.Overlapping(&from, &to) {
		fmt.Println(" ", r)
	}

	fmt.Println("tables with the bounds \"1 to 1M, 1M to 2M\", both inclusive, are refused")
	_, err = sharding.NewRanges(
		sharding.Between(1, 1_000_001, "shard-1"),
		sharding.Between(1_000_000, 2_000_001, "shard-2"),
	)
	fmt.Println(" ", err)

	fmt.Println("shard-3 is full: its upper half gets a shard of its own")
	grown, err := users.Split(2_500_000, "shard-4")
	if err != nil {
		panic(err)
	}
	for r := range grown.All() {
		fmt.Println(" ", r)
	}
	plan, err := users.Diff(grown)
	if err != nil {
		panic(err)
	}
	fmt.Println("what has to move")
	fmt.Println(" ", plan)
}
