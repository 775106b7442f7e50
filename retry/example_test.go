package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// flaky stands for a remote service that fails the given number of times.
func flaky(failures int) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		if failures--; failures >= 0 {
			return "", errors.New("connection reset")
		}
		return "Ada", nil
	}
}

// A service that drops the first connection is asked again. One that stays down
// gives an error that says what failed and why retrying stopped.
func Example() {
	ctx := context.Background()
	policy := &retry.Policy{
		MaxAttempts:    4,
		AttemptTimeout: 500 * time.Millisecond,
		Backoff:        retry.FullJitter(time.Millisecond, time.Second),
	}

	name, err := retry.Do(ctx, policy, flaky(1))
	fmt.Println(name, err)

	_, err = retry.Do(ctx, policy, flaky(10))
	fmt.Println(err)
	fmt.Println(errors.Is(err, retry.ErrExhausted))
	// Output:
	// Ada <nil>
	// retry: attempts exhausted after 4 attempts: connection reset
	// true
}

// What README.md shows: a budget for the backend and a limit for each attempt.
func Example_service() {
	policy := &retry.Policy{
		MaxAttempts:    4,
		AttemptTimeout: 500 * time.Millisecond,
		Budget:         retry.NewBudget(retry.BudgetConfig{}), // one per backend
	}
	calls := 0
	user, err := retry.Do(context.Background(), policy, func(context.Context) (string, error) {
		if calls++; calls == 1 {
			return "", errors.New("connection reset")
		}
		return "Ada", nil
	})
	fmt.Println(user, err)
	// Output: Ada <nil>
}

func ExampleDo() {
	name, err := retry.Do(context.Background(), nil, func(ctx context.Context) (string, error) {
		return "Ada", nil
	})
	fmt.Println(name, err)
	// Output: Ada <nil>
}

func ExampleRun() {
	policy := &retry.Policy{Backoff: retry.Constant(0)}
	attempts := 0
	err := retry.Run(context.Background(), policy, func(ctx context.Context) error {
		if attempts++; attempts < 3 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	fmt.Println(attempts, err)
	// Output: 3 <nil>
}

// Each wait is one line in the log, the end another one.
func ExampleEvent() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	policy := &retry.Policy{
		Backoff: retry.Constant(time.Millisecond),
		OnEvent: func(ctx context.Context, e retry.Event) {
			if e.Last {
				log.InfoContext(ctx, "done", "attempts", e.N, "err", e.Err)
				return
			}
			log.WarnContext(ctx, "retrying", "attempt", e.N, "in", e.Delay, "err", e.Err)
		},
	}
	_, _ = retry.Do(context.Background(), policy, flaky(2))
	// Output:
	// level=WARN msg=retrying attempt=1 in=1ms err="connection reset"
	// level=WARN msg=retrying attempt=2 in=1ms err="connection reset"
	// level=INFO msg=done attempts=3 err=<nil>
}

// A Backoff is one function: this one grows by the same amount each time.
func ExampleBackoff() {
	linear := retry.Backoff(func(n int, _ time.Duration, _ float64) time.Duration {
		return min(time.Duration(n)*200*time.Millisecond, time.Second)
	})
	policy := &retry.Policy{Backoff: linear.Jitter(0.1)}
	for n := range 3 {
		fmt.Println(policy.Backoff(n+1, 0, 0.5))
	}
	// Output:
	// 190ms
	// 380ms
	// 570ms
}

func ExampleSteps() {
	backoff := retry.Steps(time.Second, 5*time.Second, 30*time.Second)
	for n := 1; n <= 4; n++ {
		fmt.Println(backoff(n, 0, 0))
	}
	// Output:
	// 1s
	// 5s
	// 30s
	// 30s
}

// Half of each delay is certain, the other half random.
func ExampleBackoff_Jitter() {
	backoff := retry.Exponential(100*time.Millisecond, 10*time.Second).Jitter(0.5)
	for _, u := range []float64{0, 0.5, 0.999} {
		fmt.Println(backoff(4, 0, u).Round(time.Millisecond))
	}
	// Output:
	// 400ms
	// 600ms
	// 800ms
}

// What the caller did wrong stays wrong: the mark ends the call at once, and
// leaves the error's text and identity alone.
func ExamplePermanent() {
	errNoSuchUser := errors.New("no such user")
	attempts := 0
	err := retry.Run(context.Background(), nil, func(context.Context) error {
		attempts++
		return retry.Permanent(fmt.Errorf("user 7: %w", errNoSuchUser))
	})
	fmt.Println(attempts, err, errors.Is(err, errNoSuchUser))
	// Output: 1 user 7: no such user true
}

// A server that says when to come back is obeyed, within a limit.
func ExampleAfter() {
	policy := &retry.Policy{MaxRetryAfter: 10 * time.Second}
	err := retry.Run(context.Background(), policy, func(context.Context) error {
		return retry.After(time.Hour, errors.New("503 Service Unavailable"))
	})
	fmt.Println(err)
	// Output: retry: server asks for too long a wait after 1 attempt: 503 Service Unavailable
}

// The error says whose fault it was, why retrying stopped, and how long the
// wait would have been: what to tell one's own clients.
func ExampleError() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	policy := &retry.Policy{Backoff: retry.Constant(2 * time.Second)}
	_, err := retry.Do(ctx, policy, flaky(10))

	if e, ok := errors.AsType[*retry.Error](err); ok {
		fmt.Println("failure:", e.Err)
		fmt.Println("reason:", e.Reason)
		fmt.Println("Retry-After:", int(e.Delay.Seconds()))
	}
	// Output:
	// failure: connection reset
	// reason: context deadline exceeded
	// Retry-After: 2
}
