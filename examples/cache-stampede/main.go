// Command cache-stampede lets 1,000 readers ask for one key at the same moment.
// They share one load; and when the value has expired, each gets the old one
// without waiting, while a single refresh runs behind them.
package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/cache"
)

const readers = 1000

// Database answers slowly, and counts its queries.
type Database struct{ queries atomic.Int64 }

// Price is the number of the query, so that one sees which of them it is from.
func (d *Database) Price(context.Context, string) (int64, error) {
	n := d.queries.Add(1)
	time.Sleep(300 * time.Millisecond)
	return n, nil
}

func main() {
	var alone, database Database
	prices, err := cache.New(cache.Config[string, int64]{
		Load: database.Price,
		Policy: cache.Policy{
			TTL:   600 * time.Millisecond, // fresh for so long
			Stale: time.Minute,            // and after that good enough while it is refreshed
		},
	})
	if err != nil {
		panic(err)
	}
	stampede(alone.Price)
	fmt.Println("without a cache:", alone.queries.Load(), "queries")

	got := stampede(prices.Get)
	fmt.Println("a cold cache:   ", database.queries.Load(), "query, and all got its answer:", got[1] == readers)

	time.Sleep(700 * time.Millisecond)
	got = stampede(prices.Get)
	fmt.Println("it has expired:  all got the old answer:", got[1] == readers)

	time.Sleep(400 * time.Millisecond)
	got = stampede(prices.Get)
	fmt.Println("a moment later: ", database.queries.Load(), "queries in all, and the new answer for all:", got[2] == readers)
}

// stampede returns how many readers got which answer.
func stampede(get func(context.Context, string) (int64, error)) map[int64]int {
	var mu sync.Mutex
	var group sync.WaitGroup
	got := map[int64]int{}
	for range readers {
		group.Go(func() {
			answer, err := get(context.Background(), "P-1")
			if err != nil {
				panic(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[answer]++
		})
	}
	group.Wait()
	return got
}
