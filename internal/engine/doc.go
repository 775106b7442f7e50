// Package engine starts real servers for tests, breaks them on purpose and
// leaves nothing behind. It is what testcontainers does, without containers:
// a redis-server, postgres or rabbitmq-server from the binaries on PATH, each
// on a free port of 127.0.0.1 with a directory of its own, up in one to five
// seconds.
//
//	db := engine.Postgres(t)               // skips when postgres is not installed
//	pool := open(db.URL())
//	require.NoError(t, db.Kill())          // SIGKILL, as a crash does
//	require.NoError(t, db.Restart(ctx))    // same port, same data
//	require.NoError(t, db.Pause())         // SIGSTOP: connections stay, nothing answers
//
// What a signal cannot do to a server, a [Proxy] in front of it does to the
// bytes: latency, a bandwidth limit, a stall of one direction or both, resets,
// half-open connections, refusals.
//
// # Two layers
//
// [Redis], [Postgres] and [RabbitMQ] take a test and fail, skip and clean up
// through it. [StartRedis], [StartPostgres] and [StartRabbitMQ] below them take
// a context and return errors, for programs that start an engine on request.
// [RedisReplica], [RedisSentinel] and [RedisCluster] are for tests alone.
//
// # Settings
//
// Servers keep the durability that an application relies on: Redis appends
// every write to its file and syncs it, Postgres runs with fsync and
// synchronous_commit on. Only initdb skips its syncs, since its result has to
// outlive a crash of the server and not of the machine.
//
// The environment variable KEELSON_ENGINES is empty or "required". Empty means
// that a test skips when its engine is not installed, "required" that it fails.
//
// # What outlives what
//
// Nothing outlives Close. When the program dies before it could close (a panic,
// a timeout of go test, SIGKILL), a shell that waits on a pipe from it notices
// and kills the servers; only the temporary directory stays. That works on
// every Unix. On other systems, where there are no process groups, starting an
// engine returns an error that matches [errors.ErrUnsupported]; the proxy works
// everywhere.
package engine
