package messaging

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
)

// Message is what travels. A broker refuses one that breaks a limit with an error
// that matches [ErrInvalid], so that what one broker carries, all do.
type Message struct {
	// ID serves deduplication: the same message sent twice has the same one. At
	// most 255 bytes of UTF-8 without NUL. Empty means that Publish sets a UUIDv7.
	ID string

	// Topic is 1 to 200 of a-z A-Z 0-9 . _ -
	Topic string

	// Key puts messages in order, where the broker keeps one: those of a key are
	// handled one after the other. Mostly it names what they are about, "order-17".
	// At most 255 bytes of UTF-8 without NUL. Empty means no order.
	Key string

	// Headers go beside the body: at most 128 KiB of UTF-8 without NUL. Names
	// that begin with "keelson-" are keelson's own; see [Relay] and [Subscription].
	// Nil means none.
	Headers map[string]string

	// Body is opaque, at most 16 MiB. Many brokers are set to less.
	Body []byte
}

func (m Message) check() error {
	return consume.CheckMessage(m.ID, m.Topic, m.Key, m.Headers, m.Body)
}

// clone keeps what the caller does to its slices and maps afterwards out.
func (m Message) clone() Message {
	m.Headers = maps.Clone(m.Headers)
	m.Body = bytes.Clone(m.Body)
	return m
}

// A Publisher sends messages.
type Publisher interface {
	// Publish returns nil when the broker holds all messages, as durably as its
	// package says. After an error any of them may be held: publish all again with
	// the same IDs. An error that matches [ErrInvalid] is about the messages, and
	// none is held.
	Publish(ctx context.Context, msgs ...Message) error
}

// A Subscriber receives messages.
type Subscriber interface {
	// Subscribe joins a group and calls h until ctx ends, and reconnects by itself.
	// Every group gets every message of its topics, each at one of its members.
	//
	// When ctx ends, so does that of the handlers; Subscribe waits for them, and
	// one that returns nil still acknowledges. It returns an error that matches
	// context.Cause(ctx); one that matches [ErrInvalid] if sub breaks a rule; or,
	// if a handler called runtime.Goexit, an error that says so. If a handler
	// panics, Subscribe panics with a [*PanicError]. The delivery was not
	// acknowledged in either case.
	Subscribe(ctx context.Context, sub Subscription, h Handler) error
}

// A Handler does the work of one delivery. Returning nil acknowledges it. After
// an error it comes again, see [Subscription]. Deliveries are at least once, so a
// handler must bear repeats: package outbox has one whose effect is exactly once.
type Handler func(ctx context.Context, d Delivery) error

// Delivery is a message at a handler, who may keep and change it.
type Delivery struct {
	Message
	Attempt int       // 1 at first
	Time    time.Time // when the broker accepted the message
}

// Subscription says what to receive, and what happens to a delivery whose handler
// returns an error:
//
//   - It is made again after Backoff, or after what a method
//     RetryAfter() time.Duration of the error says. Until then the messages behind
//     it of the same key wait, those of other keys go on.
//   - After MaxAttempts, or at once if a method Retryable() bool of the error
//     returns false and no RetryAfter is positive, it goes to DeadLetter. There it
//     has the same ID, Key and Headers, and besides them keelson-topic,
//     keelson-group, keelson-attempts and keelson-error (at most 1 KiB). A broker
//     that cannot take the dead letter keeps the message, and is asked again.
type Subscription struct {
	// Topics to receive from, at least one, each once.
	Topics []string

	// Group is required, and made of the same characters as a topic. Members of
	// one group share the messages.
	Group string

	// DeadLetter is the topic of what could not be handled. Empty means
	// topic + "." + Group + ".dead".
	DeadLetter string

	// Concurrency is how many handlers run at once in this member, never two of
	// one key. Zero means 1.
	Concurrency int

	// MaxAttempts before a message goes to DeadLetter. Zero means 5, negative never.
	MaxAttempts int

	// Backoff is the wait after a failed attempt; attempt counts from 1. Nil means
	// 100 ms doubling to 30 s, of which a random half is taken off.
	Backoff func(attempt int) time.Duration

	// OnEvent is called after each delivery, on the handler's goroutine, with no
	// lock held. A panic in it is treated as the handler's. Nil means that nobody is told.
	OnEvent func(Event)
}

// Event is how one delivery ended.
type Event struct {
	Group, Topic, ID string
	Attempt          int
	Took             time.Duration // of the handler
	DeadLettered     bool          // Err is why
	Err              error         // the handler's, the acknowledgement's or that of DeadLetter
}

var (
	// ErrInvalid is matched when a message or a subscription breaks a rule. The
	// text names the field, its value and what is allowed.
	ErrInvalid = consume.ErrInvalid

	// ErrNoRoute is matched when no queue is bound to the topic, so that the broker
	// would have dropped the message. Package messagingamqp returns it.
	ErrNoRoute = consume.ErrNoRoute
)

// PanicError is what a panic in a handler becomes on the goroutine of Subscribe:
// the value and the stack of where it happened.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("messaging: a handler panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
