package sharding_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// T3: with the cap off, a member that joins, leaves, drains or changes its
// weight takes or gives slots, and no other pair exchanges any.
func TestOnlyTheChangedMemberMoves(t *testing.T) {
	base := weighted(20, 20)
	for name, change := range map[string]func([]sharding.Shard) []sharding.Shard{
		"join":    func(all []sharding.Shard) []sharding.Shard { return append(all, sharding.Shard{ID: "x", Weight: 3}) },
		"leave":   func(all []sharding.Shard) []sharding.Shard { return slices.Delete(all, 7, 8) },
		"drain":   func(all []sharding.Shard) []sharding.Shard { all[7].Drain = true; return all },
		"heavier": func(all []sharding.Shard) []sharding.Shard { all[7].Weight = 9; return all },
		"lighter": func(all []sharding.Shard) []sharding.Shard { all[7].Weight = 1; return all },
	} {
		plan, err := slots(t, sharding.SlotConfig{Shards: base}).Diff(slots(t, sharding.SlotConfig{Shards: change(slices.Clone(base))}))
		require.NoError(t, err)
		assert.True(t, len(plan) > 0, name)
		for _, m := range plan {
			changed := m.To
			if name == "leave" || name == "drain" || name == "lighter" {
				changed = m.Keys.Owner
			}
			require.True(t, changed == "x" || changed == "node-7", "%s: %v", name, m)
		}
	}
}

// T4: neither the order of Shards nor the way to a config matters.
func TestHistoryDoesNotMatter(t *testing.T) {
	rng := seeded(4)
	for _, limit := range []int{0, 100, 110} {
		cfg := sharding.SlotConfig{Shards: weighted(6, 2), Slots: 512, Owners: 3, CapPercent: limit}
		want := slots(t, cfg)
		for range 50 {
			rng.Shuffle(len(cfg.Shards), func(i, j int) { cfg.Shards[i], cfg.Shards[j] = cfg.Shards[j], cfg.Shards[i] })
			// Go through another config, as an operator would.
			detour := slots(t, cfg).Config()
			detour.Shards = append(detour.Shards, sharding.Shard{ID: "guest"})
			back := slots(t, detour).Config()
			back.Shards = back.Shards[:len(back.Shards)-1]
			requireSame(t, want, slots(t, back))
		}
	}
}

// T6: equal bids go to the smaller ID, wherever it stands.
func TestTiesGoByID(t *testing.T) {
	// Two shards never tie by their bids unless the IDs' hashes are equal, so
	// the order itself is tested, at its source.
	assert.True(t, sharding.Beats(1, 1, "a", 1, 1, "b"))
	assert.False(t, sharding.Beats(1, 1, "b", 1, 1, "a"))
	assert.True(t, sharding.Beats(9, 1, "b", 8, 1, "a"), "the larger u wins")
	assert.True(t, sharding.Beats(1<<63, 2, "b", 1<<63, 1, "a"), "the heavier wins")
	assert.True(t, sharding.Beats(1<<63+2, 3, "b", 1<<63+1, 3, "a"), "equal costs go by u")
}

// T9: two owners of a slot share a zone only when all zones are used, and are
// never the same shard. T8: more owners extend the lists.
func TestOwnersSpreadOverZones(t *testing.T) {
	cfg := sharding.SlotConfig{Shards: weighted(12, 3), Slots: 1024}
	shorter := make([][]sharding.ID, 1024)
	for cfg.Owners = 1; cfg.Owners <= 8; cfg.Owners++ {
		s := slots(t, cfg)
		for i, list := range ownerLists(s) {
			zones := map[string]int{}
			for _, id := range list {
				zones[zoneOf(cfg.Shards, id)]++
			}
			for _, n := range zones {
				require.True(t, n <= (len(list)+2)/3, "slot %d: %v", i, list)
			}
			distinct := slices.Compact(slices.Sorted(slices.Values(list)))
			require.Equal(t, cfg.Owners, len(distinct), "slot %d: %v", i, list)
			require.Equal(t, shorter[i], append([]sharding.ID(nil), list[:len(list)-1]...), "slot %d", i)
			shorter[i] = list
		}
	}
}

