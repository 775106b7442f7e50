// Package sharding decides which shard owns a key, and keeps that decision
// consistent over many processes while shards are added, split and moved.
//
// It is to several databases what a routing table is to several networks: a
// [Map] says who owns a key, by hash ([NewSlots]), by range ([NewRanges]), by
// number ([Buckets]) or by name ([Pin]); a [Router] answers by the map that is
// in force, numbered by an epoch; a [Guard] on the shard refuses what an
// outdated router sends. There is no proxy, no goroutine, and no opinion on
// which shards are alive: a shard that is down still owns its keys.
//
//	users, err := sharding.NewSlots(sharding.String, sharding.SlotConfig{
//		Shards: []sharding.Shard{{ID: "db-0"}, {ID: "db-1"}, {ID: "db-2"}},
//	})
//	...
//	router, err := sharding.NewRouter(sharding.Topology[string]{Epoch: 1, Map: users}, sharding.Config{})
//	...
//	rt, err := router.Route("user:42") // about 7 ns
//	db := databases[rt.Shard]
//
// # Which map
//
//   - Keys are looked up one by one: [NewSlots]. A member that joins or leaves
//     moves its own share and no other key; weights, zones, several owners and
//     a cap on the load are there.
//   - Neighbouring keys are read together: [NewRanges], with splits and merges.
//   - Shards have numbers, and new ones come at the end: [Buckets] over
//     [JumpBack].
//   - The data is placed already, by md5 modulo, a Redis Cluster or Vitess:
//     [Buckets] or [NewRanges] over package compat.
//   - Some keys need a place of their own: [Pin] in front of any of them.
//   - The key is composite, or hashes are placed by range: [By].
//
// # Change
//
// A change is a new [Topology] with a greater epoch: read the config of the
// present map, change it, make the next map, look at the [Plan] that Diff
// returns, and put the topology into a [Store] that routers Follow. Routers
// may learn of it late, twice or not at all for a while. Epochs put that in
// order, and each [Route] carries two: the one it was made under, and the one
// at which its own part of the keys changed last. So a Guard that has seen a
// change refuses old routes to what moved, and to nothing else.
//
// Keys move online in the order mirror, copy, block, commit, which [Topology]
// expresses: with a Mirror set, moving keys are written to both shards; Block
// holds their writes back while the last differences are copied; then Map and
// Mirror trade places. [Guard.Fence] tells when no call of before is left.
//
// # Frozen
//
// What places keys never changes: the hashes, the bucket functions, slots and
// their scores, in integers only, so that all platforms agree. Digests of a
// million lookups each stand in the tests. A better function gets a new name.
package sharding
