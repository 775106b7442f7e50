package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
)

// One breaker per host: that one host is down keeps nobody from the others.
func ExampleGroup() {
	hosts := breaker.Group[string, *breaker.Breaker]{
		New: func(host string) *breaker.Breaker {
			return breaker.New(breaker.Config{Name: host, Consecutive: 1})
		},
	}
	get := func(host string, err error) error {
		return breaker.Run(context.Background(), hosts.Get(host), func(context.Context) error { return err })
	}
	_ = get("a.example", errors.New("no route to host"))
	fmt.Println(get("a.example", nil))
	fmt.Println(get("b.example", nil))
	fmt.Println(hosts.Len(), "hosts")
	// Output:
	// breaker: rejected by a.example (open): no route to host
	// <nil>
	// 2 hosts
}

// A call needs a place, a breaker that admits it and a token, in this order.
func ExampleChain() {
	b := breaker.New(breaker.Config{Name: "users"})
	g := breaker.Chain(
		limit.NewConcurrency(limit.ConcurrencyConfig{Name: "users", Max: 50}),
		b,
		limit.NewRate(limit.RateConfig{Name: "users", PerSecond: 0.001}),
	)
	for range 2 {
		fmt.Println(breaker.Run(context.Background(), g, func(context.Context) error { return nil }))
	}
	b.Trip(time.Minute, errors.New("maintenance"))
	fmt.Println(breaker.Run(context.Background(), g, func(context.Context) error { return nil }))
	// Output:
	// <nil>
	// breaker: rejected by users (rate)
	// breaker: rejected by users (open): maintenance
}
