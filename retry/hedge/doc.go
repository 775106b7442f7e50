// Package hedge cuts tail latency: when a call takes longer than most, it makes
// the same call again beside it, takes the first success and cancels the rest.
//
// The nearest thing that you know is a call in a goroutine, a timer and a
// select. The differences are what that leaves open: the call runs on the
// caller's own goroutine as long as it is quick, nothing is left running when
// Do returns, each result that came second is handed back to be closed, a panic
// in an extra call does not end the process, and a budget bounds the extra load.
//
//	policy := &hedge.Policy{Latency: hedge.NewLatency(0.95)}
//	page, err := hedge.Do(ctx, policy, func(ctx context.Context) (Page, error) {
//		return replicas[hedge.Index(ctx)%len(replicas)].Page(ctx, id)
//	}, nil)
//
// Hedge what may be done twice, above all reads. The idea and its effect are
// described in Dean and Barroso, "The Tail at Scale", CACM 56 (2013); the rules
// for failures and throttling follow gRPC's proposal A6.
//
// # Failures
//
// A failure that is worth a retry is replaced at once, not after the delay. One
// that says when to come back, by a method RetryAfter() time.Duration, starts
// nothing and ends nothing: what runs goes on. Any other failure ends the call.
// If all attempts fail, Do returns what the first one returned, so that a retry
// loop around it may go on; see [Policy.Nested] for how they share a budget.
//
// # Cost
//
// A first call that is quick enough costs a context and a timer, less than a
// microsecond. The delay wants to be a high quantile of the latency: at 0.95
// one call in twenty is made twice, at the median one in two.
package hedge
