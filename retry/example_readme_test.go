package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/retry"
)

// users stands for a client of a remote service that drops the first connection.
var users = &usersClient{}

type usersClient struct{ calls int }

func (c *usersClient) Get(context.Context, int) (string, error) {
	if c.calls++; c.calls == 1 {
		return "", errors.New("connection reset")
	}
	return "Ada", nil
}

// One policy, and in it one budget, serves all calls to a backend.
func ExampleDo_budget() {
	policy := &retry.Policy{
		MaxAttempts:    4,
		AttemptTimeout: 500 * time.Millisecond,
		Budget:         retry.NewBudget(retry.BudgetConfig{}), // one per backend
	}
	user, err := retry.Do(context.Background(), policy, func(ctx context.Context) (string, error) {
		return users.Get(ctx, 42)
	})
	fmt.Println(user, err)
	// Output: Ada <nil>
}
