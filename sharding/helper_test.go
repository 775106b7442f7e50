package sharding_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// in runs f in a bubble of virtual time.
func in(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// slots makes a placement that must be valid.
func slots(t testing.TB, cfg sharding.SlotConfig) *sharding.Slots[string] {
	t.Helper()
	s, err := sharding.NewSlots(sharding.String, cfg)
	require.NoError(t, err)
	return s
}

// ints makes a map of ranges that must be valid.
func ints(t testing.TB, ranges ...sharding.Range[int]) *sharding.Ranges[int] {
	t.Helper()
	r, err := sharding.NewRanges(ranges...)
	require.NoError(t, err)
	return r
}

// all is a range of all keys.
func all[K any](owner sharding.ID) sharding.Range[K] { return sharding.Range[K]{Owner: owner} }

// routerOf starts a router at epoch 1.
func routerOf[K any](t testing.TB, m sharding.Map[K], cfg sharding.Config) *sharding.Router[K] {
	t.Helper()
	r, err := sharding.NewRouter(sharding.Topology[K]{Epoch: 1, Map: m}, cfg)
	require.NoError(t, err)
	return r
}

// install puts a topology in force that must be valid.
func install[K any](t testing.TB, r *sharding.Router[K], topology sharding.Topology[K]) {
	t.Helper()
	require.NoError(t, r.Install(topology))
}

func route[K any](t testing.TB, r *sharding.Router[K], key K) sharding.Route {
	t.Helper()
	rt, err := r.Route(key)
	require.NoError(t, err)
	return rt
}

// seeded is a generator that gives the same numbers in every run.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 42)) }