// T8: losing a lower-ranked owner changes nothing above it.
func TestLosingAnOwnerKeepsThoseBefore(t *testing.T) {
	cfg := sharding.SlotConfig{Shards: weighted(9, 3), Slots: 256, Owners: 4}
	before := ownerLists(slots(t, cfg))
	for gone := range cfg.Shards {
		less := cfg
		less.Shards = slices.Delete(slices.Clone(cfg.Shards), gone, gone+1)
		for i, list := range ownerLists(slots(t, less)) {
			kept := before[i]
			if at := slices.Index(kept, cfg.Shards[gone].ID); at >= 0 {
				kept = kept[:at]
			}
			require.Equal(t, kept, list[:len(kept)], "slot %d without %s", i, cfg.Shards[gone].ID)
		}
	}
}

// T7: a shard's keys do not all have the same backup.
func TestBackupsSpread(t *testing.T) {
	const n, size = 20, 1 << 16
	inherits := map[[2]sharding.ID]int{}
	firsts := map[sharding.ID]int{}
	for _, list := range ownerLists(slots(t, sharding.SlotConfig{Shards: shards(n), Slots: size, Owners: 2})) {
		firsts[list[0]]++
		inherits[[2]sharding.ID{list[0], list[1]}]++
	}
	for pair, got := range inherits {
		fair := float64(firsts[pair[0]]) / (n - 1)
		require.True(t, float64(got) <= 1.5*fair, "%s inherits %d of %s, fair is %.0f", pair[1], got, pair[0], fair)
	}
}

// T10: a member that is there twice is an error.
func TestDuplicatesAreRefused(t *testing.T) {
	_, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{Shards: []sharding.Shard{{ID: "a"}, {ID: "b"}, {ID: "a", Weight: 2}}})
	require.Error(t, err)
	assert.Contains(t, err.Error(), `Shards[2]: shard ID "a" is there twice`)
}

// T11: caps suffice for all slots, whatever the weights, and are kept.
func TestCapsHold(t *testing.T) {
	rng := seeded(11)
	for n := 1; n <= 300; n += 1 + n/4 {
		for _, limit := range []int{100, 101, 150, 1 << 30} {
			all := shards(n)
			sum := int64(0)
			for i := range all {
				all[i].Weight = 1 + rng.Uint32N(1000)
				sum += int64(all[i].Weight)
			}
			s := slots(t, sharding.SlotConfig{Shards: all, Slots: 256, CapPercent: limit})
			for _, m := range all {
				most := (256*int64(m.Weight)*int64(limit) + 100*sum - 1) / (100 * sum)
				got := int64(s.Share(m.ID) * 256)
				require.True(t, got <= most, "%d shards, cap %d: %s has %d, at most %d", n, limit, m.ID, got, most)
			}
		}
	}
}

// The placement with a cap is the stable matching: no slot and shard would
// both rather have each other. (Gale and Shapley: with slots proposing it is
// the one best for the slots, which the reference below computes naively.)
func TestCapIsTheStableMatching(t *testing.T) {
	rng := seeded(12)
	for round := range 20 {
		all := shards(2 + rng.IntN(8))
		for i := range all {
			all[i].Weight = 1 + rng.Uint32N(4)
		}
		cfg := sharding.SlotConfig{Shards: all, Slots: 64, CapPercent: 100 + rng.IntN(30)}
		want := naiveCapped(cfg)
		for i, id := range slots(t, cfg).All() {
			require.Equal(t, want[i], id, "round %d, slot %d", round, i)
		}
	}
}

