package cache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// While a value is stale it is served, and one refresh runs in the background.
func ExamplePolicy_staleWhileRevalidate() {
	version := 0
	rates, _ := cache.New(cache.Config[string, int]{
		Load:   func(context.Context, string) (int, error) { version++; return version, nil },
		Policy: cache.Policy{TTL: 10 * time.Millisecond, Stale: time.Hour},
	})
	ctx := context.Background()
	fmt.Println(rates.Get(ctx, "EUR"))
	time.Sleep(20 * time.Millisecond)
	e, _ := rates.GetEntry(ctx, "EUR")
	fmt.Println(e.Value, e.Stale)
	// Output:
	// 1 <nil>
	// 1 true
}

// A source that fails is covered up for StaleIfError.
func ExamplePolicy_staleIfError() {
	var outage error
	rates, _ := cache.New(cache.Config[string, int]{
		Load:   func(context.Context, string) (int, error) { return 7, outage },
		Policy: cache.Policy{TTL: time.Millisecond, StaleIfError: time.Hour},
	})
	ctx := context.Background()
	fmt.Println(rates.Get(ctx, "EUR"))
	outage = errors.New("connection refused")
	time.Sleep(5 * time.Millisecond)
	fmt.Println(rates.Get(ctx, "EUR"))
	_, err := rates.Get(ctx, "USD")
	failure, _ := errors.AsType[*cache.LoadError](err)
	fmt.Println(failure.Key, failure.Err)
	// Output:
	// 7 <nil>
	// 7 <nil>
	// USD connection refused
}

// LoadEntry sees what is there, and says how long the new value lives.
func ExampleConfig_loadEntry() {
	fetch := func(_ context.Context, url string, old *cache.Entry[string]) (cache.Entry[string], error) {
		if old != nil {
			fmt.Println("not modified")
			return *old, nil // its life begins anew
		}
		return cache.Entry[string]{Value: "body of " + url, TTL: time.Hour}, nil
	}
	pages, _ := cache.New(cache.Config[string, string]{LoadEntry: fetch})
	ctx := context.Background()
	fmt.Println(pages.Get(ctx, "/a"))
	fmt.Println(pages.Refresh(ctx, "/a"))
	// Output:
	// body of /a <nil>
	// not modified
	// body of /a <nil>
}

func ExampleWriteBehind() {
	views, _ := cache.New(cache.Config[string, int]{
		WriteBehind: cache.WriteBehind{Delay: time.Second},
		Save: func(_ context.Context, values map[string]int) error {
			fmt.Println("saved", values)
			return nil
		},
	})
	ctx := context.Background()
	for n := range 3 {
		_ = views.Set(ctx, "/a", n+1) // returns at once
	}
	fmt.Println(views.Get(ctx, "/a"))
	fmt.Println(views.Close())
	// Output:
	// 3 <nil>
	// saved map[/a:3]
	// <nil>
}

func ExampleEvent() {
	users, _ := cache.New(cache.Config[string, string]{
		Load:    func(context.Context, string) (string, error) { return "", errors.New("connection refused") },
		OnEvent: func(e cache.Event) { fmt.Println(e.Kind, e.Key) },
	})
	_, _ = users.Get(context.Background(), "42")
	time.Sleep(10 * time.Millisecond) // events come when the caller has his answer
	// Output: load_failed 42
}
