package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sony/gobreaker/v2"

	"github.com/keelson-go/keelson/breaker"
)

// keys is how many hosts, shards or tenants have a breaker each.
const keys = 100_000

// keyedRows compare a breaker per key, drawn by a Zipf distribution as
// traffic is: few keys are hot and most are cold. gobreaker has no group; a
// sync.Map is what its users write.
func keyedRows() []row {
	return []row{{
		name:  "breaker: 1e5 keys, zipf 1.1, look-up and Do",
		ours:  keyed(keyedKeelson),
		peers: []peer{{"gobreaker v2.4.0 in a sync.Map, default", keyed(keyedGoBreaker), 0}},
	}}
}

// A keyedCall runs one call through the breaker of a key.
type keyedCall func(ctx context.Context, name string) error

// keyed measures a set of breakers that build makes for all names, once: made
// anew for each size that the benchmark tries, their garbage would be measured
// too. What is drawn stands in a list, since the draw is not the workload.
func keyed(build func(names []string) keyedCall) func(b *testing.B) {
	setUp := sync.OnceValues(func() (keyedCall, [2][]string) {
		names := make([]string, keys)
		for i := range names {
			names[i] = fmt.Sprint("tenant-", i)
		}
		return build(names), [2][]string{draws(names, 1), draws(names, 2)}
	})
	return func(b *testing.B) {
		call, drawn := setUp()
		ctx := context.Background()
		var next atomic.Int64
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			mine := drawn[int(next.Add(1))%len(drawn)]
			for i := 0; pb.Next(); i++ {
				if err := call(ctx, mine[i%len(mine)]); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

func draws(names []string, seed uint64) []string {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 0)), 1.1, 1, keys-1)
	drawn := make([]string, 1<<16)
	for i := range drawn {
		drawn[i] = names[zipf.Uint64()]
	}
	return drawn
}

func keyedKeelson(names []string) keyedCall {
	group := &breaker.Group[string, *breaker.Breaker]{MaxKeys: keys, New: func(string) *breaker.Breaker { return breaker.New(breaker.Config{}) }}
	for _, name := range names {
		group.Get(name)
	}
	return func(ctx context.Context, name string) error {
		_, err := breaker.Do(ctx, group.Get(name), one)
		return err
	}
}

func keyedGoBreaker(names []string) keyedCall {
	var group sync.Map
	for _, name := range names {
		group.Store(name, gobreaker.NewCircuitBreaker[int](gobreaker.Settings{}))
	}
	return func(ctx context.Context, name string) error {
		br, _ := group.Load(name)
		_, err := br.(*gobreaker.CircuitBreaker[int]).Execute(func() (int, error) { return one(ctx) })
		return err
	}
}
