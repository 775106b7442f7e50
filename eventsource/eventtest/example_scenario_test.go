package eventtest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventtest"
)

// The t of a test, which the example has to get from somewhere.
var t = new(testing.T)

func ExampleScenario() {
	errFunds := errors.New("insufficient funds")
	type deposited int
	account := eventsource.Decider[int, deposited, int]{
		Evolve: func(balance int, e deposited) int { return balance + int(e) },
		Decide: func(balance, cents int) ([]deposited, error) {
			if balance+cents < 0 {
				return nil, errFunds
			}
			return []deposited{deposited(cents)}, nil
		},
	}
	eventtest.For(t, account).
		Given(1000).
		When(-500).
		Then(-500).
		ThenState(500)
	eventtest.For(t, account).
		Given(100).
		When(-500).
		ThenError(errFunds)
	fmt.Println("failed:", t.Failed())
	// Output: failed: false
}
