// Command retry-budget counts what retries add to an outage: three attempts per
// request triple the load of a backend that is down already. With a budget the
// load hardly grows, and single failures are retried all the same.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/retry"
)

const requests = 1000

// Backend counts what reaches it. That number decides whether it recovers.
type Backend struct {
	fails    func(attempt int) bool
	attempts int
}

// Call is one attempt of one request.
func (b *Backend) Call(context.Context) error {
	b.attempts++
	if b.fails(b.attempts) {
		return errors.New("503 Service Unavailable")
	}
	return nil
}

func always(int) bool             { return true }
func everyTenth(attempt int) bool { return attempt%10 == 0 }

func main() {
	naive := &retry.Policy{
		MaxAttempts: 3,
		Backoff:     retry.Constant(0), // only so that the program ends soon: keep the default
	}
	budget := retry.NewBudget(retry.BudgetConfig{
		Ratio:     0.2, // retries that a success earns
		Burst:     10,  // retries that can be saved up
		PerSecond: -1,  // off, so that the output is the same every time: keep the default
	})
	careful := *naive
	careful.Budget = budget // one for all that call this backend

	fmt.Println("                        requests  attempts  per request  failed")
	run("outage, no budget", naive, &Backend{fails: always})
	run("outage, budget", &careful, &Backend{fails: always})
	run("every tenth, budget", &careful, &Backend{fails: everyTenth})
	fmt.Println("retries that the budget refused:", budget.Stats().Denied)
}

func run(name string, policy *retry.Policy, backend *Backend) {
	failed := 0
	for range requests {
		if err := retry.Run(context.Background(), policy, backend.Call); err != nil {
			failed++ // without a budget: after three attempts; with one: mostly after the first
		}
	}
	perRequest := float64(backend.attempts) / requests
	fmt.Printf("%-22s  %8d  %8d  %11.2f  %6d\n", name, requests, backend.attempts, perRequest, failed)
}
