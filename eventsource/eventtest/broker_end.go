package eventtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

func panicIsNoAck(s *suite) {
	topic, in := s.topic(), s.inbox()
	m := s.join(subscription(topic), func(context.Context, messaging.Delivery) error {
		boom()
		return nil
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	m.wait()
	crash, ok := m.panicked.(*messaging.PanicError)
	if !ok || crash.Value != "boom" || !strings.Contains(string(crash.Stack), "boom(") {
		s.Fatalf("Subscribe returned %v, panicked with %v", m.err, m.panicked)
	}
	s.join(subscription(topic), in.handle)
	if d := in.next(); d.ID != "1" {
		s.Errorf("got %v", d)
	}
}

func boom() { panic("boom") }

func goexitIsNoAck(s *suite) {
	topic, in := s.topic(), s.inbox()
	m := s.join(subscription(topic), func(context.Context, messaging.Delivery) error {
		runtime.Goexit()
		return nil
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	m.wait()
	if m.err == nil || m.panicked != nil {
		s.Fatalf("Subscribe returned %v, panicked with %v", m.err, m.panicked)
	}
	s.join(subscription(topic), in.handle)
	if d := in.next(); d.ID != "1" {
		s.Errorf("got %v", d)
	}
}

// T39: a message that ends every member that gets it ends as a dead letter, and
// those behind it are handled.
func poisonDies(s *suite) {
	topic, in, dead := s.topic(), s.inbox(), s.inbox()
	s.join(subscription(topic+".g.dead"), dead.handle)
	sub := subscription(topic)
	sub.MaxAttempts = 3
	s.declare(sub)
	s.publish(messaging.Message{ID: "poison", Topic: topic, Key: "k"}, messaging.Message{ID: "next", Topic: topic, Key: "k"})
	for range 3 {
		s.join(sub, func(_ context.Context, d messaging.Delivery) error { panic(d.ID) }).wait()
	}
	s.join(sub, in.handle)
	if d := dead.next(); d.ID != "poison" || d.Headers["keelson-attempts"] != "3" {
		s.Errorf("dead letter %v", d)
	}
	if d := in.next(); d.ID != "next" {
		s.Errorf("then %v", d)
	}
}

func drainAcknowledges(s *suite) {
	topic, in := s.topic(), s.inbox()
	running, ended, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	m := s.join(subscription(topic), func(ctx context.Context, d messaging.Delivery) error {
		close(running)
		<-ctx.Done()
		close(ended)
		<-release
		if !errors.Is(context.Cause(ctx), errLeft) {
			s.Errorf("the handler's ctx ended with %v", context.Cause(ctx))
		}
		return in.handle(ctx, d)
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	await(s, "a handler runs", running)
	m.cancel(errLeft)
	await(s, "its ctx ends", ended)
	s.others()
	select {
	case <-m.done:
		s.Error("Subscribe did not wait for its handler")
	default:
	}
	close(release)
	m.wait()
	if !errors.Is(m.err, errLeft) {
		s.Errorf("Subscribe returned %v", m.err)
	}
	in.next()
	s.join(subscription(topic), in.handle)
	s.publish(messaging.Message{ID: "end", Topic: topic})
	for _, d := range in.until("end") {
		s.Errorf("acknowledged while draining, and delivered again: %v", d)
	}
}

func drainReturns(s *suite) {
	topic, in := s.topic(), s.inbox()
	running := make(chan struct{})
	m := s.join(subscription(topic), func(ctx context.Context, _ messaging.Delivery) error {
		close(running)
		<-ctx.Done()
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	})
	s.publish(messaging.Message{ID: "1", Topic: topic, Key: "k"}, messaging.Message{ID: "2", Topic: topic, Key: "k"})
	await(s, "a handler runs", running)
	m.leave()
	s.join(subscription(topic), in.handle)
	if got := in.take(2); got[0].ID != "1" || got[1].ID != "2" {
		s.Errorf("the next member got %v", got)
	}
}

func brokerEndedContext(s *suite) {
	topic, in := s.topic(), s.inbox()
	ctx, cancel := context.WithCancelCause(s.Context())
	cancel(errLeft)
	if err := s.Publish(ctx, messaging.Message{Topic: topic}); !errors.Is(err, errLeft) {
		s.Errorf("Publish returned %v", err)
	}
	if err := s.Subscribe(ctx, subscription(topic), in.handle); !errors.Is(err, errLeft) {
		s.Errorf("Subscribe returned %v", err)
	}
}
