// Package cacheredis is the second layer of package cache on Redis 6.2 or newer:
// a [cache.Remote] and a [cache.Bus] for one node, Sentinel or Cluster.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
//	store, err := cacheredis.New(client, "users", cacheredis.Config{})
//	...
//	users, err := cache.New(cache.Config[string, User]{
//		Remote: store,
//		Bus:    store,
//		Load:   loadUser,
//	})
//
// # What is in Redis
//
// Each key of the cache is one string, name:key. It holds the value and the
// lease on it, so that whatever removes the one ends the other, an eviction too.
// Beside these there are the stamps of tags in the sorted set {name}:tags, and
// the log of invalidations in the stream {name}:bus. Nothing else is touched:
// clearing a cache stamps, it never flushes.
//
// When Redis loses the stamps (a restart without persistence, an eviction under
// allkeys-lru), that acts as a Clear. When it loses the log, every node notices
// within a second and checks what it has. When a failover loses the newest
// messages and their numbers are given out again, a node that comes back notices
// by the time in the id of its last message.
//
// # Round trips
//
// Reading or filling any number of keys is one trip, on a Cluster one per node
// at the same time. An invalidation and its message are one script on one node;
// on a Cluster the records go first and the message second, in two trips. With
// WaitReplicas it is one more.
//
// Scripts run by EVALSHA on primaries, whatever routing a Cluster client has for
// reads. One that the server does not know, because it was restarted or told
// SCRIPT FLUSH, is sent again whole, alone and in the middle of a pipeline.
//
// # Contexts
//
// go-redis looks at deadlines of contexts only if ContextTimeoutEnabled is set,
// and at cancellation never. Without that option each call has a goroutine, which
// may outlive the call by ReadTimeout; with it a call under a deadline has none,
// and ends at the deadline. A caller whose context is cancelled, not due, then
// waits for the answer or for Config.RemoteTimeout of the cache. A ClusterClient
// asks for the list of commands without a look at the caller's deadline, so that
// each call by it has the goroutine with the option too.
//
// Each Subscribe dials a connection of its own, with the options of the client
// and without its hooks: reads that block would hold connections of the pool.
package cacheredis
