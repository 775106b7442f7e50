package eventtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

var errFails = errors.New("the handler fails")

func errorRedelivers(s *suite) {
	topic, in := s.topic(), s.inbox()
	s.join(subscription(topic), func(ctx context.Context, d messaging.Delivery) error {
		_ = in.handle(ctx, d)
		if d.Attempt < 3 {
			return errFails
		}
		return nil
	})
	s.publish(messaging.Message{ID: "1", Topic: topic, Body: []byte("body")})
	for i, d := range in.take(3) {
		if d.ID != "1" || d.Attempt != i+1 || string(d.Body) != "body" {
			s.Errorf("delivery %d: %v", i+1, d)
		}
	}
	s.publish(messaging.Message{ID: "end", Topic: topic})
	for _, d := range in.until("end") {
		s.Errorf("acknowledged, and delivered again: %v", d)
	}
	in.take(2) // the marker itself fails twice
}

func retryAfterIsHeeded(s *suite) {
	topic := s.topic()
	at := make(chan time.Time, 2)
	sub := subscription(topic)
	sub.Backoff = func(int) time.Duration { return time.Hour }
	const after = 50 * time.Millisecond
	s.join(sub, func(_ context.Context, d messaging.Delivery) error {
		at <- time.Now()
		if d.Attempt == 1 {
			return fmt.Errorf("wrapped: %w", opinion{retryable: true, after: after})
		}
		return nil
	})
	s.publish(messaging.Message{Topic: topic})
	first := await(s, "a delivery", at)
	if waited := await(s, "another, since RetryAfter goes before Backoff", at).Sub(first); waited < after {
		s.Errorf("redelivered after %v, asked for %v", waited, after)
	}
}

func deadLetterAfterMaxAttempts(s *suite) {
	topic, dead := s.topic(), s.inbox()
	byDefault, named := subscription(topic), subscription(topic)
	byDefault.MaxAttempts = 3
	named.Group, named.MaxAttempts, named.DeadLetter = "other", 1, topic+"-parking"
	long := errors.New(strings.Repeat("ü\x00\xff", 2000))
	attempts := make(chan int, 16)
	graves := []string{topic + ".g.dead", named.DeadLetter}
	for _, grave := range graves {
		s.join(subscription(grave), dead.handle)
	}
	s.join(byDefault, func(_ context.Context, d messaging.Delivery) error {
		attempts <- d.Attempt
		return errFails
	})
	s.join(named, func(context.Context, messaging.Delivery) error { return long })
	s.publish(messaging.Message{
		ID: "poison", Topic: topic, Key: "k", Body: []byte("body"),
		Headers: map[string]string{"own": "kept", "keelson-error": "replaced"},
	})
	for _, d := range dead.take(2) {
		group, tries, cause := "g", "3", errFails.Error()
		if d.Topic == named.DeadLetter {
			group, tries, cause = "other", "1", "ü"
		}
		h := d.Headers
		if d.ID != "poison" || d.Key != "k" || string(d.Body) != "body" || h["own"] != "kept" {
			s.Errorf("the dead letter is %v", d)
		}
		if h["keelson-topic"] != topic || h["keelson-group"] != group || h["keelson-attempts"] != tries {
			s.Errorf("headers %.300v", h)
		}
		text := h["keelson-error"]
		if !strings.HasPrefix(text, cause) || len(text) > 1<<10 || !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			s.Errorf("keelson-error of %d bytes: %.40q", len(text), text)
		}
	}
	for want := 1; want <= 3; want++ {
		if got := await(s, "an attempt", attempts); got != want {
			s.Errorf("attempt %d, want %d", got, want)
		}
	}
	if len(attempts) > 0 {
		s.Error("a dead message was delivered again")
	}
}

func deadLetterAtOnce(s *suite) {
	topic, dead := s.topic(), s.inbox()
	s.join(subscription(topic+".g.dead"), dead.handle)
	s.join(subscription(topic), func(context.Context, messaging.Delivery) error {
		return fmt.Errorf("wrapped: %w", opinion{retryable: false})
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	if d := dead.next(); d.Headers["keelson-attempts"] != "1" {
		s.Errorf("died with headers %v", d.Headers)
	}
}

// An open breaker refuses with Retryable() == false and the time to come back:
// its messages wait.
func refusalWithTime(s *suite) {
	topic, in := s.topic(), s.inbox()
	sub := subscription(topic)
	sub.MaxAttempts = 3
	s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
		_ = in.handle(ctx, d)
		if d.Attempt == 1 {
			return opinion{retryable: false, after: time.Millisecond}
		}
		return nil
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	if d := in.take(2)[1]; d.Attempt != 2 {
		s.Errorf("second delivery: %v", d)
	}
}

func neverDies(s *suite) {
	topic, in := s.topic(), s.inbox()
	sub := subscription(topic)
	sub.MaxAttempts = -1
	s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
		if d.Attempt < 12 {
			return errFails
		}
		return in.handle(ctx, d)
	})
	s.publish(messaging.Message{ID: "1", Topic: topic})
	if d := in.next(); d.Attempt != 12 {
		s.Errorf("attempt %d", d.Attempt)
	}
}

func eventsTell(s *suite) {
	topic := s.topic()
	events := make(chan messaging.Event, 16)
	sub := subscription(topic)
	sub.MaxAttempts = 2
	sub.OnEvent = func(e messaging.Event) {
		if e.ID != hello {
			events <- e
		}
	}
	s.join(sub, func(_ context.Context, d messaging.Delivery) error {
		if d.ID == "bad" {
			return errFails
		}
		return nil
	})
	s.publish(messaging.Message{ID: "bad", Topic: topic})
	check := func(want messaging.Event) {
		s.Helper()
		got := await(s, "an event", events)
		if got.Took < 0 || got.Took > brokerPatience {
			s.Errorf("took %v", got.Took)
		}
		got.Took = 0
		if got.Err != nil && !errors.Is(got.Err, errFails) {
			s.Errorf("error %v", got.Err)
		}
		if (got.Err != nil) != (want.Err != nil) {
			s.Errorf("error %v, want %v", got.Err, want.Err)
		}
		got.Err, want.Err = nil, nil
		if got != want {
			s.Errorf("event %+v, want %+v", got, want)
		}
	}
	check(messaging.Event{Group: "g", Topic: topic, ID: "bad", Attempt: 1, Err: errFails})
	check(messaging.Event{Group: "g", Topic: topic, ID: "bad", Attempt: 2, Err: errFails, DeadLettered: true})
	s.publish(messaging.Message{ID: "good", Topic: topic})
	check(messaging.Event{Group: "g", Topic: topic, ID: "good", Attempt: 1})
}
