package breaker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

var (
	errRefused  = errors.New("connection refused")
	errNotFound = errors.New("no such user")
)

// A service goes down and comes back: the breaker opens, refuses calls without
// making them, lets one probe through, and closes.
func Example() {
	ctx := context.Background()
	down := true
	users := func(context.Context) (string, error) {
		if down {
			return "", errRefused
		}
		return "Ada", nil
	}
	b := breaker.New(breaker.Config{
		Name:        "users",
		Consecutive: 2,
		OpenFor:     time.Millisecond,
	})
	var err error
	for !errors.Is(err, breaker.ErrRejected) { // the third call
		_, err = breaker.Do(ctx, b, users)
	}
	fmt.Println(err)

	down = false
	time.Sleep(b.RetryAfter())
	name, err := breaker.Do(ctx, b, users)
	fmt.Println(name, err, b.State())
	// Output:
	// breaker: rejected by users (open): connection refused
	// Ada <nil> closed
}

// A fallback is plain Go.
func ExampleDo() {
	b := breaker.New(breaker.Config{Name: "users"})
	b.Trip(time.Minute, errors.New("connection refused")) // as failing calls do

	user, err := breaker.Do(context.Background(), b, func(context.Context) (string, error) {
		return "Ada", nil
	})
	if errors.Is(err, breaker.ErrRejected) {
		user, err = "somebody", nil // from a cache, say
	}
	fmt.Println(user, err)
	// Output: somebody <nil>
}

func ExampleRun() {
	b := breaker.New(breaker.Config{Name: "mail"})
	err := breaker.Run(context.Background(), b, func(context.Context) error {
		return nil // send it
	})
	fmt.Println(err)
	// Output: <nil>
}

// Settings in the words of opossum, and its events open, halfOpen and close.
func ExampleConfig() {
	b := breaker.New(breaker.Config{
		Timeout:     3 * time.Second,  // timeout
		FailureRate: 0.5,              // errorThresholdPercentage
		OpenFor:     time.Millisecond, // resetTimeout
		MaxOpenFor:  time.Millisecond, // the same again and again
		MinCalls:    2,                // volumeThreshold
		Window:      10 * time.Second, // rollingCountTimeout
		OnEvent: func(ev breaker.Event) {
			fmt.Println(ev.From, "to", ev.To, "by", ev.Reason)
		},
	})
	fail := func(context.Context) error { return errRefused }
	_ = breaker.Run(context.Background(), b, fail)
	_ = breaker.Run(context.Background(), b, fail)
	time.Sleep(b.RetryAfter())
	_ = breaker.Run(context.Background(), b, func(context.Context) error { return nil })
	// Output:
	// closed to open by failure-rate
	// open to half-open by timer
	// half-open to closed by recovered
}

// An error that says nothing about the health of the dependency is ignored.
func ExampleConfig_classify() {
	b := breaker.New(breaker.Config{
		Consecutive: 1,
		Classify: func(err error, o breaker.Outcome) breaker.Outcome {
			if errors.Is(err, errNotFound) {
				return breaker.Success // it works, it just has no such user
			}
			return o
		},
	})
	err := breaker.Run(context.Background(), b, func(context.Context) error { return errNotFound })
	fmt.Println(err, "-", b.State())
	// Output: no such user - closed
}

