package cache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
)

func BenchmarkGetHit(b *testing.B) {
	for _, step := range []time.Duration{0, time.Millisecond} {
		b.Run(fmt.Sprint("step=", step), func(b *testing.B) {
			c, err := cache.New(config{ClockStep: step, Policy: cache.Policy{TTL: time.Hour}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			ctx := context.Background()
			keys := make([]string, 4096)
			for i := range keys {
				keys[i] = fmt.Sprintf("user:%019d", i)
				_ = c.Set(ctx, keys[i], "v")
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				_, _ = c.Get(ctx, keys[i&4095])
				i++
			}
		})
	}
}

func BenchmarkSetPresent(b *testing.B) {
	c, err := cache.New(config{Policy: cache.Policy{TTL: time.Hour}})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Set(ctx, "user", "v")
	}
}

func BenchmarkLoad(b *testing.B) {
	c, err := cache.New(config{Load: func(context.Context, string) (string, error) { return "v", nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Get(ctx, "user")
		_ = c.Invalidate(ctx, "user")
	}
}
