package sagatest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagatest"
)

// In a test of one's own: does a transfer balance, whatever crashes when?
func ExampleExplore() { //nolint:testableexamples // it needs a *testing.T: go test runs it
	var t *testing.T // of the test
	testTransferBalances(t)
}

func TestTransferBalances(t *testing.T) { testTransferBalances(t) }

func testTransferBalances(t *testing.T) {
	sagatest.Explore(t, func(*testing.T) sagatest.Subject[string] {
		moved := map[string]bool{} // the accounts, which outlive crashes
		move := func(name string, there bool) func(context.Context, *string) error {
			return func(context.Context, *string) error { moved[name] = there; return nil }
		}
		return sagatest.Subject[string]{
			Define: func(*saga.Coordinator) (saga.Definition[string], error) {
				return saga.Definition[string]{Name: "transfer", Steps: []saga.Step[string]{
					{Name: "debit", Do: move("debit", true), Undo: move("debit", false)},
					{Name: "credit", Do: move("credit", true), Undo: move("credit", false)},
				}}, nil
			},
			Check: func(e sagatest.End[string]) error {
				if e.State != saga.Stuck && moved["debit"] != moved["credit"] {
					return fmt.Errorf("%v, and the accounts do not balance: %v", e.State, moved)
				}
				return nil
			},
		}
	})
}
