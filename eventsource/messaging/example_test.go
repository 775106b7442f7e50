package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Order events reach every service that subscribes as a group. The key keeps
// those of one order in order.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := messaging.NewMemory(messaging.Config{})

	handled := make(chan string)
	inventory := messaging.Subscription{Topics: []string{"order-events"}, Group: "inventory-service", Concurrency: 4}
	go broker.Subscribe(ctx, inventory, func(_ context.Context, d messaging.Delivery) error {
		handled <- fmt.Sprintf("%s of %s: %s", d.Headers["type"], d.Key, d.Body)
		return nil
	})

	err := broker.Publish(ctx,
		messaging.Message{Topic: "order-events", Key: "order-17", Headers: map[string]string{"type": "OrderCreated"}, Body: []byte(`{"sku":"lamp"}`)},
		messaging.Message{Topic: "order-events", Key: "order-17", Headers: map[string]string{"type": "OrderPaid"}, Body: []byte(`{"cents":4900}`)},
	)
	fmt.Println(err)
	fmt.Println(<-handled)
	fmt.Println(<-handled)
	// Output:
	// <nil>
	// OrderCreated of order-17: {"sku":"lamp"}
	// OrderPaid of order-17: {"cents":4900}
}

// A work queue is a topic with one group: each message is done by one member. What
// fails comes again, and what never succeeds ends where somebody can look at it.
func ExampleSubscription_workQueue() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := messaging.NewMemory(messaging.Config{})

	dead := make(chan messaging.Delivery)
	graves := messaging.Subscription{Topics: []string{"email-queue.mailer.dead"}, Group: "support"}
	go broker.Subscribe(ctx, graves, func(_ context.Context, d messaging.Delivery) error {
		dead <- d
		return nil
	})

	mailer := messaging.Subscription{
		Topics: []string{"email-queue"}, Group: "mailer", MaxAttempts: 3,
		Backoff: func(int) time.Duration { return time.Millisecond },
	}
	go broker.Subscribe(ctx, mailer, func(_ context.Context, d messaging.Delivery) error {
		if string(d.Body) == "to: nobody@" {
			return errors.New("mail server: no such address")
		}
		return nil // acknowledged
	})

	_ = broker.Publish(ctx,
		messaging.Message{Topic: "email-queue", ID: "mail-1", Body: []byte("to: nobody@")},
		messaging.Message{Topic: "email-queue", ID: "mail-2", Body: []byte("to: ada@example.com")})
	d := <-dead
	fmt.Println(d.ID, "failed", d.Headers["keelson-attempts"], "times:", d.Headers["keelson-error"])
	// Output: mail-1 failed 3 times: mail server: no such address
}

// Declare makes a group before its first member comes, so that it misses nothing.
func ExampleMemory_Declare() {
	ctx := context.Background()
	broker := messaging.NewMemory(messaging.Config{Retain: -1}) // nothing for groups that come later
	broker.Declare("order-events", "audit")
	_ = broker.Publish(ctx, messaging.Message{Topic: "order-events", Body: []byte("created")})

	for _, g := range broker.Stats() {
		fmt.Println(g.Topic, g.Group, g.Ready)
	}
	// Output: order-events audit 1
}
