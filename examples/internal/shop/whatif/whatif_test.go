package whatif_test

import (
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop/whatif"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

func config(ids ...sharding.ID) (c sharding.SlotConfig) {
	for _, id := range ids {
		c.Shards = append(c.Shards, sharding.Shard{ID: id})
	}
	return c
}

var four = config("shard-0", "shard-1", "shard-2", "shard-3")

// A fifth shard must get a fifth of the keys. Slots and JumpBack move that and no more
// (A12: 1.05 times it at most), modulo moves four of five.
func TestAFifthShard(t *testing.T) {
	r, err := whatif.Grow(four, 5)
	require.NoError(t, err)
	assert.Equal(t, 0.2, r.Ideal)
	for name, want := range map[string]struct{ least, most, fullest float64 }{
		"slots":                     {0.19, 0.21, 0.21},
		"md5 modulo":                {0.79, 0.81, 0.21},
		"JumpBack hash":             {0.19, 0.21, 0.21},
		"ring, ketama":              {0.15, 0.35, 0.30},
		"ranges, the fullest split": {0.125, 0.125, 0.25},
		"ranges, cut anew":          {0.5, 0.5, 0.2},
	} {
		found := false
		for _, router := range r.Routers {
			if router.Name != name {
				continue
			}
			found = true
			share := float64(router.Moved) / float64(r.Keys)
			assert.True(t, share >= want.least && share <= want.most, "%s moves %v", name, share)
			assert.True(t, router.Fullest <= want.fullest && router.Fullest >= 0.2, "%s: the fullest shard has %v", name, router.Fullest)
			assert.Equal(t, name == "slots", router.Here, "%s", name)
		}
		assert.True(t, found, "no %s in %v", name, r.Routers)
	}
	assert.Equal(t, 6, len(r.Routers))
}

// The plan is about slots, the table about keys. They are found in two ways, and must
// say the same: a key moves if its slot does, and only to the new shard.
func TestThePlanIsWhatMoves(t *testing.T) {
	r, err := whatif.Grow(four, 5)
	require.NoError(t, err)
	before, err := sharding.NewSlots(sharding.Int[int], four)
	require.NoError(t, err)
	after, err := sharding.NewSlots(sharding.Int[int], config("shard-0", "shard-1", "shard-2", "shard-3", "shard-4"))
	require.NoError(t, err)
	plan, err := before.Diff(after)
	require.NoError(t, err)
	moving := map[int]bool{}
	for _, m := range plan {
		moving[*m.Keys.From] = true
	}
	keys := 0
	for user := 1; user <= r.Keys; user++ {
		if moving[before.Slot(user)] {
			keys++
		}
	}
	assert.Equal(t, keys, r.Routers[0].Moved)
	slots := 0
	for _, f := range r.Plan {
		assert.Equal(t, sharding.ID("shard-4"), f.To)
		slots += f.Slots
	}
	assert.Equal(t, len(plan), slots)
	assert.Equal(t, 16384, r.Slots)
	assert.Equal(t, 4, len(r.Plan))
}

func TestOnlyMoreShardsCanBeAskedFor(t *testing.T) {
	for _, n := range []int{-1, 0, 3, 4, 17} {
		_, err := whatif.Grow(four, n)
		assert.Error(t, err, "%d", n)
	}
	_, err := whatif.Grow(sharding.SlotConfig{}, 5)
	assert.Error(t, err)
	// A name that is taken is not given twice.
	r, err := whatif.Grow(config("shard-1", "shard-2"), 3)
	require.NoError(t, err)
	assert.Equal(t, sharding.ID("shard-3"), r.Plan[0].To)
	_, err = whatif.Grow(four, whatif.MaxShards)
	assert.NoError(t, err)
}
