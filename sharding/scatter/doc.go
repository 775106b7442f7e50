// Package scatter calls several shards at once and gathers their answers: [Do]
// asks shards by name, [Get] fetches many keys from the shards that own them,
// [Pool] keeps a client per shard.
//
// It is to shards what errgroup is to goroutines, except that no answer is
// lost: each shard has a [Result], and an incomplete answer is a
// [*PartialError] that names what is missing. Every call has returned before
// Do and Get return; f must end when its ctx does.
//
//	results, err := scatter.Do(ctx, topology.Map.Shards(), scatter.Config{Timeout: time.Second},
//		func(ctx context.Context, id sharding.ID) (int, error) { return count(ctx, id) })
package scatter
