package sharding_test

import (
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/sharding"
)

func shards(n int) []sharding.Shard {
	all := make([]sharding.Shard, n)
	for i := range all {
		all[i].ID = sharding.ID(fmt.Sprintf("node-%d", i))
	}
	return all
}

func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("user:%07d", i)
	}
	return all
}

func router(tb testing.TB, cfg sharding.SlotConfig) *sharding.Router[string] {
	tb.Helper()
	s, err := sharding.NewSlots(sharding.String, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: s}, sharding.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func BenchmarkRoute(b *testing.B) {
	r, ks := router(b, sharding.SlotConfig{Shards: shards(64)}), keys(4096)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := r.Route(ks[i&4095]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkString(b *testing.B) {
	ks := keys(4096)
	i, x := 0, uint64(0)
	for b.Loop() {
		x ^= sharding.String(ks[i&4095])
		i++
	}
}

func BenchmarkNewSlots(b *testing.B) {
	for _, c := range []struct{ owners, limit int }{{1, 0}, {3, 0}, {3, 105}, {3, 100}} {
		b.Run(fmt.Sprintf("owners=%d/cap=%d", c.owners, c.limit), func(b *testing.B) {
			for b.Loop() {
				if _, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: shards(64), Owners: c.owners, CapPercent: c.limit}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInstall(b *testing.B) {
	var maps [2]sharding.Map[string]
	for i := range maps {
		maps[i], _ = sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: shards(64 + i)})
	}
	r, _ := sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: maps[0]}, sharding.Config{})
	epoch := uint64(1)
	for b.Loop() {
		epoch++
		if err := r.Install(sharding.Topology[string]{Epoch: epoch, Map: maps[epoch%2]}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRank(b *testing.B) {
	all, ks, dst := shards(64), keys(4096), make([]sharding.ID, 1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		sharding.Rank(sharding.String(ks[i&4095]), all, dst)
		i++
	}
}