// The function is asked to stop after the time limit, and awaited.
func ExampleConfig_timeout() {
	b := breaker.New(breaker.Config{Timeout: time.Millisecond})
	err := breaker.Run(context.Background(), b, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	fmt.Println(errors.Is(err, breaker.ErrTimeout), "-", err)
	// Output: true - context deadline exceeded (breaker: call timed out)
}

// A dependency that answers, but too late, is as bad as one that fails.
func ExampleConfig_slowCalls() {
	b := breaker.New(breaker.Config{
		SlowAfter: time.Millisecond,
		SlowRate:  0.5,
		MinCalls:  1,
	})
	_ = breaker.Run(context.Background(), b, func(context.Context) error {
		time.Sleep(time.Millisecond)
		return nil
	})
	fmt.Println(b.State())
	// Output: open
}

// In shadow a breaker shows what it would do before it may.
func ExampleConfig_shadow() {
	b := breaker.New(breaker.Config{Consecutive: 1, Shadow: true})
	for range 3 {
		fmt.Println(breaker.Run(context.Background(), b, func(context.Context) error { return errRefused }))
	}
	fmt.Println(b.State(), "- would have refused", b.Stats().Rejected)
	// Output:
	// connection refused
	// connection refused
	// connection refused
	// open - would have refused 2
}

func ExampleConfig_Validate() {
	fmt.Println(breaker.Config{FailureRate: 50}.Validate())
	// Output: breaker: Config.FailureRate is 50; allowed: 0.000001 to 1, 0 for 0.5, negative for off
}

// Allow and Done are for calls that do not fit into a function, such as those
// whose answer comes over a channel.
func ExampleBreaker_Allow() {
	b := breaker.New(breaker.Config{Name: "queue"})
	p, err := b.Allow(context.Background())
	if err != nil {
		return
	}
	defer p.Cancel() // does nothing after Done

	answers := make(chan error, 1)
	answers <- nil
	p.Done(<-answers)
	fmt.Println(b.Stats().Succeeded)
	// Output: 1
}

// weekdays is a gate that is closed on Sundays.
type weekdays struct{ today time.Weekday }

func (w weekdays) Allow(ctx context.Context) (breaker.Permit, error) {
	if ctx.Err() != nil {
		return breaker.Permit{}, context.Cause(ctx)
	}
	if w.today == time.Sunday {
		return breaker.Permit{}, &breaker.RejectedError{Gate: w, Name: "weekdays", Reason: "sunday"}
	}
	return breaker.NewPermit(ctx, w, 0), nil
}

func (weekdays) Settle(_ int64, o breaker.Outcome, _ error) { fmt.Println(o) }
func (weekdays) Cancel(int64)                               {}

// A gate of one's own is its Allow and the Issuer of its permits.
func ExampleNewPermit() {
	work := func(context.Context) error { return nil }
	fmt.Println(breaker.Run(context.Background(), weekdays{time.Monday}, work))
	fmt.Println(breaker.Run(context.Background(), weekdays{time.Sunday}, work))
	// Output:
	// success
	// <nil>
	// breaker: rejected by weekdays (sunday)
}

func ExampleRejectedError() {
	b := breaker.New(breaker.Config{Name: "users"})
	b.Trip(time.Minute, errRefused)

	err := breaker.Run(context.Background(), b, func(context.Context) error { return nil })
	if r, ok := errors.AsType[*breaker.RejectedError](err); ok {
		fmt.Println(r.Name, "is", r.Reason)
		fmt.Println("because of:", r.Cause)
		fmt.Println("come back in about", r.RetryAfter().Round(time.Minute))
	}
	// Output:
	// users is open
	// because of: connection refused
	// come back in about 1m0s
}

// A kill switch: nothing goes to the dependency until release is called.
func ExampleBreaker_Hold() {
	b := breaker.New(breaker.Config{Name: "payments"})
	release := b.Hold(breaker.Open)
	fmt.Println(b.State(), b.Stats().Held)
	release()
	fmt.Println(b.State(), b.Stats().Held)
	// Output:
	// open true
	// closed false
}

// Somebody else knows that the dependency is down, such as a health check.
func ExampleBreaker_Trip() {
	b := breaker.New(breaker.Config{Name: "users"})
	b.Trip(30*time.Second, errors.New("maintenance"))
	fmt.Println(breaker.Run(context.Background(), b, func(context.Context) error { return nil }))
	b.Reset()
	fmt.Println(b.State())
	// Output:
	// breaker: rejected by users (open): maintenance
	// closed
}

func ExampleStats() {
	b := breaker.New(breaker.Config{Name: "users"})
	_ = breaker.Run(context.Background(), b, func(context.Context) error { return errRefused })
	text, _ := json.MarshalIndent(b.Stats(), "", "  ")
	fmt.Println(string(text))
	// Output:
	// {
	//   "name": "users",
	//   "state": "closed",
	//   "held": false,
	//   "calls": 1,
	//   "failures": 1,
	//   "slow": 0,
	//   "overdue": 0,
	//   "threshold": 0.5,
	//   "probes": 0,
	//   "retry_after_ns": 0,
	//   "succeeded": 0,
	//   "failed": 1,
	//   "ignored": 0,
	//   "stale": 0,
	//   "rejected": 0,
	//   "opened": 0,
	//   "lost_probes": 0
	// }
}
