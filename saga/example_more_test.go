package saga_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/saga"
)

type trip struct {
	Seat string `json:"seat,omitempty"`
	By   string `json:"by,omitempty"`
}

// start serves a definition until stop is called.
func start(d saga.Definition[trip]) (c *saga.Coordinator, s *saga.Saga[trip], stop func()) {
	c, err := saga.New(saga.NewMemory(), saga.Config{Poll: 10 * time.Millisecond})
	if err == nil {
		s, err = saga.Register(c, d)
	}
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Serve(ctx) }()
	return c, s, func() { cancel(); <-done }
}

func say(word string) func(context.Context, *trip) error {
	return func(context.Context, *trip) error { fmt.Println(word); return nil }
}

// Steps may form a graph: hotel and flight wait for the order alone, the invoice
// for both.
func ExampleRegister() {
	_, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{
		{Name: "order", Do: say("order")},
		{Name: "hotel", After: []string{"order"}, Do: func(_ context.Context, t *trip) error { t.By = "hotel"; return nil }},
		{Name: "flight", After: []string{"order"}, Do: func(_ context.Context, t *trip) error { t.Seat = "12A"; return nil }},
		{Name: "invoice", After: []string{"hotel", "flight"}, Do: func(_ context.Context, t *trip) error {
			fmt.Println("invoice", t.Seat, t.By)
			return nil
		}},
	}})
	defer stop()
	_, err := s.Run(context.Background(), "trip-1", trip{})
	fmt.Println(err)
	// Output:
	// order
	// invoice 12A hotel
	// <nil>
}

// A refusal had no effect: there is no retry, and the step is not undone.
func ExampleRefuse() {
	_, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{
		{Name: "hotel", Do: say("hotel"), Undo: say("cancel hotel")},
		{Name: "flight", Do: func(context.Context, *trip) error { return saga.Refuse(errors.New("sold out")) }, Undo: say("never")},
	}})
	defer stop()
	_, err := s.Run(context.Background(), "trip-1", trip{})
	if e, ok := errors.AsType[*saga.Error](err); ok {
		fmt.Println(e.State, e.Step, e.Cause)
	}
	// Output:
	// hotel
	// cancel hotel
	// compensated flight sold out
}

// A step waits for a human, at no cost, for as long as it takes.
func ExampleAwait() {
	c, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{{
		Name: "approve",
		Do: func(ctx context.Context, t *trip) error {
			switch call := saga.CallFrom(ctx); {
			case call.TimedOut:
				return saga.Refuse(errors.New("nobody approved"))
			case call.Signal == "":
				return saga.Await("approved", 24*time.Hour)
			default:
				t.By = string(call.Payload)
				return nil
			}
		},
	}}})
	defer stop()
	ctx := context.Background()
	fmt.Println(s.Start(ctx, "trip-1", trip{}))
	fmt.Println(c.Signal(ctx, "trip-1", "approved", "mail-77", "ada")) // counts once, however often it is sent
	got, err := s.Wait(ctx, "trip-1")
	fmt.Println(got.By, err)
	// Output:
	// <nil>
	// <nil>
	// "ada" <nil>
}

// Sleep parks a step for a time.
func ExampleSleep() {
	_, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{{
		Name: "remind",
		Do: func(ctx context.Context, _ *trip) error {
			if !saga.CallFrom(ctx).TimedOut {
				return saga.Sleep(50 * time.Millisecond)
			}
			fmt.Println("it is time")
			return nil
		},
	}}})
	defer stop()
	_, err := s.Run(context.Background(), "trip-1", trip{})
	fmt.Println(err)
	// Output:
	// it is time
	// <nil>
}

// A saga may be a step of another; it is reversed when the other compensates.
func ExampleSub() {
	c, err := saga.New(saga.NewMemory(), saga.Config{})
	if err != nil {
		panic(err)
	}
	parcel, _ := saga.Register(c, saga.Definition[string]{Name: "parcel", Steps: []saga.Step[string]{{
		Name: "pack",
		Do:   func(_ context.Context, s *string) error { *s += " packed"; return nil },
	}}})
	order, err := saga.Register(c, saga.Definition[trip]{Name: "order", Steps: []saga.Step[trip]{
		saga.Sub("parcel", parcel, func(*trip) string { return "lamp" }, func(t *trip, out string) { t.Seat = out }),
	}})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Serve(ctx) }()
	got, err := order.Run(ctx, "order-1", trip{})
	fmt.Println(got.Seat, err)
	cancel()
	<-done
	// Output: lamp packed <nil>
}

// Behind the pivot there is no way back. Retry says how long to go on, and after
// that a human decides.
func ExampleCoordinator_Resolve() {
	c, s, stop := start(saga.Definition[trip]{
		Name:    "trip",
		Version: 2, ResumesFrom: []int{1}, // sagas that version 1 has begun go on here
		Steps: []saga.Step[trip]{
			{Name: "pay", Pivot: true, Do: say("pay")},
			{
				Name:  "ship",
				Retry: saga.Retry{Attempts: 2, For: -1, Base: time.Millisecond},
				Do:    func(context.Context, *trip) error { return errors.New("the label printer burns") },
			},
		},
	})
	defer stop()
	ctx := context.Background()
	_, err := s.Run(ctx, "trip-1", trip{})
	fmt.Println(err)
	fmt.Println(errors.Is(c.Cancel(ctx, "trip-1", "please"), saga.ErrPastPivot))
	fmt.Println(c.Resolve(ctx, "trip-1", saga.Resolution{
		Action: saga.ResolveDone, By: "ada", Reason: "carried it over", Patch: []byte(`{"by":"ada"}`),
	}))
	got, err := s.Wait(ctx, "trip-1")
	fmt.Println(got.By, err)
	// Output:
	// pay
	// saga: trip-1 (trip) stuck: ship: the label printer burns; left in place: pay, ship
	// true
	// <nil>
	// ada <nil>
}

