package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// delays are the first ones of a backoff, for the given draw.
func delays(b retry.Backoff, u float64) (d [6]time.Duration) {
	prev := time.Duration(0)
	for i := range d {
		d[i] = b(i+1, prev, u)
		prev = d[i]
	}
	return d
}

func ExampleConstant() {
	fmt.Println(delays(retry.Constant(50*time.Millisecond), 0.5))
	// Output: [50ms 50ms 50ms 50ms 50ms 50ms]
}

func ExampleExponential() {
	fmt.Println(delays(retry.Exponential(100*time.Millisecond, 2*time.Second), 0.5))
	// Output: [100ms 200ms 400ms 800ms 1.6s 2s]
}

// The average wait is half of the exponential one, and callers spread over all
// of it.
func ExampleFullJitter() {
	backoff := retry.FullJitter(100*time.Millisecond, 2*time.Second)
	fmt.Println(delays(backoff, 0.5))
	fmt.Println(delays(backoff, 0.25))
	// Output:
	// [50ms 100ms 200ms 400ms 800ms 1s]
	// [25ms 50ms 100ms 200ms 400ms 500ms]
}

func ExampleDecorrelated() {
	backoff := retry.Decorrelated(100*time.Millisecond, 2*time.Second)
	fmt.Println(delays(backoff, 0))
	fmt.Println(delays(backoff, 0.5))
	// Output:
	// [100ms 100ms 100ms 100ms 100ms 100ms]
	// [200ms 350ms 575ms 912.5ms 1.05s 1.05s]
}

// A Policy has no state: one for the whole program, and a copy where a call
// needs something else.
func ExamplePolicy() {
	usual := retry.Policy{MaxAttempts: 3, Backoff: retry.FullJitter(time.Millisecond, time.Second)}
	patient := usual
	patient.MaxAttempts = 10

	for _, policy := range []*retry.Policy{&usual, &patient} {
		err := retry.Run(context.Background(), policy, func(context.Context) error {
			return errors.New("connection refused")
		})
		fmt.Println(err)
	}
	// Output:
	// retry: attempts exhausted after 3 attempts: connection refused
	// retry: attempts exhausted after 10 attempts: connection refused
}

// Settings that come from a file are checked before they are used.
func ExampleBudgetConfig_Validate() {
	fmt.Println(retry.BudgetConfig{Ratio: 0.2, Burst: 20}.Validate())
	fmt.Println(retry.BudgetConfig{Burst: 100_000}.Validate())
	// Output:
	// <nil>
	// retry: BudgetConfig.Burst is 100000, must be from 1 to 65536
}
