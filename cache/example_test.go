package cache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
)

// findUser stands for a query of the database.
func findUser(_ context.Context, id string) (string, error) {
	if id != "42" {
		return "", cache.ErrNotFound
	}
	fmt.Println("the database is asked for", id)
	return "Ada", nil
}

func Example() {
	findUser := func(_ context.Context, id string) (string, error) { // your query
		if id != "42" {
			return "", cache.ErrNotFound
		}
		fmt.Println("the database is asked for", id)
		return "Ada", nil
	}
	users, err := cache.New(cache.Config[string, string]{
		Load:   findUser,
		Policy: cache.Policy{TTL: time.Hour, Stale: time.Minute, StaleIfError: 24 * time.Hour},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	for range 3 {
		name, err := users.Get(ctx, "42")
		fmt.Println(name, err)
	}
	_, err = users.Get(ctx, "43")
	fmt.Println(errors.Is(err, cache.ErrNotFound))
	// Output:
	// the database is asked for 42
	// Ada <nil>
	// Ada <nil>
	// Ada <nil>
	// true
}

func ExampleCache_GetMany() {
	squares, _ := cache.New(cache.Config[int, int]{
		LoadMany: func(_ context.Context, keys []int) (map[int]int, error) {
			fmt.Println("load", len(keys))
			values := make(map[int]int)
			for _, k := range keys {
				values[k] = k * k
			}
			return values, nil
		},
	})
	ctx := context.Background()
	fmt.Println(squares.GetMany(ctx, []int{1, 2, 3}))
	fmt.Println(squares.GetMany(ctx, []int{2, 3, 4}))
	// Output:
	// load 3
	// map[1:1 2:4 3:9] <nil>
	// load 1
	// map[2:4 3:9 4:16] <nil>
}

func ExampleCache_Set() {
	settings, _ := cache.New(cache.Config[string, string]{
		Save: func(_ context.Context, values map[string]string) error {
			fmt.Println("saved", values)
			return nil
		},
	})
	ctx := context.Background()
	fmt.Println(settings.Set(ctx, "theme", "dark"))
	fmt.Println(settings.Get(ctx, "theme"))
	// Output:
	// saved map[theme:dark]
	// <nil>
	// dark <nil>
}

// Two nodes share an L2, here in memory; cacheredis.New makes one of Redis.
func ExampleCache_Invalidate() {
	price := 10
	server := cachetest.NewCluster(1)
	open := func() *cache.Cache[string, int] {
		node := server.Node()
		c, err := cache.New(cache.Config[string, int]{
			Remote: node, Bus: node,
			Load: func(context.Context, string) (int, error) { return price, nil },
		})
		if err != nil {
			panic(err)
		}
		for !c.Stats().Linked {
			time.Sleep(time.Millisecond)
		}
		return c
	}
	berlin, paris := open(), open()
	defer berlin.Close()
	defer paris.Close()

	ctx := context.Background()
	fmt.Println(berlin.Get(ctx, "book"))
	price = 12
	fmt.Println(berlin.Get(ctx, "book"))
	fmt.Println(paris.Invalidate(ctx, "book"))
	for _, ok := berlin.Peek("book"); ok; _, ok = berlin.Peek("book") {
		time.Sleep(time.Millisecond) // the message is on its way
	}
	fmt.Println(berlin.Get(ctx, "book"))
	// Output:
	// 10 <nil>
	// 10 <nil>
	// <nil>
	// 12 <nil>
}

func ExampleCache_InvalidateTags() {
	loads := 0
	pages, _ := cache.New(cache.Config[string, string]{
		LoadEntry: func(_ context.Context, path string, _ *cache.Entry[string]) (cache.Entry[string], error) {
			loads++
			return cache.Entry[string]{Value: fmt.Sprint(path, " v", loads), Tags: []string{"author:7"}}, nil
		},
	})
	ctx := context.Background()
	fmt.Println(pages.Get(ctx, "/a"))
	fmt.Println(pages.Get(ctx, "/b"))
	_ = pages.InvalidateTags(ctx, "author:7")
	fmt.Println(pages.Get(ctx, "/a"))
	// Output:
	// /a v1 <nil>
	// /b v2 <nil>
	// /a v3 <nil>
}

func ExampleCache_Refresh() {
	version := 0
	feed, _ := cache.New(cache.Config[string, int]{
		Load: func(context.Context, string) (int, error) { version++; return version, nil },
	})
	ctx := context.Background()
	fmt.Println(feed.Get(ctx, "news"))
	fmt.Println(feed.Refresh(ctx, "news"))
	fmt.Println(feed.Get(ctx, "news"))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
}

func ExampleCache_Lookup() {
	users, _ := cache.New(cache.Config[string, string]{Load: findUser})
	ctx := context.Background()
	_, err := users.Lookup(ctx, "42")
	fmt.Println(err)
	_, _ = users.Get(ctx, "42")
	e, err := users.Lookup(ctx, "42")
	fmt.Println(e.Value, e.Layer, err)
	// Output:
	// cache: not found
	// the database is asked for 42
	// Ada local <nil>
}
