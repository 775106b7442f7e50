package keelson_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/retry"
)

// Retry outside, breaker inside, and plain Go for the fallback.
func Example() {
	ctx, lastPrice := context.Background(), 1199
	fetchPrice := func(context.Context) (int, error) { return 1299, nil } // your call
	supplier := breaker.New(breaker.Config{Name: "supplier", Timeout: time.Second})
	policy := &retry.Policy{MaxAttempts: 3, Backoff: retry.FullJitter(10*time.Millisecond, time.Second)}

	price, err := retry.Do(ctx, policy, func(ctx context.Context) (int, error) {
		return breaker.Do(ctx, supplier, fetchPrice)
	})
	if errors.Is(err, breaker.ErrRejected) {
		price, err = lastPrice, nil // the supplier is down: it was not called
	}
	fmt.Println(price, err, supplier.State())
	// Output: 1299 <nil> closed
}
