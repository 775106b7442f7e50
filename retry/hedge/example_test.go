package hedge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
)

// The first replica hangs; after the delay the next one is asked beside it, and
// the hanging call is cancelled.
func Example() {
	replicas := []func(context.Context) (string, error){
		func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		},
		func(context.Context) (string, error) { return "Ada", nil },
	}
	policy := &hedge.Policy{Delay: 5 * time.Millisecond}
	name, err := hedge.Do(context.Background(), policy, func(ctx context.Context) (string, error) {
		return replicas[hedge.Index(ctx)](ctx)
	}, nil)
	fmt.Println(name, err)
	// Output: Ada <nil>
}

// Results that hold something are closed when they come second.
func ExampleDo() {
	open := func(ctx context.Context) (io.ReadCloser, error) {
		name := fmt.Sprint("replica ", hedge.Index(ctx))
		if hedge.Index(ctx) == 0 {
			<-ctx.Done() // slow, and does not notice that it was beaten
		}
		return &noisy{strings.NewReader("data of " + name), name}, nil
	}
	file, err := hedge.Do(context.Background(), &hedge.Policy{Delay: time.Millisecond}, open,
		func(late io.ReadCloser) { late.Close() })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	text, _ := io.ReadAll(file)
	fmt.Println(string(text))
	// Output:
	// closed replica 0
	// data of replica 1
	// closed replica 1
}

type noisy struct {
	io.Reader
	name string
}

func (n *noisy) Close() error {
	fmt.Println("closed", n.name)
	return nil
}

func ExampleRun() {
	err := hedge.Run(context.Background(), nil, func(context.Context) error { return nil })
	fmt.Println(err)
	// Output: <nil>
}

// A failed attempt is replaced at once, by another replica.
func ExampleIndex() {
	replicas := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	address, err := hedge.Do(context.Background(), &hedge.Policy{Max: 2}, func(ctx context.Context) (string, error) {
		address := replicas[hedge.Index(ctx)]
		if address != "10.0.0.3" {
			return "", errors.New("connection refused")
		}
		return address, nil
	}, nil)
	fmt.Println(address, err)
	// Output: 10.0.0.3 <nil>
}

// The delay follows what the backend does. Until enough is known, Delay counts.
func ExampleLatency() {
	latency := hedge.NewLatency(0.95)
	policy := &hedge.Policy{Latency: latency, Delay: 50 * time.Millisecond}
	fmt.Println(latency.Delay())
	for i := range 100 {
		latency.Observe(time.Duration(i+1) * time.Millisecond) // as Do does
	}
	err := hedge.Run(context.Background(), policy, func(context.Context) error { return nil })
	fmt.Println(latency.Delay())
	fmt.Println(err)
	// Output:
	// 0s false
	// 98.304ms true
	// <nil>
}

// Hedging inside of retry: both withdraw from one budget, and the loop reports
// to it.
func ExamplePolicy() {
	budget := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
	hedged := &hedge.Policy{Budget: budget, Nested: true, Delay: time.Millisecond}
	policy := &retry.Policy{Budget: budget}
	name, err := retry.Do(context.Background(), policy, func(ctx context.Context) (string, error) {
		return hedge.Do(ctx, hedged, func(ctx context.Context) (string, error) {
			if hedge.Index(ctx) == 0 {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "Ada", nil
		}, nil)
	})
	fmt.Println(name, err, budget.Stats().Withdrawn)
	// Output: Ada <nil> 1
}

// A result that outlives its attempt must not depend on the attempt's context,
// which has ended when Do returns. It gets one of its own, which follows the
// attempt's only until the result is there.
func Example_resultThatLivesOn() {
	subscribe := func(ctx context.Context) (string, error) { return "news", context.Cause(ctx) }
	type subscription struct {
		ctx  context.Context
		stop context.CancelFunc
	}
	s, err := hedge.Do(context.Background(), nil, func(attempt context.Context) (subscription, error) {
		own, stop := context.WithCancel(context.WithoutCancel(attempt))
		untie := context.AfterFunc(attempt, stop)
		_, err := subscribe(own)
		if err == nil && !untie() {
			err = context.Cause(attempt) // beaten just now
		}
		if err != nil {
			stop()
			return subscription{}, err
		}
		return subscription{own, stop}, nil
	}, func(late subscription) { late.stop() })
	fmt.Println(err, s.ctx.Err())
	s.stop()
	fmt.Println(s.ctx.Err())
	// Output:
	// <nil> <nil>
	// context canceled
}