// naiveCapped lets one slot at a time, the last first, ask shards in order of
// preference: the other order of work.
func naiveCapped(cfg sharding.SlotConfig) []sharding.ID {
	sum, room := 0, map[sharding.ID]int{}
	for _, s := range cfg.Shards {
		sum += int(s.Weight)
	}
	for _, s := range cfg.Shards {
		room[s.ID] = (cfg.Slots*int(s.Weight)*cfg.CapPercent + 100*sum - 1) / (100 * sum)
	}
	u := func(slot int, id sharding.ID) uint64 { return sharding.Draw(uint64(slot), sharding.String(string(id))) }
	result, asked := make([]sharding.ID, cfg.Slots), make([]int, cfg.Slots)
	held := map[sharding.ID][]int{}
	for free := []int{cfg.Slots - 1}; len(free) > 0; {
		x := free[len(free)-1]
		free = free[:len(free)-1]
		if asked[x] == 0 && x > 0 {
			free = append([]int{x - 1}, free...)
		}
		order := make([]sharding.ID, len(cfg.Shards))
		sharding.Rank(uint64(x), cfg.Shards, order)
		id := order[asked[x]]
		asked[x]++
		held[id] = append(held[id], x)
		slices.SortFunc(held[id], func(a, b int) int {
			if ua, ub := u(a, id), u(b, id); ua != ub {
				if ua > ub {
					return -1
				}
				return 1
			}
			return a - b
		})
		if len(held[id]) > room[id] {
			last := len(held[id]) - 1
			free = append(free, held[id][last])
			held[id] = held[id][:last]
		}
	}
	for id, all := range held {
		for _, x := range all {
			result[x] = id
		}
	}
	return result
}

func TestRankOrdersLikeTheSlots(t *testing.T) {
	all := weighted(12, 12)
	s := slots(t, sharding.SlotConfig{Shards: all, Slots: 512})
	dst := make([]sharding.ID, 3)
	for i, id := range s.All() {
		require.Equal(t, 3, sharding.Rank(uint64(i), all, dst))
		require.Equal(t, id, dst[0])
	}
	assert.Equal(t, 12, sharding.Rank(1, all, make([]sharding.ID, 20)))
	all[3].Drain = true
	assert.Equal(t, 11, sharding.Rank(1, all, make([]sharding.ID, 20)))
	assert.Equal(t, 0, sharding.Rank(1, all, nil))
	assert.Equal(t, 0, sharding.Rank(1, nil, dst))
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { sharding.Rank(1, all, dst) }))
}

// T13: weak hashes spread over the slots, and the keys of one slot still
// differ in their hashes' low and high bits.
func TestWeakHashesSpread(t *testing.T) {
	identity := func(n uint64) uint64 { return n }
	for name, step := range map[string]uint64{"by 1": 1, "by 8": 8, "by 4096": 4096, "by 2^40": 1 << 40} {
		s, err := sharding.NewSlots(identity, sharding.SlotConfig{Shards: shards(10)})
		require.NoError(t, err)
		counts := map[sharding.ID]int{}
		for i := range uint64(100_000) {
			id, _ := s.Owner(i * step)
			counts[id]++
		}
		for id, n := range counts {
			want := s.Share(id) * 100_000
			assert.InDelta(t, want, float64(n), 0.1*want, "%s: %s", name, id)
		}
	}
	s := slots(t, sharding.SlotConfig{Shards: shards(2), Slots: 2})
	var low, high [16]int
	for i := range 20_000 {
		if h := sharding.String(fmt.Sprint(i)); s.Slot(fmt.Sprint(i)) == 0 {
			low[h&15]++
			high[h>>60]++
		}
	}
	for i := range 16 {
		assert.InDelta(t, 625, float64(low[i]), 125)
		assert.InDelta(t, 625, float64(high[i]), 400, "the slot is the top bits of a product of h")
	}
}

func ownerLists(s *sharding.Slots[string]) [][]sharding.ID { return sharding.OwnerLists(s) }

func zoneOf(all []sharding.Shard, id sharding.ID) string {
	return all[slices.IndexFunc(all, func(s sharding.Shard) bool { return s.ID == id })].Zone
}

func requireSame(t *testing.T, a, b *sharding.Slots[string]) {
	t.Helper()
	require.Equal(t, ownerLists(a), ownerLists(b))
}
