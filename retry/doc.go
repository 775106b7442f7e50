// Package retry calls a function again when that can help and is safe, waits
// the right time in between, and stops early with an error that says why.
//
// The nearest thing that you know is a for loop with a time.Sleep. The
// differences are the cases in which that loop does harm: it sleeps although
// its deadline comes first, it returns in step with a thousand others, it
// multiplies the load of a backend that is already down, and it hides which
// failure was the last.
//
//	policy := &retry.Policy{MaxAttempts: 5}
//	user, err := retry.Do(ctx, policy, func(ctx context.Context) (User, error) {
//		return client.User(ctx, id)
//	})
//
// A nil *Policy is good to start with: three attempts, with a random wait of
// at most 100 ms, then 200 ms, between them.
//
// # What is retried
//
// Everything but [context.Canceled], unless the error says otherwise. Mark it
// with [Permanent] where a retry cannot help, or with [After] where the server
// said when to come back. Errors of other packages take part by behaviour: a
// method Retryable() bool decides, and a method RetryAfter() time.Duration is
// obeyed; neither side imports the other. [Policy.Retryable] replaces this
// rule for errors that bear no mark.
//
// # What a call returns
//
// The value and nil; or the function's own error, untouched, when a retry
// cannot help, so that err == io.EOF holds; or an [*Error] when the failure
// was worth a retry but retrying stopped. That one matches both the failure
// and the reason, by errors.Is:
//
//	ErrExhausted              MaxAttempts calls failed
//	ErrElapsed                the next attempt would start after MaxElapsed
//	ErrBudget                 the Budget refused
//	ErrRetryAfter             the server asked for more than MaxRetryAfter
//	context.DeadlineExceeded  the wait does not fit the deadline: nothing is slept
//	context.Cause(ctx)        ctx ended
//
// An outer loop does not repeat what an inner one gave up: three loops of four
// attempts would make 64 calls out of one. To retry it all the same, return
// the inner error's Err.
//
// # The wait
//
// A [Backoff] is a pure function of the failure's number, the wait before it
// and a random draw. What a server asks for (see [After]) is a minimum: the
// call comes never earlier, and up to a tenth later, so that callers told the
// same instant do not come back as a herd.
//
// # Order
//
// Nest by hand, outermost first: a fallback around retry around the breaker
// around the call, with AttemptTimeout as the limit of each attempt. Then the
// breaker sees every attempt, and a breaker that is open ends the call at once:
// its rejection has Retryable() == false.
//
// # Cost
//
// A success at once costs about 6 ns and allocates nothing, with a Budget too;
// a failure that is retried without a wait about 25 ns; a call that waits makes
// one timer, however often it waits.
package retry
