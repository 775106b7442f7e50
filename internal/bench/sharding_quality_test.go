package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/sharding"
)

// What a placement is worth besides its speed: how even it is, what a change
// moves, and who inherits from a shard that fails. The gates are exact, since
// placements are. "go test -v -run ShardingQuality ." prints the table.
func TestShardingQuality(t *testing.T) {
	var table strings.Builder
	table.WriteString("| shards | max/avg | with cap 105 | moved by one more, of 1/(n+1) | needless | needless with cap 105 | load after a failure, max/fair | buraksezer: max/avg | buraksezer: needless |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, gate := range []struct {
		shards                    int
		maxAvg, moved, afterwards float64
	}{{8, 1.05, 1.1, 0}, {20, 1.10, 1.1, 1.15}, {64, 1.25, 1.2, 1.25}} {
		plain, capped := quality(gate.shards, 0), quality(gate.shards, 105)
		assert.LessOrEqual(t, plain.maxAvg, gate.maxAvg)
		assert.LessOrEqual(t, capped.maxAvg, 1.05+float64(gate.shards)/16384, "the cap and one slot")
		assert.LessOrEqual(t, plain.moved, gate.moved)
		assert.Zero(t, plain.needless)
		assert.LessOrEqual(t, float64(capped.needless), 0.002*16384)
		after := afterFailure(gate.shards)
		if gate.afterwards > 0 {
			assert.LessOrEqual(t, after, gate.afterwards)
		}
		peerMax, peerNeedless := ringQuality(gate.shards)
		fmt.Fprintf(&table, "| %d | %.3f | %.3f | %.3f | %d | %d of 16384 | %.3f | %.3f | %d of 271 |\n",
			gate.shards, plain.maxAvg, capped.maxAvg, plain.moved, plain.needless, capped.needless, after, peerMax, peerNeedless)
	}
	inherited := worstHeir(20, 1<<16)
	assert.LessOrEqual(t, inherited, 1.5)
	fmt.Fprintf(&table, "\nOne failure of 20 shards with 65,536 slots: the worst heir gets %.2f of its fair part.\n", inherited)
	kib := retained()
	assert.LessOrEqual(t, kib, 256.0)
	fmt.Fprintf(&table, "Retained per topology, 64 shards and 3 owners: %.0f KiB.\n", kib)
	t.Log("\n" + table.String())
}

type figures struct {
	maxAvg   float64 // slots of the fullest shard, over the average
	moved    float64 // slots that move when one joins, over 1/(n+1) of all
	needless int     // of these, to another than the one that joins, the most over join and leave and reweight
}

func quality(n, limit int) (q figures) {
	cfg := sharding.SlotConfig{Shards: shardList(n), CapPercent: limit}
	s := slotsOf(cfg)
	for _, m := range cfg.Shards {
		q.maxAvg = max(q.maxAvg, s.Share(m.ID)*float64(n))
	}
	more := cfg
	more.Shards = shardList(n + 1)
	joined := must(s.Diff(slotsOf(more)))
	q.moved = float64(len(joined)) * float64(n+1) / 16384
	heavier := cfg
	heavier.Shards = shardList(n)
	heavier.Shards[n/2].Weight = 2
	for changed, plan := range map[sharding.ID]sharding.Plan[int]{
		more.Shards[n].ID:           joined,
		heavier.Shards[n/2].ID:      must(s.Diff(slotsOf(heavier))),
		more.Shards[n].ID + "-gone": must(slotsOf(more).Diff(s)),
	} {
		needless := 0
		for _, m := range plan {
			id := sharding.ID(strings.TrimSuffix(string(changed), "-gone"))
			if m.To != id && m.Keys.Owner != id {
				needless++
			}
		}
		q.needless = max(q.needless, needless)
	}
	return q
}

// afterFailure is the load of the fullest survivor when the slots of one shard
// go to their second owners, over the fair share, for the worst shard to lose.
func afterFailure(n int) (worst float64) {
	first, second := pairs(n, 16384)
	for _, lost := range shardList(n) {
		load := map[sharding.ID]int{}
		for i := range first {
			if first[i] != lost.ID {
				load[first[i]]++
			} else {
				load[second[i]]++
			}
		}
		for _, got := range load {
			worst = max(worst, float64(got)*float64(n-1)/16384)
		}
	}
	return worst
}

// worstHeir is the largest part of a failed shard's slots that one survivor
// inherits, over the fair part.
func worstHeir(n, slots int) (worst float64) {
	first, second := pairs(n, slots)
	owned, inherits := map[sharding.ID]int{}, map[[2]sharding.ID]int{}
	for i := range first {
		owned[first[i]]++
		inherits[[2]sharding.ID{first[i], second[i]}]++
	}
	for pair, got := range inherits {
		worst = max(worst, float64(got)*float64(n-1)/float64(owned[pair[0]]))
	}
	return worst
}

// pairs are the first two owners of every slot. A key with the identity hash
// and the slot's number in front has that slot.
func pairs(n, slots int) (first, second []sharding.ID) {
	cfg := sharding.SlotConfig{Shards: shardList(n), Slots: slots, Owners: 2}
	s := must(sharding.NewSlots(func(h uint64) uint64 { return h }, cfg))
	first, second = make([]sharding.ID, slots), make([]sharding.ID, slots)
	var two [2]sharding.ID
	for key, left := uint64(0), slots; left > 0; key++ {
		if at := s.Slot(key); first[at] == "" {
			must(s.Owners(key, two[:]))
			first[at], second[at] = two[0], two[1]
			left--
		}
	}
	return first, second
}

// ringQuality is the same for buraksezer/consistent with its defaults: the
// fullest member over the average, and partitions that move between old
// members when one joins.
func ringQuality(n int) (maxAvg float64, needless int) {
	before, after := ring(n), ring(n+1)
	for _, load := range before.LoadDistribution() {
		maxAvg = max(maxAvg, load*float64(n)/271)
	}
	joined := fmt.Sprintf("node-%d", n)
	for i := range 271 {
		was, is := before.GetPartitionOwner(i).String(), after.GetPartitionOwner(i).String()
		if was != is && is != joined {
			needless++
		}
	}
	return maxAvg, needless
}

// retained is what a router holds for one topology, in KiB.
func retained() float64 {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 20
	before := heap()
	routers := make([]*sharding.Router[string], n)
	for i := range routers {
		routers[i] = routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(64), Owners: 3}))
	}
	after := heap()
	runtime.KeepAlive(routers)
	return float64(after-before) / n / 1024
}

// The workloads must do what they claim: every shard is an owner of some key.
func TestShardingWorkloads(t *testing.T) {
	r := routerOf(slotsOf(sharding.SlotConfig{Shards: shardList(shardingShards)}))
	owners := map[sharding.ID]bool{}
	for _, key := range textKeys {
		rt, err := r.Route(key)
		require.NoError(t, err)
		owners[rt.Shard] = true
	}
	assert.Len(t, owners, shardingShards)
	assert.Len(t, textKeys[0], 12)
}
