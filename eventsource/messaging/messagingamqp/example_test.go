package messagingamqp_test //nolint:testableexamples // it needs a server

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingamqp"
)

// A durable work queue: a message is confirmed when it is on disk, is acknowledged
// when its mail is sent, and goes to email-queue.mailer.dead after five attempts.
func Example() { //nolint:testableexamples // it needs a server
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	broker, err := messagingamqp.Open(ctx, messagingamqp.Config{URL: "amqp://guest:guest@127.0.0.1/"})
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	if err := broker.Declare(ctx, "email-queue", "mailer"); err != nil { // from now on nothing is missed
		panic(err)
	}

	err = broker.Publish(ctx, messaging.Message{Topic: "email-queue", Body: []byte("to: ada@example.com")})
	if err != nil {
		panic(err)
	}
	mailer := messaging.Subscription{Topics: []string{"email-queue"}, Group: "mailer", Concurrency: 4}
	err = broker.Subscribe(ctx, mailer, func(ctx context.Context, d messaging.Delivery) error {
		return send(ctx, d.Body)
	})
	fmt.Println(err) // the signal
}

func send(_ context.Context, mail []byte) error {
	_, err := fmt.Printf("%s\n", mail)
	return err
}
