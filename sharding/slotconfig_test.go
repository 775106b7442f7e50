package sharding_test

import (
	"math"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

func TestBadSlotConfigsAreNamed(t *testing.T) {
	two := []sharding.Shard{{ID: "a"}, {ID: "b"}}
	assigned := func(r ...sharding.Range[int]) sharding.SlotConfig {
		return sharding.SlotConfig{Shards: two, Slots: 16, Assigned: r}
	}
	for want, cfg := range map[string]sharding.SlotConfig{
		"Shards has no member that is not drained":     {},
		"Shards has no member that":                    {Shards: []sharding.Shard{{ID: "a", Drain: true}}},
		"Shards[0]: shard ID is empty":                 {Shards: []sharding.Shard{{}, {ID: "b"}}},
		"has 256 bytes, at most 255":                   {Shards: []sharding.Shard{{ID: sharding.ID(strings.Repeat("x", 256))}}},
		"is not valid UTF-8":                           {Shards: []sharding.Shard{{ID: "\xff"}}},
		"control character":                            {Shards: []sharding.Shard{{ID: "a\r\nX-Evil: 1"}}},
		"Slots is 100, must be a power of two":         {Shards: two, Slots: 100},
		"Slots is -4":                                  {Shards: two, Slots: -4},
		"Slots is 2097152":                             {Shards: two, Slots: 1 << 21},
		"Owners is 9, must be 0 to 8":                  {Shards: two, Owners: 9},
		"Owners is -1":                                 {Shards: two, Owners: -1},
		"CapPercent is 99, must be 0 or at least 100":  {Shards: two, CapPercent: 99},
		"CapPercent is -1":                             {Shards: two, CapPercent: -1},
		"at most 65535 are allowed":                    {Shards: make([]sharding.Shard, 65536)},
		"must be slots of 0 to 16":                     assigned(sharding.Between(0, 17, "a")),
		"[-1, 4) -> a must be slots":                   assigned(sharding.Between(-1, 4, "a")),
		"[4, 4) -> a must be slots":                    assigned(sharding.Between(4, 4, "a")),
		"goes to a shard that is not in Shards":        assigned(sharding.Between(0, 4, "c")),
		"sharding: overlap: [0, 4) -> a and [3, 5) ->": assigned(sharding.Between(3, 5, "b"), sharding.Between(0, 4, "a")),
	} {
		_, err := sharding.NewSlots(sharding.String, cfg)
		require.Error(t, err, want)
		assert.Contains(t, err.Error(), want)
	}
	_, err := sharding.NewSlots[string](nil, sharding.SlotConfig{Shards: two})
	assert.Contains(t, err.Error(), "hash is nil")
	_, err = sharding.NewSlots(sharding.String, assigned(sharding.Between(3, 5, "b"), sharding.Between(0, 4, "a")))
	assert.ErrorIs(t, err, sharding.ErrOverlap)
}

// Everything that is wrong is reported, not the first thing.
func TestAllOfABadSlotConfigIsReported(t *testing.T) {
	_, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "a"}, {ID: "a"}}, Owners: 9, CapPercent: 1})
	require.Error(t, err)
	for _, part := range []string{"twice", "Owners", "CapPercent"} {
		assert.Contains(t, err.Error(), part)
	}
}

func TestAssignedOverrides(t *testing.T) {
	cfg := sharding.SlotConfig{Shards: []sharding.Shard{{ID: "a"}, {ID: "b"}, {ID: "old", Drain: true}}, Slots: 16, CapPercent: 100, Owners: 2}
	before := slots(t, cfg)
	cfg.Assigned = []sharding.Range[int]{{To: new(4), Owner: "old"}, {From: new(12), Owner: "a"}}
	s := slots(t, cfg)
	for i, list := range ownerLists(s) {
		switch {
		case i < 4:
			require.Equal(t, sharding.ID("old"), list[0])
			assert.NotEqual(t, sharding.ID("old"), list[1])
		case i >= 12:
			require.Equal(t, []sharding.ID{"a", "b"}, list)
		default:
			require.Equal(t, ownerLists(before)[i], list)
		}
	}
	assert.Equal(t, []sharding.ID{"a", "b", "old"}, s.Shards())
}

// Too few live shards is no error of the config: the lookup tells.
func TestFewerShardsThanOwners(t *testing.T) {
	s := slots(t, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "a"}, {ID: "b"}, {ID: "c", Drain: true}}, Owners: 3})
	dst := make([]sharding.ID, 3)
	n, err := s.Owners("x", dst)
	assert.Equal(t, 2, n)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	n, err = s.Owners("x", dst[:2])
	assert.Equal(t, 2, n)
	assert.NoError(t, err)
	for owners := 1; owners <= 8; owners++ { // however many are missing
		n, err = slots(t, sharding.SlotConfig{Shards: shards(1), Owners: owners}).Owners("x", dst)
		assert.Equal(t, 1, n)
		assert.ErrorIs(t, err, sharding.ErrNoOwner)
	}
	one := slots(t, sharding.SlotConfig{Shards: shards(3)})
	n, err = one.Owners("x", dst[:2])
	assert.Equal(t, 1, n)
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
}

// T12: no room is no owner, and no error; T41: what goes in and comes out may
// be changed without effect.
func TestSlotsDoNotAlias(t *testing.T) {
	cfg := sharding.SlotConfig{Shards: shards(3), Slots: 16, Assigned: []sharding.Range[int]{sharding.Between(0, 8, "node-1")}}
	s := slots(t, cfg)
	want := ownerLists(s)
	cfg.Shards[0].ID, *cfg.Assigned[0].To = "changed", 16
	got := s.Config()
	got.Shards[1].ID, *got.Assigned[0].From = "changed", 7
	s.Shards()[0] = "changed"
	plan, err := s.Diff(slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 16}))
	require.NoError(t, err)
	require.True(t, len(plan) > 0)
	held, back := plan.Held(), plan.Reverse()
	*held[0].From, *back[len(back)-1].Keys.To = 99, 99
	assert.True(t, *plan[0].Keys.From < 16 && *plan[0].Keys.To <= 16)
	again := s.Config()
	assert.Equal(t, sharding.ID("node-1"), again.Shards[1].ID)
	assert.Equal(t, 0, *again.Assigned[0].From)
	assert.Equal(t, 8, *again.Assigned[0].To)
	requireSame(t, s, slots(t, again))
	assert.Equal(t, want, ownerLists(s))
	n, err := s.Owners("x", nil)
	assert.Equal(t, 0, n)
	assert.NoError(t, err)
}

func TestExtremeSlotConfigs(t *testing.T) {
	heavy := []sharding.Shard{{ID: "a", Weight: math.MaxUint32}, {ID: "b"}, {ID: "c", Weight: math.MaxUint32}}
	s := slots(t, sharding.SlotConfig{Shards: heavy, Slots: 1024, CapPercent: math.MaxInt})
	assert.InDelta(t, 0.5, s.Share("a"), 0.06)
	one := slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 1})
	assert.Equal(t, 0, one.Slot("anything"))
	_, err := one.Diff(slots(t, sharding.SlotConfig{Shards: shards(3), Slots: 2}))
	assert.Contains(t, err.Error(), "1 slots cannot become 2")
}
