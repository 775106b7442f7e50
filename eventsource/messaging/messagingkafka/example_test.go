package messagingkafka_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingkafka"
)

// A consumer group on a topic that is keyed by order: the events of one order are
// handled in order, by whichever process of the group has its partition, and those
// of different orders side by side.
func Example() { //nolint:testableexamples // it needs a server
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	broker, err := messagingkafka.New(messagingkafka.Config{Brokers: []string{"127.0.0.1:9092"}, Partitions: 12})
	if err != nil {
		panic(err)
	}
	defer broker.Close()

	err = broker.Publish(ctx, messaging.Message{Topic: "order-events", Key: "order-17", Body: []byte(`{"sku":"lamp"}`)})
	if err != nil {
		panic(err)
	}
	inventory := messaging.Subscription{Topics: []string{"order-events"}, Group: "inventory-service", Concurrency: 8}
	err = broker.Subscribe(ctx, inventory, func(_ context.Context, d messaging.Delivery) error {
		fmt.Printf("reserve %s for %s, attempt %d\n", d.Body, d.Key, d.Attempt)
		return nil // acknowledged; an error brings it back
	})
	fmt.Println(err) // the signal
}
