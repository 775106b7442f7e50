// Package cache keeps values of a slow source near the caller: L1 in the process,
// L2 (Redis) shared by all nodes, a loader behind both.
//
// It is to a database what a CPU's caches are to memory: layers that one need not
// think about, because they stay coherent. Its promise is that an acknowledged
// invalidation is never followed by a hit of something read before it, in L1, in L2
// and on every node that has applied the message.
//
//	users, err := cache.New(cache.Config[string, User]{
//		Load:   func(ctx context.Context, id string) (User, error) { return db.User(ctx, id) },
//		Policy: cache.Policy{TTL: time.Hour, Stale: time.Minute, StaleIfError: time.Hour},
//		Remote: store, Bus: store, // cacheredis.New; without them a cache of this process
//	})
//	...
//	user, err := users.Get(ctx, "42")      // L1, Redis, the database
//	...
//	err = users.Invalidate(ctx, "42")      // after a write: on all nodes
//
// # What a Get finds in L1
//
//   - Fresh: the value. With Policy.Early some readers refresh it ahead of time.
//   - Past TTL, within Stale: the value, while one refresh per cluster runs.
//   - Later, or after Expire, within StaleIfError: a load; the value if that fails
//     or takes longer than SoftTimeout.
//   - A marker "absent": ErrNotFound.
//   - Suspect, since messages were missed: one conditional read of the Remote. Equal
//     versions are trusted again.
//   - Nothing: the Remote, then the loader, together with all who want the key.
//
// # How a load ends
//
//   - With a value: in L1 and L2, unless an invalidation or a Set came in between;
//     then it is delivered to those who waited and stored nowhere.
//   - With ErrNotFound: old copies go, even within StaleIfError.
//   - With an error: the old copy within StaleIfError, else a [*LoadError].
//   - At LoadTimeout: callers return; what comes late is stored if still true.
//   - With a panic: a [*PanicError] panics in each waiter.
//   - A caller whose ctx ends leaves alone; the last one cancels the load.
//
// # Guarantees
//
// Whatever will be stored is registered before its first I/O, so an invalidation
// finds and fences it. A fill of L2 must show the token of a lease that every
// invalidation ends (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013).
// InvalidateTags and Clear are generations: a fill carries the counter of before
// its load, and is dead where one of its tags has a later stamp. The Bus numbers
// its messages, so a node notices that it has missed one, distrusts what it has
// read before, and checks it entry by entry. A node that hears nothing trusts L1
// for MaxLag.
//
// Three failed calls put the Remote down. Then requests cost what they cost
// without it, loads are bounded by OutageLoads, invalidations return ErrPending,
// and one goroutine replays them before anybody reads the Remote again.
//
// # Not promised
//
//   - Pending invalidations of a process that dies are lost. Where that matters,
//     write them into the database's own transaction, as package
//     eventsource/messaging/outbox does with messages.
//   - A Redis failover loses writes that it had acknowledged; WaitReplicas of
//     package cacheredis makes that less likely.
//   - A loader that reads a lagging replica puts its old value into the cache.
//   - What browsers and other people's CDNs keep is beyond reach.
//   - Between the write to the source and the return of Invalidate or Set, a reader
//     may get the new value and the next reader the old one: a fenced load delivers
//     what it read to those who waited, and L1 is a hit until the write is over.
//   - Two nodes that Set one key at once may leave L2 with the value that the source
//     had first. Where several write, write the source and Invalidate.
package cache
