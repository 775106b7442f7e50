// Command outbox starts itself three times. An order is a line in a log, and a mail
// follows from it by way of a broker. The first process dies between the line and
// its publication, the second one between the publication and the note of it: no
// mail is lost, and none is sent twice.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventfile"
	"github.com/keelson-go/keelson/eventsource/messaging"
)

func main() {
	if dir := os.Getenv("OUTBOX_DIR"); dir != "" {
		process(dir, os.Getenv("OUTBOX_PROCESS"))
		return
	}
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"first", "second", "third"} {
		fmt.Println(name, "process")
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), "OUTBOX_DIR="+dir, "OUTBOX_PROCESS="+name)
		self.Stdout, self.Stderr = os.Stdout, os.Stderr
		fmt.Println("  ended with", self.Run())
	}
}

func process(dir, name string) {
	ctx := context.Background()
	log, err := eventfile.Open(dir, eventfile.Config{}) // durable when Append returns
	if err != nil {
		panic(err)
	}
	if name == "first" {
		for _, order := range []string{"order-17", "order-18"} {
			_, err := log.Append(ctx, []eventsource.Event{{Stream: order, Type: "OrderCreated"}})
			fmt.Println("  accepted", order, err)
		}
		os.Exit(1) // nothing deferred runs, nothing is published
	}

	broker, handled := messaging.NewMemory(messaging.Config{}), make(chan string)
	mailer := messaging.Subscription{Topics: []string{"order-events"}, Group: "mailer"}
	go broker.Subscribe(ctx, mailer, func(ctx context.Context, d messaging.Delivery) error {
		mail := eventsource.Event{ID: "mail-for-" + d.ID, Stream: "mails", Type: "MailSent"} // a repeat has this id too
		r, err := log.Append(ctx, []eventsource.Event{mail})
		fmt.Printf("  mail for %s, already sent: %t\n", d.Key, r.Duplicate)
		handled <- d.Key
		return err
	})
	orders := eventsource.Query{{Types: []string{"OrderCreated"}}}
	relay := messaging.Relay("order-events", orders, broker, "order-events") // the log is the outbox
	relay.BatchSize = 1
	relay.Lease = 300 * time.Millisecond // the silence after which a dead process is succeeded: 10 s in earnest
	publish, relayed := relay.Apply, make(chan bool)
	relay.Apply = func(ctx context.Context, b eventsource.Batch) error {
		err := publish(ctx, b)
		if <-handled; name == "second" {
			os.Exit(1) // published and handled, and no note of it
		}
		relayed <- true
		return err
	}
	go relay.Run(ctx, log, log)
	<-relayed // for order-17
	<-relayed // for order-18
	fmt.Println("  nothing left to publish")
}
