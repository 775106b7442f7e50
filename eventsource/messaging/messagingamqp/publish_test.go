package messagingamqp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/brokertest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingamqp"
	"github.com/keelson-go/keelson/internal/engine"
)

func declare(t *testing.T, b *messagingamqp.Broker, topic, group string) {
	t.Helper()
	if err := b.Declare(t.Context(), topic, group); err != nil {
		t.Fatal(err)
	}
}

// One node is enough for what leaves it as it was.
func TestPublishAndDeclare(t *testing.T) {
	url := engine.RabbitMQ(t).URL()
	for name, run := range map[string]func(t *testing.T, url string){
		"UnroutableMessagesAreErrNoRoute":      unroutable,
		"NamesFitTogether":                     namesFit,
		"SubscribeReturnsWhatRabbitMQRefuses":  returnsRefusals,
		"DeadLetterOfALostSessionIsNotForEver": deadLetterOfALostSession,
	} {
		t.Run(name, func(t *testing.T) { run(t, url) })
	}
}

// T36: RabbitMQ confirms what it cannot route. Each such message is ErrNoRoute,
// and none of those around it that can be.
func unroutable(t *testing.T, url string) {
	b := open(t, messagingamqp.Config{URL: url})
	declare(t, b, "known", "g")
	for range 50 {
		if err := b.Publish(t.Context(), messaging.Message{Topic: "unknown"}); !errors.Is(err, messaging.ErrNoRoute) {
			t.Fatalf("to nobody: %v", err)
		}
		err := b.Publish(t.Context(),
			messaging.Message{ID: "1", Topic: "known"}, messaging.Message{ID: "2", Topic: "unknown"}, messaging.Message{ID: "3", Topic: "known"})
		if !errors.Is(err, messaging.ErrNoRoute) || !strings.Contains(err.Error(), "message 2:") || strings.Contains(err.Error(), "message 1:") || strings.Contains(err.Error(), "message 3:") {
			t.Fatalf("2 of 3 to nobody: %v", err)
		}
	}
	// Many at once, so that returns and confirmations of several are on their way.
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 50 {
				topic, want := "known", error(nil)
				if i%2 == 0 {
					topic, want = "unknown", messaging.ErrNoRoute
				}
				if err := b.Publish(t.Context(), messaging.Message{Topic: topic}); !errors.Is(err, want) {
					t.Errorf("to %s: %v", topic, err)
				}
			}
		})
	}
	group.Wait()
	declare(t, b, "unknown", "g")
	if err := b.Publish(t.Context(), messaging.Message{Topic: "unknown"}); err != nil {
		t.Errorf("once declared: %v", err)
	}
}

// T36: a server that does not read blocks the write on its connection. Publish
// still returns when ctx ends, Close ends the write, and the body is the caller's
// again. The library takes 7 s to give a silent server up, by its heartbeats.
func TestBlockedPublishReturnsWhenItsContextEnds(t *testing.T) {
	const soon = 4 * time.Second
	server := engine.RabbitMQ(t)
	b := open(t, messagingamqp.Config{URL: server.URL()})
	declare(t, b, "t", "g")
	if err := b.Publish(t.Context(), messaging.Message{Topic: "t"}); err != nil { // which declares the exchange
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	defer server.Resume()
	cause := errors.New("no patience")
	publish := func(patience time.Duration, n int, body []byte) {
		t.Helper()
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, cause)
		defer cancel()
		returned, begun := make(chan error, n), time.Now()
		for range n {
			go func() { returned <- b.Publish(ctx, messaging.Message{Topic: "t", Body: body}) }()
		}
		for range n {
			if err := brokertest.Await(t, "Publish returns", returned); !errors.Is(err, cause) {
				t.Errorf("Publish returned %v", err)
			}
		}
		if took := time.Since(begun); took > soon {
			t.Errorf("%d of %d bytes returned after %v: not their context ended them, the connection did", n, len(body), took)
		}
	}
	publish(100*time.Millisecond, 1, []byte("written, and never confirmed"))
	body := make([]byte, 16<<20)
	publish(500*time.Millisecond, 8, body) // more than the buffers of a socket
	clear(body)                            // the race detector sees who still reads it
	closed, begun := make(chan error, 1), time.Now()
	go func() { closed <- b.Close() }()
	if err := brokertest.Await(t, "Close returns", closed); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > soon {
		t.Errorf("Close returned after %v: it did not end the write, the end of the connection did", took)
	}
	if err := b.Publish(t.Context(), messaging.Message{Topic: "t"}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
}

// A topic or a group may be as long as a queue's name, but not both.
func namesFit(t *testing.T, url string) {
	b := open(t, messagingamqp.Config{URL: url})
	long := strings.Repeat("n", 200)
	sub := messaging.Subscription{Topics: []string{long}, Group: long, DeadLetter: "dead"}
	nothing := func(context.Context, messaging.Delivery) error { return nil }
	if err := b.Subscribe(t.Context(), sub, nothing); !errors.Is(err, messaging.ErrInvalid) {
		t.Errorf("Subscribe: %v", err)
	}
	if err := b.Declare(t.Context(), long, long); !errors.Is(err, messaging.ErrInvalid) {
		t.Errorf("Declare: %v", err)
	}
}

// A queue of another kind does not become right by waiting.
func returnsRefusals(t *testing.T, url string) {
	declare(t, open(t, messagingamqp.Config{URL: url}), "kinds", "g")
	classic := open(t, messagingamqp.Config{URL: url, Classic: true})
	refused := make(chan error, 1)
	go func() {
		refused <- classic.Subscribe(context.Background(), messaging.Subscription{Topics: []string{"kinds"}, Group: "g"},
			func(context.Context, messaging.Delivery) error { return nil })
	}()
	if err := brokertest.Await(t, "Subscribe returns", refused); err == nil || !strings.Contains(err.Error(), "x-queue-type") {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestWrongURLIsAnErrorWithoutThePassword(t *testing.T) {
	for _, url := range []string{"http://user:secret@127.0.0.1", "amqp://user:secret@127.0.0.1:1/", "amqp://user:secret@127.0.0.1:x/"} {
		_, err := messagingamqp.Open(t.Context(), messagingamqp.Config{URL: url})
		if err == nil || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