// Cancel compensates what was done so far.
func ExampleCoordinator_Cancel() {
	waiting := make(chan bool, 1)
	c, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{
		{Name: "hotel", Do: say("hotel"), Undo: say("cancel hotel")},
		{Name: "wait", Do: func(context.Context, *trip) error {
			waiting <- true
			return saga.Await("go", 0)
		}},
	}})
	defer stop()
	ctx := context.Background()
	fmt.Println(s.Start(ctx, "trip-1", trip{}))
	<-waiting
	fmt.Println(c.Cancel(ctx, "trip-1", "ill"))
	_, err := s.Wait(ctx, "trip-1")
	e, _ := errors.AsType[*saga.Error](err)
	fmt.Println(errors.Is(err, saga.ErrCompensated), e.Code, e.Cause)
	// Unordered output:
	// <nil>
	// <nil>
	// hotel
	// cancel hotel
	// true cancelled ill
}

// Reverse takes a completed saga back; List and History tell what happened.
func ExampleSaga_Reverse() {
	c, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{
		{Name: "hotel", Do: say("hotel"), Undo: say("cancel hotel")},
	}})
	defer stop()
	ctx := context.Background()
	_, err := s.Run(ctx, "trip-1", trip{})
	reversed := s.Reverse(ctx, "trip-1", "ill")
	_, ended := s.Wait(ctx, "trip-1")
	fmt.Println(err, reversed, errors.Is(ended, saga.ErrCompensated))
	for sum, err := range c.List(ctx, saga.Filter{States: []saga.State{saga.Compensated}}) {
		fmt.Println(sum.ID, sum.State, err)
	}
	for r, err := range c.History(ctx, "trip-1") {
		fmt.Println(r.Seq, r.Kind, r.Step, err)
	}
	// Output:
	// hotel
	// cancel hotel
	// <nil> <nil> true
	// trip-1 compensated <nil>
	// 1 start  <nil>
	// 2 done hotel <nil>
	// 3 reverse  <nil>
	// 4 undone hotel <nil>
}

// The shortest use: Run starts a saga and waits for its end.
func ExampleSaga_Run() {
	type Order struct {
		User int
		Paid bool
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nothing := func(context.Context, *Order) error { return nil }
	reserve, release, refund, ship := nothing, nothing, nothing, nothing
	pay := func(_ context.Context, o *Order) error { o.Paid = true; return nil }

	coordinator, _ := saga.New(saga.NewMemory(), saga.Config{})
	order, _ := saga.Register(coordinator, saga.Definition[Order]{
		Name: "order",
		Steps: []saga.Step[Order]{
			{Name: "reserve", Do: reserve, Undo: release},
			{Name: "pay", Do: pay, Undo: refund, Pivot: true},
			{Name: "ship", Do: ship},
		},
	})
	go coordinator.Serve(ctx)

	result, err := order.Run(ctx, "order-17", Order{User: 7})
	if errors.Is(err, saga.ErrCompensated) {
		fmt.Println("everything is undone")
	}
	fmt.Println(result, err)
	// Output: {7 true} <nil>
}

// A failure may have had an effect, so it is retried under the same key; after the
// last attempt the step is undone as well.
func ExampleRetry() {
	_, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{{
		Name:  "pay",
		Retry: saga.Retry{Attempts: 2, Base: time.Millisecond},
		Do: func(ctx context.Context, _ *trip) error {
			call := saga.CallFrom(ctx)
			fmt.Println(call.Key(), call.Attempt)
			return errors.New("no answer from the bank")
		},
		Undo: func(ctx context.Context, _ *trip) error {
			fmt.Println(saga.CallFrom(ctx).Key())
			return nil
		},
	}}})
	defer stop()
	_, err := s.Run(context.Background(), "trip-1", trip{})
	fmt.Println(err)
	// Output:
	// trip-1/pay 1
	// trip-1/pay 2
	// trip-1/pay#undo
	// saga: trip-1 (trip) compensated: pay: no answer from the bank
}

// List finds sagas by state, History tells what happened to one.
func ExampleCoordinator_History() {
	c, s, stop := start(saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{
		{Name: "hotel", Do: func(_ context.Context, t *trip) error { t.By = "train"; return nil }, Undo: say("cancel hotel")},
		{Name: "flight", Do: func(context.Context, *trip) error { return saga.Refuse(errors.New("no seats")) }},
	}})
	defer stop()
	ctx := context.Background()
	_, _ = s.Run(ctx, "trip-1", trip{})
	for found, err := range c.List(ctx, saga.Filter{States: []saga.State{saga.Compensated}}) {
		fmt.Println(found.ID, found.Step, found.Cause, err)
	}
	for r, err := range c.History(ctx, "trip-1") {
		fmt.Println(r.Seq, r.Kind, r.Step, r.Error, string(r.Data), r.State, err)
	}
	// Output:
	// cancel hotel
	// trip-1  no seats <nil>
	// 1 start   {} running <nil>
	// 2 done hotel  {"set":{"by":"train"}} running <nil>
	// 3 refuse flight no seats  compensating <nil>
	// 4 undone hotel   compensated <nil>
}
