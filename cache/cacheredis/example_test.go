package cacheredis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/redis/go-redis/v9"
)

// A service starts while Redis is down, answers from its source, and has a second
// layer from the moment on when Redis is there.
func ExampleNew() {
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:1", // nobody is there
		ContextTimeoutEnabled: true,          // saves a goroutine per call
	})
	defer client.Close()
	store, err := cacheredis.New(client, "users", cacheredis.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := cache.New(cache.Config[int, string]{
		Remote:        store,
		Bus:           store,
		RemoteTimeout: 50 * time.Millisecond,
		Policy:        cache.Policy{TTL: time.Minute},
		Load: func(_ context.Context, id int) (string, error) {
			return fmt.Sprint("user ", id), nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()

	fmt.Println(users.Get(context.Background(), 7))
	// Output: user 7 <nil>
}
