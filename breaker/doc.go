// Package breaker stops calls to a dependency that fails, hangs or says
// "later", and finds out safely when it is well again.
//
// It is the circuit breaker of Nygard's "Release It!", as hystrix and
// resilience4j made it known, with permits that cannot leak: whatever a call
// does, panic, exit, hang or never report, the breaker recovers.
//
//	b := breaker.New(breaker.Config{Name: "users"})
//
//	u, err := breaker.Do(ctx, b, func(ctx context.Context) (User, error) {
//		return client.User(ctx, id)
//	})
//	if errors.Is(err, breaker.ErrRejected) {
//		u, err = cached(id), nil
//	}
//
// # States
//
// A [Breaker] is closed while calls go well. It opens when the share of failed
// or slow calls in a window reaches a limit, or after so many failures in a
// row. Open, it refuses every call, in 30 ns, for a time that doubles with
// each failed recovery. The first call after that is a probe: while it runs
// all others are refused, and its outcome closes the breaker or opens it
// again.
//
// # Outcomes
//
// A call is a [Success], a [Failure], or [Ignored] because it says nothing
// about the dependency: its caller left, or a gate further in refused it.
// [Config.Classify] has the last word. Nothing that was not called is ever in
// a rate.
//
// # Periods
//
// The time from one change of state to the next is a period. Counters and
// permits belong to their period. A call that began before the breaker opened
// and ends in the middle of its recovery is counted as stale, and can neither
// close the breaker nor free a probe.
//
// # Gates
//
// A breaker is a [Gate], and so are the limits of package limit: whatever
// admits calls works with [Do], [Run] and the HTTP layer of package
// breakerhttp.
package breaker
