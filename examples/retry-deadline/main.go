// Command retry-deadline shows how a retry waits: by its own backoff, longer when
// the server asks for it, and not at all when the deadline would come first.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/retry"
)

var errBusy = errors.New("busy")

// failing returns a function that fails so many times before it succeeds.
func failing(times int, err error) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		if times--; times >= 0 {
			return "", err
		}
		return "done", nil
	}
}

func main() {
	policy := &retry.Policy{
		MaxAttempts: 4,
		// Without jitter, so that the output is the same every time. In earnest
		// keep the default: clients that fail together must not return together.
		Backoff: retry.Steps(10*time.Millisecond, 20*time.Millisecond, 5*time.Second),
		OnEvent: func(_ context.Context, e retry.Event) {
			if !e.Last {
				fmt.Printf("  attempt %d: %v\n", e.N, e.Err)
			}
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()

	fmt.Println("1. two failures, then success")
	report(retry.Do(ctx, policy, failing(2, errBusy)))

	fmt.Println("2. the server says: not before 200 ms")
	begin := time.Now()
	report(retry.Do(ctx, policy, failing(1, retry.After(200*time.Millisecond, errBusy))))
	fmt.Println("  obeyed:", time.Since(begin) >= 200*time.Millisecond)

	fmt.Println("3. a failure that no retry can mend")
	report(retry.Do(ctx, policy, failing(1, retry.Permanent(errors.New("no such user")))))

	fmt.Println("4. the next wait, 5 s, would end after the deadline")
	report(retry.Do(ctx, policy, failing(9, errBusy)))
	fmt.Println("  time was left when it gave up:", ctx.Err() == nil)
}

func report(value string, err error) {
	gaveUp, ok := errors.AsType[*retry.Error](err)
	switch {
	case err == nil:
		fmt.Printf("  %s\n", value)
	case ok:
		fmt.Printf("  gave up after %d attempts: %v, due was a wait of %v\n", gaveUp.Attempts, gaveUp.Reason, gaveUp.Delay)
	default:
		fmt.Printf("  ended at once: %v\n", err)
	}
}
