// Command queue-dlq works on a queue in which one task is poison. The others go on
// while it is tried again; then it goes to the dead letters, with the reason, and
// from there back into the queue once the handler can bear it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// Mail is a task.
type Mail struct{ To, Language string }

// Mailer sends mail. To return nil acknowledges a task, an error brings it back.
type Mailer struct {
	polyglot atomic.Bool
	sent     chan string
}

// Send handles one delivery.
func (m *Mailer) Send(_ context.Context, d messaging.Delivery) error {
	var mail Mail
	if err := json.Unmarshal(d.Body, &mail); err != nil {
		return err
	}
	if mail.Language != "en" && !m.polyglot.Load() {
		fmt.Printf("  attempt %d for %s fails\n", d.Attempt, mail.To)
		return fmt.Errorf("no template in %q", mail.Language)
	}
	fmt.Println("  sent to", mail.To)
	m.sent <- d.ID
	return nil
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	broker := messaging.NewMemory(messaging.Config{}) // Redis, RabbitMQ and Kafka are used in the same way
	for _, mail := range []Mail{{"ann", "en"}, {"worf", "tlh"}, {"bob", "en"}} {
		body, _ := json.Marshal(mail)
		if err := broker.Publish(ctx, messaging.Message{Topic: "email-queue", Body: body}); err != nil {
			panic(err)
		}
	}
	mailer := &Mailer{sent: make(chan string, 3)}
	go broker.Subscribe(ctx, messaging.Subscription{
		Topics: []string{"email-queue"}, Group: "mailer", // members of one group share the work
		MaxAttempts: 3,
		Backoff:     func(int) time.Duration { return 200 * time.Millisecond },
		DeadLetter:  "email-dead",
	}, mailer.Send)

	dead := make(chan messaging.Delivery)
	operator := messaging.Subscription{Topics: []string{"email-dead"}, Group: "operator"}
	go broker.Subscribe(ctx, operator, func(_ context.Context, d messaging.Delivery) error { dead <- d; return nil })
	d := <-dead
	fmt.Printf("dead after %s attempts: %s\n", d.Headers["keelson-attempts"], d.Headers["keelson-error"])
	<-mailer.sent // ann's
	<-mailer.sent // bob's

	fmt.Println("the template is there, and the message goes back as it was")
	mailer.polyglot.Store(true)
	d.Topic = d.Headers["keelson-topic"]
	if err := broker.Publish(ctx, d.Message); err != nil {
		panic(err)
	}
	fmt.Println("the same message:", <-mailer.sent == d.ID)
}
