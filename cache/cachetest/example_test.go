package cachetest_test

import (
	"context"
	"fmt"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

// Two nodes share a remote. What one has invalidated, none of them finds in it.
func ExampleCluster() {
	ctx := context.Background()
	cluster := cachetest.NewCluster(1)
	one, two := cluster.Node(), cluster.Node()

	fill := cache.Fill{Key: "a", Data: []byte("old"), Version: 1}
	stored, err := one.Put(ctx, []cache.Fill{fill})
	fmt.Println("stored:", stored[0], err)

	_, err = two.Invalidate(ctx, cache.Message{Keys: []string{"a"}})
	records, _ := one.Get(ctx, []cache.Query{{Key: "a"}}, 0)
	fmt.Println("after the invalidation:", records[0].Data == nil, err)

	cluster.Stop()
	_, err = one.Get(ctx, []cache.Query{{Key: "a"}}, 0)
	fmt.Println(err)
	fmt.Println("round trips:", cluster.Trips())
	// Output:
	// stored: true <nil>
	// after the invalidation: true <nil>
	// cachetest: the server is stopped
	// round trips: 4
}
