package sharding

import (
	"fmt"
	"slices"

	"github.com/keelson-go/keelson/sharding"
)

// placement is the slow, obvious way to place slots: every slot asks Rank for
// the shards in its order of preference.
type placement struct {
	cfg    sharding.SlotConfig
	zones  map[sharding.ID]string
	ranks  [][]sharding.ID // by slot, the best first
	firsts []sharding.ID
}

func newPlacement(cfg sharding.SlotConfig) *placement {
	p := &placement{cfg: cfg, zones: map[sharding.ID]string{}}
	for _, s := range cfg.Shards {
		if p.zones[s.ID] = s.Zone; s.Zone == "" {
			p.zones[s.ID] = "alone: " + string(s.ID)
		}
	}
	for slot := range cfg.Slots {
		rank := make([]sharding.ID, len(cfg.Shards))
		p.ranks = append(p.ranks, rank[:sharding.Rank(uint64(slot), cfg.Shards, rank)])
	}
	p.propose()
	for _, r := range cfg.Assigned {
		for slot := *r.From; slot < *r.To; slot++ {
			p.firsts[slot] = r.Owner
		}
	}
	return p
}

// propose has slots without an owner ask the next shard in their order, which
// keeps those it likes best, up to its cap. Whoever asks first, all end with
// the same owner (Gale and Shapley 1962).
func (p *placement) propose() {
	p.firsts = make([]sharding.ID, p.cfg.Slots)
	asked, kept := make([]int, p.cfg.Slots), map[sharding.ID][]int{}
	for slot := 0; slot < p.cfg.Slots; {
		if p.firsts[slot] != "" {
			slot++
			continue
		}
		id := p.ranks[slot][asked[slot]]
		asked[slot]++
		p.firsts[slot] = id
		kept[id] = append(kept[id], slot)
		if len(kept[id]) <= p.most(id) {
			continue
		}
		slices.SortFunc(kept[id], func(a, b int) int { return p.likes(id, a, b) })
		out := kept[id][len(kept[id])-1]
		kept[id] = kept[id][:len(kept[id])-1]
		p.firsts[out] = ""
		slot = min(slot, out)
	}
}

// most is ceil(Slots * weight * cap / (100 * sum)), or all without a cap.
func (p *placement) most(id sharding.ID) int {
	if p.cfg.CapPercent == 0 {
		return p.cfg.Slots
	}
	weight, sum := 0, 0
	for _, s := range p.cfg.Shards {
		if s.Drain {
			continue
		}
		sum += int(max(1, s.Weight))
		if s.ID == id {
			weight = int(max(1, s.Weight))
		}
	}
	return (p.cfg.Slots*weight*p.cfg.CapPercent + 100*sum - 1) / (100 * sum)
}

// likes orders two slots by what the shard bids for them, then by number.
func (p *placement) likes(id sharding.ID, a, b int) int {
	hash := sharding.String(string(id))
	ua, ub := scramble(scramble(uint64(a)+step)^hash), scramble(scramble(uint64(b)+step)^hash)
	switch {
	case ua > ub || ua == ub && a < b:
		return -1
	default:
		return 1
	}
}

const step = 0x9e3779b97f4a7c15

// scramble is the finaliser of SplitMix64.
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// owners returns up to n owners of a slot: the first one, then again and again
// the best of those whose zone has the fewest.
func (p *placement) owners(slot, n int) []sharding.ID {
	owners := []sharding.ID{p.firsts[slot]}
	for len(owners) < n {
		used := map[string]int{}
		for _, id := range owners {
			used[p.zones[id]]++
		}
		best := sharding.ID("")
		for _, id := range p.ranks[slot] {
			if !slices.Contains(owners, id) && (best == "" || used[p.zones[id]] < used[p.zones[best]]) {
				best = id
			}
		}
		if best == "" {
			break
		}
		owners = append(owners, best)
	}
	return owners
}

// keysOfSlots has a key for each of 64 slots.
var keysOfSlots = map[int]string{}

func keyOf(s *sharding.Slots[string], slot int) string {
	for i := 0; keysOfSlots[slot] == ""; i++ {
		key := fmt.Sprint("key-", i)
		keysOfSlots[s.Slot(key)] = key
	}
	return keysOfSlots[slot]
}
