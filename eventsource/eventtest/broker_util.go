package eventtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// brokerPatience bounds every wait of the suite, far above what a broker needs.
var brokerPatience = 20 * time.Second

// suite is one case on one broker.
type suite struct {
	*testing.T
	Broker
	caps  Caps
	known map[string]bool // topic and group of groups that exist
}

var topics atomic.Int64

// topic returns a name that no other case uses, since brokers may share a server.
func (s *suite) topic() string {
	return fmt.Sprintf("t%d-%d", time.Now().UnixNano()%1e9, topics.Add(1))
}

// quick is a backoff for tests.
func quick(int) time.Duration { return 5 * time.Millisecond }

// subscription is the plain one of most cases.
func subscription(topic string) messaging.Subscription {
	return messaging.Subscription{Topics: []string{topic}, Group: "g", Concurrency: 1, Backoff: quick}
}

func (s *suite) publish(msgs ...messaging.Message) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), brokerPatience)
	defer cancel()
	if err := s.Publish(ctx, msgs...); err != nil {
		s.Fatalf("Publish: %v", err)
	}
}

// member is a Subscribe that runs in the background.
type member struct {
	*suite
	cancel   context.CancelCauseFunc
	done     chan struct{}
	err      error
	panicked any
}

var errLeft = errors.New("the test ends the subscription")

// hello is the message by which a group shows that it exists.
const hello = "hello"

// join subscribes until the test or leave ends it. The group exists when it
// returns: where a broker drops what precedes the group, a message is published
// until one arrives.
func (s *suite) join(sub messaging.Subscription, h messaging.Handler) *member {
	s.Helper()
	s.declare(sub)
	return s.subscribe(sub, func(ctx context.Context, d messaging.Delivery) error {
		if d.ID == hello {
			return nil
		}
		return h(ctx, d)
	})
}

// declare makes the groups of a subscription, where a group misses what precedes
// it.
func (s *suite) declare(sub messaging.Subscription) {
	s.Helper()
	sub.Concurrency, sub.OnEvent = 1, nil
	for _, sub.Topics = range splitTopics(sub.Topics) {
		name := sub.Topics[0] + " " + sub.Group
		if s.caps.Late || s.known[name] {
			continue
		}
		if s.known == nil {
			s.known = map[string]bool{}
		}
		s.known[name] = true
		arrived := make(chan struct{}, 1)
		m := s.subscribe(sub, func(context.Context, messaging.Delivery) error {
			select {
			case arrived <- struct{}{}:
			default:
			}
			return nil
		})
		for known := false; !known; {
			err := s.Publish(s.Context(), messaging.Message{ID: hello, Topic: sub.Topics[0]})
			if err != nil && !errors.Is(err, messaging.ErrNoRoute) {
				s.Fatalf("Publish: %v", err)
			}
			select {
			case <-arrived:
				known = true
			case <-m.done:
				s.Fatalf("Subscribe returned: %v", m.err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		m.leave()
	}
}

func splitTopics(topics []string) (each [][]string) {
	for _, topic := range topics {
		each = append(each, []string{topic})
	}
	return each
}

func (s *suite) subscribe(sub messaging.Subscription, h messaging.Handler) *member {
	s.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	m := &member{suite: s, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		defer func() { m.panicked = recover() }()
		m.err = s.Subscribe(ctx, sub, h)
	}()
	s.Cleanup(m.leave)
	return m
}

// leave ends the subscription and waits for it.
func (m *member) leave() {
	m.Helper()
	m.cancel(errLeft)
	m.wait()
}

func (m *member) wait() {
	m.Helper()
	select {
	case <-m.done:
	case <-time.After(brokerPatience):
		m.Fatalf("Subscribe did not return within %v", brokerPatience)
	}
}

// inbox collects deliveries.
type inbox struct {
	*suite
	ch chan messaging.Delivery
}

func (s *suite) inbox() *inbox { return &inbox{suite: s, ch: make(chan messaging.Delivery, 4096)} }

// handle acknowledges.
func (i *inbox) handle(_ context.Context, d messaging.Delivery) error {
	i.ch <- d
	return nil
}

// next waits for a delivery.
func (i *inbox) next() messaging.Delivery {
	i.Helper()
	select {
	case d := <-i.ch:
		return d
	case <-time.After(brokerPatience):
		i.Fatalf("no delivery within %v", brokerPatience)
		panic("unreachable")
	}
}

func (i *inbox) take(n int) (all []messaging.Delivery) {
	i.Helper()
	for range n {
		all = append(all, i.next())
	}
	return all
}

// until waits for the delivery of this id and returns those before it. Published
// last, with all others settled, it proves that nothing else was to come.
func (i *inbox) until(id string) (before []messaging.Delivery) {
	i.Helper()
	for {
		d := i.next()
		if d.ID == id {
			return before
		}
		before = append(before, d)
	}
}

// await waits for what some other goroutine does.
func await[E any](s *suite, what string, ch <-chan E) (e E) {
	s.Helper()
	select {
	case e = <-ch:
	case <-time.After(brokerPatience):
		s.Fatalf("within %v: %s", brokerPatience, what)
	}
	return e
}

// opinion is an error with a mind of its own.
type opinion struct {
	retryable bool
	after     time.Duration
}

func (o opinion) Error() string             { return "an error that says what to do" }
func (o opinion) Retryable() bool           { return o.retryable }
func (o opinion) RetryAfter() time.Duration { return o.after }
