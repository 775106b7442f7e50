package main

import (
	"fmt"
	"testing"
	"time"

	goredis "github.com/go-redis/cache/v9"
	"github.com/redis/rueidis"
)

func goredisHit(b *testing.B) {
	c := goredis.New(&goredis.Options{Redis: redisClient(b)})
	for i := range cold {
		if err := c.Set(&goredis.Item{Key: coldKey(i), Value: coldValue, TTL: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
	timed(b, func(i int) {
		var got string
		if err := c.Get(b.Context(), coldKey(i), &got); err != nil {
			b.Fatal(err)
		}
	})
}

func goredisOnce(b *testing.B) {
	c := goredis.New(&goredis.Options{Redis: redisClient(b)})
	timed(b, func(int) {
		var got string
		err := c.Once(&goredis.Item{Key: newKey(), Value: &got, TTL: time.Hour, Do: func(*goredis.Item) (any, error) { return coldValue, nil }})
		if err != nil {
			b.Fatal(err)
		}
	})
}

func goredisLocalHit(b *testing.B) {
	c := goredis.New(&goredis.Options{Redis: redisClient(b), LocalCache: goredis.NewTinyLFU(1000, time.Hour)})
	if err := c.Set(&goredis.Item{Key: "a", Value: coldValue, TTL: time.Hour}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var got string
		if err := c.Get(b.Context(), "a", &got); err != nil {
			b.Fatal(err)
		}
	}
}

func rueidisHit(b *testing.B) {
	redisClient(b)
	addr, err := server()
	if err != nil {
		b.Fatal(err)
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	if err := client.Do(b.Context(), client.B().Set().Key("a").Value(coldValue).Build()).Error(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := client.DoCache(b.Context(), client.B().Get().Key("a").Cache(), time.Hour).ToString(); err != nil || got != coldValue {
			b.Fatal(fmt.Sprint(got), err)
		}
	}
}
