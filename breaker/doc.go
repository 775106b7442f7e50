// Package breaker stops calls to a dependency that fails, hangs or says
// "later", and finds out safely when it is well again.
//
// It is a circuit breaker as in Nygard's "Release It!": a [Breaker] is closed
// while calls go well, opens when too many of them fail or are slow, and after
// a while lets a few probes decide whether it may close again.
//
//	b := breaker.New(breaker.Config{Name: "users"})
//
//	u, err := breaker.Do(ctx, b, func(ctx context.Context) (User, error) {
//		return client.User(ctx, id)
//	})
//	if errors.Is(err, breaker.ErrRejected) {
//		u, err = cached(id), nil
//	}
package breaker
