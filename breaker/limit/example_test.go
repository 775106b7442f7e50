package limit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

// At most one call runs, and nobody waits.
func ExampleConcurrency() {
	ctx := context.Background()
	g := limit.NewConcurrency(limit.ConcurrencyConfig{Name: "reports", Max: 1})
	_ = breaker.Run(ctx, g, func(ctx context.Context) error {
		err := breaker.Run(ctx, g, func(context.Context) error { return nil })
		fmt.Println(err)
		return err
	})
	fmt.Println(g.Stats().Admitted, "ran,", g.Stats().Rejected, "refused")
	// Output:
	// breaker: rejected by reports (full)
	// 1 ran, 1 refused
}

// Ten calls an hour, up to two of them at once.
func ExampleRate() {
	g := limit.NewRate(limit.RateConfig{Name: "mail", PerSecond: 10.0 / 3600, Burst: 2})
	for range 3 {
		err := breaker.Run(context.Background(), g, func(context.Context) error { return nil })
		if r, ok := errors.AsType[*breaker.RejectedError](err); ok {
			fmt.Println(err, "- come back in", r.RetryAfter().Round(time.Minute))
			continue
		}
		fmt.Println("sent")
	}
	// Output:
	// sent
	// sent
	// breaker: rejected by mail (rate) - come back in 6m0s
}

// While the backend refuses everything, hardly any call gets through to it.
func ExampleThrottle() {
	g := limit.NewThrottle(limit.ThrottleConfig{Name: "search"})
	overloaded := func(context.Context) error { return errors.New("overloaded") }
	for range 10_000 {
		_ = breaker.Run(context.Background(), g, overloaded)
	}
	s := g.Stats()
	fmt.Println("nearly all refused:", s.Rejected > 9900, s.Refusing > 0.99)
	// Output: nearly all refused: true true
}
