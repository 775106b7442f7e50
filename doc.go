// Package keelson is the root of a library of resilience and distribution
// patterns. It holds no code: import the package that you need, each of which
// stands alone.
//
//   - [github.com/keelson-go/keelson/breaker] stops calls to a dependency that
//     fails or hangs, and finds out safely when it is well again.
//   - [github.com/keelson-go/keelson/retry] calls a function again when that can
//     help, waits the right time, and says why it stopped.
//   - [github.com/keelson-go/keelson/sharding] decides which shard owns a key,
//     and fences routers that have not heard of a change.
//   - [github.com/keelson-go/keelson/eventsource] keeps what happened in an order
//     that can be asked, decided on and projected, at any point in time: in
//     memory, in files ([github.com/keelson-go/keelson/eventsource/eventfile]), in
//     Postgres or SQLite ([github.com/keelson-go/keelson/eventsource/eventsql]).
//   - [github.com/keelson-go/keelson/eventsource/messaging] carries events and tasks
//     between services: in memory, through Redis, Kafka or RabbitMQ, and out of a
//     database transaction
//     ([github.com/keelson-go/keelson/eventsource/messaging/outbox]).
//   - [github.com/keelson-go/keelson/eventsource/cqrs] finds the handler of a command
//     or a query by its type.
//   - [github.com/keelson-go/keelson/cache] keeps values near the caller, in the
//     process and in a store that all nodes share, and stays coherent.
//   - [github.com/keelson-go/keelson/saga] runs steps in several places to the end,
//     or undoes them, whatever crashes.
//
// They compose by plain nesting, outermost first:
//
//	v, err := retry.Do(ctx, policy, func(ctx context.Context) (T, error) {
//		return breaker.Do(ctx, b, call)
//	})
//
// Packages never import each other and link the standard library alone, sharding
// xxhash and those for Redis go-redis as well. They understand each other through two optional methods of an
// error, Retryable() bool and RetryAfter() time.Duration: a breaker's rejection
// says that a retry cannot help now, and when to come back.
package keelson
