package retry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// The loop form keeps the caller's variables in reach, and break and return
// mean what they mean in any loop.
func ExamplePolicy_Attempts() {
	policy := &retry.Policy{Backoff: retry.Constant(time.Millisecond)}
	fetch := flaky(1)

	var name string
	var err error
	for a := range policy.Attempts(context.Background(), &err) {
		name, err = fetch(a.Context())
		fmt.Println("attempt", a.N(), "err:", err)
	}
	fmt.Println(name, err)
	// Output:
	// attempt 1 err: connection reset
	// attempt 2 err: <nil>
	// Ada <nil>
}

// numbers is a stream that breaks after every second item.
func numbers(ctx context.Context, after int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := after + 1; i <= after+2; i++ {
			if !yield(i, nil) {
				return
			}
		}
		yield(0, errors.New("stream broken"))
	}
}

// resuming reads numbers, and goes on after the last item when the stream breaks.
// Progress starts the attempts afresh with each item, so a long stream may break
// as often as it likes as long as each connection gets somewhere.
func resuming(ctx context.Context, p *retry.Policy) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		cursor := 0
		var err error
		for a := range p.Attempts(ctx, &err) {
			fmt.Println("connect after item", cursor)
			for item, failure := range numbers(a.Context(), cursor) {
				if failure != nil {
					err = failure
					break
				}
				a.Progress()
				cursor = item
				if !yield(item, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

// A stream that resumes after its last item is an iterator like any other.
func ExampleAttempt_Progress() {
	policy := &retry.Policy{MaxAttempts: 2, Backoff: retry.Constant(0)}
	for item, err := range resuming(context.Background(), policy) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(item)
		if item == 5 {
			break
		}
	}
	// Output:
	// connect after item 0
	// 1
	// 2
	// connect after item 2
	// 3
	// 4
	// connect after item 4
	// 5
}

// rejected stands for the error of an open circuit breaker.
type rejected struct{}

func (rejected) Error() string             { return "circuit open" }
func (rejected) Retryable() bool           { return false }
func (rejected) RetryAfter() time.Duration { return 20 * time.Millisecond }

// By default a breaker's rejection ends the call at once. A job that has the
// time may wait for the breaker instead.
func ExampleDefaultRetryable() {
	policy := &retry.Policy{Retryable: func(err error) bool {
		return errors.As(err, new(rejected)) || retry.DefaultRetryable(err)
	}}
	attempts := 0
	err := retry.Run(context.Background(), policy, func(context.Context) error {
		if attempts++; attempts == 1 {
			return rejected{}
		}
		return nil
	})
	fmt.Println(attempts, err)
	// Output: 2 <nil>
}

// One budget for all calls to one backend. In an outage the added load is what
// was saved up, and one retry per second, which is turned off here.
func ExampleNewBudget() {
	backend := retry.NewBudget(retry.BudgetConfig{Burst: 5, PerSecond: -1})
	policy := &retry.Policy{Backoff: retry.Constant(0), Budget: backend}

	attempts := 0
	var err error
	for range 1000 {
		err = retry.Run(context.Background(), policy, func(context.Context) error {
			attempts++
			return errors.New("connection refused")
		})
	}
	fmt.Println("attempts:", attempts)
	fmt.Println(err)
	fmt.Println("retries granted:", backend.Stats().Withdrawn)
	// Output:
	// attempts: 1005
	// retry: budget refused after 1 attempt: connection refused
	// retries granted: 5
}

// The settings of a gRPC service config: retryThrottling {maxTokens: 10,
// tokenRatio: 0.1}.
func ExampleNewThrottle() {
	throttle := retry.NewThrottle(10, 0.1)
	for range 5 {
		throttle.Failure(1, errors.New("unavailable"))
	}
	fmt.Println(throttle.Stats().Available, throttle.Withdraw(1, nil))
	throttle.Success(1)
	fmt.Println(throttle.Stats().Available, throttle.Withdraw(1, nil))
	// Output:
	// 5 false
	// 5.1 true
}

// costly is a budget of one's own: the retry of a timeout costs five times as
// much, for the backend may still be busy with the attempt before.
type costly struct{ *retry.TokenBudget }

func price(err error) int {
	if errors.Is(err, context.DeadlineExceeded) {
		return 5
	}
	return 1
}

func (c costly) Withdraw(n int, err error) bool {
	for paid := range price(err) {
		if !c.TokenBudget.Withdraw(n, err) {
			for range paid {
				c.TokenBudget.Refund(n, err)
			}
			return false
		}
	}
	return true
}

func (c costly) Refund(n int, err error) {
	for range price(err) {
		c.TokenBudget.Refund(n, err)
	}
}

func ExampleBudget() {
	policy := &retry.Policy{
		Backoff: retry.Constant(0),
		Budget:  costly{retry.NewBudget(retry.BudgetConfig{Burst: 6, PerSecond: -1})},
	}
	for _, failure := range []error{context.DeadlineExceeded, errors.New("connection reset")} {
		attempts := 0
		err := retry.Run(context.Background(), policy, func(context.Context) error {
			attempts++
			return failure
		})
		fmt.Println(attempts, errors.Is(err, retry.ErrBudget))
	}
	// Output:
	// 2 true
	// 2 true
}
