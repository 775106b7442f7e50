package messagingredis_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/redis/go-redis/v9"
)

// A work queue on the Redis that is there already.
func Example() { //nolint:testableexamples // it needs a server
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer client.Close()
	broker := messagingredis.New(client, messagingredis.Config{})

	if err := broker.Publish(ctx, messaging.Message{Topic: "thumbnails", Body: []byte("photo-17.jpg")}); err != nil {
		panic(err)
	}
	workers := messaging.Subscription{Topics: []string{"thumbnails"}, Group: "workers", Concurrency: 4}
	err := broker.Subscribe(ctx, workers, func(_ context.Context, d messaging.Delivery) error {
		fmt.Printf("scale %s, attempt %d\n", d.Body, d.Attempt)
		return nil // acknowledged; an error brings it back
	})
	fmt.Println(err) // the signal
}
