package sharding

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keelson-go/keelson/sharding"
)

func build(t *rapid.T, cfg sharding.SlotConfig) *sharding.Slots[string] {
	s, err := sharding.NewSlots(sharding.String, cfg)
	require.NoError(t, err)
	return s
}

func table(s *sharding.Slots[string]) (owners []sharding.ID) {
	for _, id := range s.All() {
		owners = append(owners, id)
	}
	return owners
}

// slotsModel changes a config as operators do.
type slotsModel struct {
	cfg  sharding.SlotConfig
	next int
}

func (m *slotsModel) pick(t *rapid.T) *sharding.Shard {
	return &m.cfg.Shards[rapid.IntRange(0, len(m.cfg.Shards)-1).Draw(t, "shard")]
}

func (m *slotsModel) live() (n int) {
	for _, s := range m.cfg.Shards {
		if !s.Drain {
			n++
		}
	}
	return n
}

func (m *slotsModel) add(t *rapid.T) {
	m.next++
	m.cfg.Shards = append(m.cfg.Shards, sharding.Shard{
		ID:     sharding.ID(fmt.Sprintf("s%d", m.next)),
		Weight: rapid.Uint32Range(0, 5).Draw(t, "weight"),
		Zone:   rapid.SampledFrom([]string{"", "north", "south"}).Draw(t, "zone"),
	})
}

func (m *slotsModel) remove(t *rapid.T) {
	s := *m.pick(t)
	if m.live() == 1 && !s.Drain || len(m.cfg.Assigned) > 0 {
		t.Skip("needed")
	}
	m.cfg.Shards = slices.DeleteFunc(m.cfg.Shards, func(o sharding.Shard) bool { return o.ID == s.ID })
}

func (m *slotsModel) reweight(t *rapid.T) {
	m.pick(t).Weight = rapid.Uint32Range(1, 9).Draw(t, "weight")
}

func (m *slotsModel) drain(t *rapid.T) {
	if s := m.pick(t); s.Drain || m.live() > 1 {
		s.Drain = !s.Drain
	}
}

func (m *slotsModel) assign(t *rapid.T) {
	from := rapid.IntRange(0, 63).Draw(t, "from")
	to := rapid.IntRange(from+1, 64).Draw(t, "to")
	m.cfg.Assigned = nil
	if rapid.Bool().Draw(t, "any") {
		m.cfg.Assigned = []sharding.Range[int]{sharding.Between(from, to, m.pick(t).ID)}
	}
}

func (m *slotsModel) limit(t *rapid.T) {
	m.cfg.CapPercent = rapid.SampledFrom([]int{0, 100, 105, 150}).Draw(t, "cap")
}

func (m *slotsModel) copies(t *rapid.T) {
	m.cfg.Owners = rapid.IntRange(0, 4).Draw(t, "owners")
}

// TestSlotsHistories drives members in and out, weights, drains, assignments,
// caps and the number of owners. After each change all owners are those of a
// slow reference, Diff applied gives next, Reverse restores, Held keeps
// everything where it was, and neither JSON nor the order of members nor
// history matters.
func TestSlotsHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &slotsModel{cfg: sharding.SlotConfig{Slots: 64}}
		m.add(t)
		before := build(t, m.cfg)
		t.Repeat(map[string]func(*rapid.T){
			"add": m.add, "remove": m.remove, "reweight": m.reweight, "drain": m.drain, "assign": m.assign,
			"limit": m.limit, "copies": m.copies,
			"": func(t *rapid.T) {
				after := build(t, m.cfg)
				m.checkOwners(t, after)
				m.checkPlan(t, before, after)
				m.checkStored(t, after)
				before = after
			},
		})
	})
}

func (m *slotsModel) checkOwners(t *rapid.T, s *sharding.Slots[string]) {
	ref := newPlacement(m.cfg)
	for slot, first := range s.All() {
		require.Equal(t, ref.firsts[slot], first, "slot %d", slot)
		owners := make([]sharding.ID, max(1, m.cfg.Owners))
		n, err := s.Owners(keyOf(s, slot), owners)
		require.Equal(t, ref.owners(slot, len(owners)), owners[:n], "slot %d", slot)
		require.Equal(t, n < len(owners), err != nil)
	}
}

func (m *slotsModel) checkPlan(t *rapid.T, before, after *sharding.Slots[string]) {
	plan, err := before.Diff(after)
	require.NoError(t, err)
	owners := table(before)
	for _, p := range []struct {
		plan sharding.Plan[int]
		want []sharding.ID
	}{{plan, table(after)}, {plan.Reverse(), table(before)}} {
		for _, move := range p.plan {
			require.Equal(t, move.Keys.Owner, owners[*move.Keys.From])
			owners[*move.Keys.From] = move.To
		}
		require.Equal(t, p.want, owners)
	}
	// What is held stays; givers that left must be members for that, drained.
	held := after.Config()
	for _, id := range before.Shards() {
		if !slices.Contains(after.Shards(), id) {
			held.Shards = append(held.Shards, sharding.Shard{ID: id, Drain: true})
		}
	}
	if held.Assigned == nil {
		held.Assigned = plan.Held()
		require.Equal(t, table(before), table(build(t, held)))
	}
}

func (m *slotsModel) checkStored(t *rapid.T, s *sharding.Slots[string]) {
	doc, err := json.Marshal(s.Config())
	require.NoError(t, err)
	var cfg sharding.SlotConfig
	require.NoError(t, json.Unmarshal(doc, &cfg))
	require.Equal(t, s.Config(), cfg)
	cfg.Shards = rapid.Permutation(cfg.Shards).Draw(t, "order")
	require.Equal(t, table(s), table(build(t, cfg)))
}
