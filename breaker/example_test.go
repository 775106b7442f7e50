package breaker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/breaker"
)

func Example() {
	errDown := errors.New("connection refused")
	b := breaker.New(breaker.Config{Name: "users", Consecutive: 3})
	for range 4 {
		_, err := breaker.Do(context.Background(), b, func(context.Context) (string, error) {
			return "", errDown
		})
		fmt.Println(err)
	}
	fmt.Println(b.State())
	// Output:
	// connection refused
	// connection refused
	// connection refused
	// breaker: rejected by users (open): connection refused
	// open
}
