package scatter_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/scatter"
)

// thirds is a map of 0 to 299: a, b and c own a hundred each.
func thirds(t testing.TB) *sharding.Ranges[int] {
	t.Helper()
	m, err := sharding.NewRanges(sharding.Between(0, 100, "a"), sharding.Between(100, 200, "b"), sharding.Between(200, 300, "c"))
	require.NoError(t, err)
	return m
}

func routerOf(t testing.TB, m sharding.Map[int]) *sharding.Router[int] {
	t.Helper()
	r, err := sharding.NewRouter(sharding.Topology[int]{Epoch: 1, Map: m}, sharding.Config{})
	require.NoError(t, err)
	return r
}

func TestGroupMakesABatchPerShardAndWayOfMoving(t *testing.T) {
	m := thirds(t)
	r := routerOf(t, m)
	to, err := m.Move(sharding.Between(50, 60, "c"))
	require.NoError(t, err)
	next, err := m.Split(20, "c")
	require.NoError(t, err)
	back, err := next.Move(sharding.Between(20, 100, "a"))
	require.NoError(t, err)
	require.NoError(t, r.Install(sharding.Topology[int]{Epoch: 2, Map: next}))
	require.NoError(t, r.Install(sharding.Topology[int]{Epoch: 3, Map: back}))
	require.NoError(t, r.Install(sharding.Topology[int]{Epoch: 4, Map: back, Mirror: to}))
	batches, err := scatter.Group(r, []int{250, 1, 55, 30, 150, 2, 56})
	require.NoError(t, err)
	require.Equal(t, 4, len(batches))
	for i, want := range []scatter.Batch{
		{Route: sharding.Route{Shard: "c"}, Keys: []int{0}},
		{Route: sharding.Route{Shard: "a"}, Keys: []int{1, 3, 5}},
		{Route: sharding.Route{Shard: "a"}, Keys: []int{2, 6}},
		{Route: sharding.Route{Shard: "b"}, Keys: []int{4}},
	} {
		assert.Equal(t, want.Keys, batches[i].Keys)
		assert.Equal(t, want.Route.Shard, batches[i].Route.Shard)
		assert.Equal(t, uint64(4), batches[i].Route.Epoch)
	}
	assert.Equal(t, uint64(3), batches[1].Route.Since(), "the youngest: 30 changed in epoch 3, 1 in none")
	assert.Equal(t, sharding.ID("c"), batches[2].Route.Mirror())
	batches[1].Keys = append(batches[1].Keys, 99)
	assert.Equal(t, []int{2, 6}, batches[2].Keys, "batches do not share room")

	_, err = scatter.Group(r, []int{1, 2, 300})
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	assert.Contains(t, err.Error(), "key 2")
	none, err := scatter.Group(r, nil)
	assert.NoError(t, err)
	assert.Equal(t, 0, len(none))
}

func TestGroupAllocates(t *testing.T) {
	r := routerOf(t, thirds(t))
	keys := make([]int, 100)
	for i := range keys {
		keys[i] = i * 3
	}
	assert.True(t, testing.AllocsPerRun(100, func() { _, _ = scatter.Group(r, keys) }) <= 4)
}

// double answers each key with its double.
func double(_ context.Context, _ sharding.Route, keys []int) ([]string, error) {
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = strconv.Itoa(2 * k)
	}
	return values, nil
}

func TestGetReturnsValuesInOrder(t *testing.T) {
	r := routerOf(t, thirds(t))
	values, err := scatter.Get(t.Context(), r, []int{250, 1, 150, 1}, scatter.Config{}, double)
	require.NoError(t, err)
	assert.Equal(t, []string{"500", "2", "300", "2"}, values)
	values, err = scatter.Get(t.Context(), r, nil, scatter.Config{}, double)
	require.NoError(t, err)
	assert.Equal(t, 0, len(values))
	_, err = scatter.Get(t.Context(), r, []int{1, 999}, scatter.Config{}, double)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	_, err = scatter.Get(t.Context(), r, []int{1}, scatter.Config{Need: 1}, double)
	assert.Contains(t, err.Error(), "Need")
}

// T39: keys of shards that failed are listed; the others have their values.
func TestGetNamesTheKeysThatAreMissing(t *testing.T) {
	r := routerOf(t, thirds(t))
	values, err := scatter.Get(t.Context(), r, []int{250, 1, 150, 2}, scatter.Config{}, func(ctx context.Context, rt sharding.Route, keys []int) ([]string, error) {
		switch rt.Shard {
		case "a":
			return nil, errDown
		case "b":
			return []string{"one", "too many"}, nil
		}
		return double(ctx, rt, keys)
	})
	partial, ok := errors.AsType[*scatter.PartialError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, []int{1, 2, 3}, partial.Keys)
	assert.Equal(t, []sharding.ID{"c"}, partial.OK)
	assert.ErrorIs(t, partial.Failed["a"], errDown)
	assert.Contains(t, partial.Failed["b"].Error(), "shard b returned 2 values for 1 keys")
	assert.Equal(t, []string{"500", "", "", ""}, values)
}

// A refusal is followed: the keys are routed anew, three rounds at most, and
// only those keys.
func TestGetFollowsMoves(t *testing.T) {
	m := thirds(t)
	r := routerOf(t, m)
	moved, err := m.Move(sharding.Between(0, 50, "c"))
	require.NoError(t, err)
	var mu sync.Mutex
	asked := map[sharding.ID]int{}
	f := func(ctx context.Context, rt sharding.Route, keys []int) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[rt.Shard]++
		if rt.Epoch == 1 && rt.Shard == "a" {
			_ = r.Install(sharding.Topology[int]{Epoch: 2, Map: moved})
			return nil, &sharding.MovedError{To: "c", Epoch: 2}
		}
		return double(ctx, rt, keys)
	}
	values, err := scatter.Get(t.Context(), r, []int{10, 60, 150}, scatter.Config{FailFast: true}, f)
	require.NoError(t, err)
	assert.Equal(t, []string{"20", "120", "300"}, values)
	assert.Equal(t, map[sharding.ID]int{"a": 2, "b": 1, "c": 1}, asked)

	rounds := 0
	_, err = scatter.Get(t.Context(), r, []int{60}, scatter.Config{}, func(context.Context, sharding.Route, []int) ([]string, error) {
		rounds++
		return nil, sharding.ErrBlocked
	})
	assert.ErrorIs(t, err, sharding.ErrBlocked)
	assert.Equal(t, 3, rounds)
}
