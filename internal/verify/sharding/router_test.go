package sharding

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keelson-go/keelson/sharding"
)

// fate is all about a key that a route tells, and when it last changed.
type fate struct {
	owner, mirror sharding.ID
	read, block   bool
	since         uint64
}

// TestSinceIsNeverTooLow installs random topologies of pins over ranges, with
// mirrors, reads and blocks, and keeps for each key when its fate last changed.
// A Since below that would admit a stale write; one above costs a refresh, and
// must come from a neighbour in the same part.
func TestSinceIsNeverTooLow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newRangesModel(t)
		pins := map[int]sharding.ID{}
		epoch := uint64(1)
		topology := sharding.Topology[int]{Epoch: epoch, Map: pinned(t, pins, m.real)}
		r, err := sharding.NewRouter(topology, sharding.Config{})
		require.NoError(t, err)
		var fates [space]fate
		note := func(t *rapid.T) {
			for k := range space {
				was := fates[k]
				f := fate{since: was.since}
				f.owner, _ = topology.Map.Owner(k)
				if topology.Mirror != nil {
					if mirror, _ := topology.Mirror.Owner(k); mirror != f.owner && mirror != "" {
						f.mirror, f.read, f.block = mirror, topology.ReadMirror, topology.Block
					}
				}
				if f != was {
					f.since = epoch
				}
				fates[k] = f
				requireRoute(t, r, k, f, epoch)
			}
		}
		note(t)
		t.Repeat(map[string]func(*rapid.T){
			"split": m.split, "merge": m.merge, "move": m.move,
			"pin":   func(t *rapid.T) { pins[rapid.IntRange(0, space-1).Draw(t, "pin")] = owner.Draw(t, "to") },
			"unpin": func(t *rapid.T) { delete(pins, rapid.IntRange(0, space-1).Draw(t, "pin")) },
			"": func(t *rapid.T) {
				epoch += rapid.Uint64Range(1, 3).Draw(t, "epoch")
				topology = sharding.Topology[int]{Epoch: epoch, Map: pinned(t, pins, m.real)}
				if rapid.Bool().Draw(t, "mirrored") {
					other := *m
					other.bounds = map[int]bool{}
					for b := range m.bounds {
						other.bounds[b] = true
					}
					other.move(t)
					topology.Mirror = pinned(t, pins, other.real)
					topology.ReadMirror, topology.Block = rapid.Bool().Draw(t, "read"), rapid.Bool().Draw(t, "block")
				}
				require.NoError(t, r.Install(topology))
				note(t)
			},
		})
	})
}

func pinned(t *rapid.T, pins map[int]sharding.ID, next *sharding.Ranges[int]) sharding.Map[int] {
	m, err := sharding.Pin(pins, sharding.Map[int](next))
	require.NoError(t, err)
	return m
}

func requireRoute(t *rapid.T, r *sharding.Router[int], key int, f fate, epoch uint64) {
	rt, err := r.Route(key)
	if f.owner == "" {
		require.ErrorIs(t, err, sharding.ErrNoOwner)
		return
	}
	require.NoError(t, err)
	require.Equal(t, f.owner, rt.Shard)
	require.Equal(t, f.mirror, rt.Mirror())
	require.Equal(t, f.block, rt.Blocked())
	if f.read {
		require.Equal(t, f.mirror, rt.Reader())
	} else {
		require.Equal(t, f.owner, rt.Reader())
	}
	require.Equal(t, epoch, rt.Epoch)
	require.GreaterOrEqual(t, rt.Since(), f.since, "key %d: a stale write would be admitted", key)
	require.LessOrEqual(t, rt.Since(), epoch)
}
