package eventtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

func carriesMessagesUnchanged(s *suite) {
	topic, in := s.topic(), s.inbox()
	s.join(subscription(topic), in.handle)
	for _, want := range []messaging.Message{
		{ID: "plain", Topic: topic, Key: "order-17", Headers: map[string]string{"traceparent": "00-1-2-01"}, Body: []byte(`{"id":17}`)},
		{ID: "bytes", Topic: topic, Body: []byte("\x00\xff\n\r\x1f{}\"")},
		{ID: "text", Topic: topic, Key: "schlüssel {a} \"b\" \\ ,", Headers: map[string]string{"Größe: x": "50 € = \"{}\""}, Body: []byte("x")},
		{ID: "nothing", Topic: topic},
		{ID: strings.Repeat("i", 255), Topic: topic, Key: strings.Repeat("k", 255), Body: make([]byte, 256<<10)},
	} {
		s.publish(want)
		got := in.next()
		if got.ID != want.ID || got.Topic != want.Topic || got.Key != want.Key ||
			!maps.Equal(got.Headers, want.Headers) || string(got.Body) != string(want.Body) {
			s.Errorf("got %.200q, want %.200q", fmt.Sprint(got.Message), fmt.Sprint(want))
		}
		if got.Attempt != 1 {
			s.Errorf("attempt %d of the first delivery of %.20q", got.Attempt, want.ID)
		}
		if age := time.Since(got.Time); age < -time.Minute || age > time.Minute {
			s.Errorf("%.20q was accepted at %v", want.ID, got.Time)
		}
	}
}

func setsMissingIDs(s *suite) {
	topic, in := s.topic(), s.inbox()
	s.join(subscription(topic), in.handle)
	s.publish(messaging.Message{Topic: topic}, messaging.Message{Topic: topic})
	a, b := in.next().ID, in.next().ID
	if a == "" || a == b {
		s.Errorf("ids %q and %q", a, b)
	}
}

func refusesWhatBreaksTheRules(s *suite) {
	topic, in := s.topic(), s.inbox()
	s.join(subscription(topic), in.handle)
	good := messaging.Message{ID: "good", Topic: topic}
	for field, bad := range map[string]messaging.Message{
		"Topic":   {Topic: "no/such name"},
		"ID":      {Topic: topic, ID: "\x00"},
		"Key":     {Topic: topic, Key: "\xff"},
		"Headers": {Topic: topic, Headers: map[string]string{"": "x"}},
	} {
		err := s.Publish(s.Context(), good, bad)
		if !errors.Is(err, messaging.ErrInvalid) || !strings.Contains(err.Error(), field) {
			s.Errorf("%s: %v", field, err)
		}
	}
	valid := subscription(topic)
	for field, change := range map[string]func(*messaging.Subscription){
		"Topics":      func(sub *messaging.Subscription) { sub.Topics = nil },
		"Topics[1]":   func(sub *messaging.Subscription) { sub.Topics = []string{topic, topic} },
		"Group":       func(sub *messaging.Subscription) { sub.Group = "" },
		"DeadLetter":  func(sub *messaging.Subscription) { sub.DeadLetter = topic },
		"Concurrency": func(sub *messaging.Subscription) { sub.Concurrency = -1 },
	} {
		sub := valid
		change(&sub)
		err := s.Subscribe(s.Context(), sub, in.handle)
		if !errors.Is(err, messaging.ErrInvalid) || !strings.Contains(err.Error(), field) {
			s.Errorf("%s: %v", field, err)
		}
	}
	if err := s.Subscribe(s.Context(), valid, nil); !errors.Is(err, messaging.ErrInvalid) {
		s.Errorf("nil handler: %v", err)
	}
	s.publish(messaging.Message{ID: "end", Topic: topic})
	if held := in.until("end"); len(held) > 0 {
		s.Errorf("refused together with a bad one, and held: %v", held)
	}
}

func everyGroupGetsEveryMessage(s *suite) {
	topic := s.topic()
	var boxes []*inbox
	for _, group := range []string{"billing", "inventory-service", "mail"} {
		in := s.inbox()
		sub := subscription(topic)
		sub.Group = group
		s.join(sub, in.handle)
		boxes = append(boxes, in)
	}
	const n = 20
	for i := range n {
		s.publish(messaging.Message{ID: fmt.Sprint(i), Topic: topic})
	}
	for _, in := range boxes {
		seen := map[string]int{}
		for _, d := range in.take(n) {
			seen[d.ID]++
		}
		if len(seen) != n {
			s.Errorf("a group got %v", seen)
		}
	}
}

func membersShareTheWork(s *suite) {
	topic, in := s.topic(), s.inbox()
	sub := subscription(topic)
	release := make(chan struct{})
	both := make(chan string, 2)
	for range 2 {
		first := true
		s.join(sub, func(ctx context.Context, d messaging.Delivery) error {
			if first { // each holds one message until both have one
				first = false
				both <- d.ID
				<-release
			}
			return in.handle(ctx, d)
		})
	}
	const n = 50
	// Under many keys and none, so that a broker that spreads keys finds work for both.
	for i := range n {
		key := ""
		if i%2 == 0 {
			key = fmt.Sprint("key-", i)
		}
		s.publish(messaging.Message{ID: fmt.Sprint(i), Topic: topic, Key: key})
	}
	if a, b := await(s, "both members work", both), await(s, "both members work", both); a == b {
		s.Errorf("both members have message %s", a)
	}
	close(release)
	seen := map[string]int{}
	for _, d := range in.take(n) {
		seen[d.ID]++
	}
	s.publish(messaging.Message{ID: "end", Topic: topic})
	if again := in.until("end"); len(seen) != n || len(again) > 0 {
		s.Errorf("%d of %d messages arrived, %d twice", len(seen), n, len(again))
	}
}

func severalTopics(s *suite) {
	a, b, in := s.topic(), s.topic(), s.inbox()
	sub := subscription(a)
	sub.Topics = []string{a, b}
	s.join(sub, in.handle)
	s.publish(messaging.Message{ID: "1", Topic: a}, messaging.Message{ID: "2", Topic: b})
	seen := map[string]string{}
	for _, d := range in.take(2) {
		seen[d.ID] = d.Topic
	}
	if seen["1"] != a || seen["2"] != b {
		s.Errorf("got %v", seen)
	}
}

// What a handler does to its delivery is seen by nobody else, not even by its
// own next attempt.
func handlerOwnsItsDelivery(s *suite) {
	topic, in := s.topic(), s.inbox()
	other := subscription(topic)
	other.Group = "other"
	s.join(other, in.handle)
	mine := s.inbox()
	s.join(subscription(topic), func(_ context.Context, d messaging.Delivery) error {
		copied := d
		copied.Body = append([]byte(nil), d.Body...)
		copied.Headers = maps.Clone(d.Headers)
		mine.ch <- copied
		clear(d.Body)
		d.Headers["h"] = "changed"
		if d.Attempt == 1 {
			return errors.New("once more")
		}
		return nil
	})
	sent := messaging.Message{ID: "1", Topic: topic, Headers: map[string]string{"h": "as sent"}, Body: []byte("as sent")}
	s.publish(sent)
	clear(sent.Body)
	sent.Headers["h"] = "changed"
	for _, d := range append(mine.take(2), in.next()) {
		if string(d.Body) != "as sent" || d.Headers["h"] != "as sent" {
			s.Errorf("attempt %d got %q, %v", d.Attempt, d.Body, d.Headers)
		}
	}
}

func handlerMayPublish(s *suite) {
	from, to, in := s.topic(), s.topic(), s.inbox()
	target := subscription(to)
	s.join(target, in.handle)
	s.join(subscription(from), func(ctx context.Context, d messaging.Delivery) error {
		return s.Publish(ctx, messaging.Message{ID: d.ID + "-done", Topic: to, Key: d.Key})
	})
	s.publish(messaging.Message{ID: "1", Topic: from, Key: "k"})
	if d := in.next(); d.ID != "1-done" || d.Key != "k" {
		s.Errorf("got %v", d)
	}
}

func lateGroup(s *suite) {
	topic, in := s.topic(), s.inbox()
	for i := range 3 {
		s.publish(messaging.Message{ID: fmt.Sprint(i), Topic: topic, Key: "k"})
	}
	s.join(subscription(topic), in.handle)
	for i, d := range in.take(3) {
		if d.ID != fmt.Sprint(i) {
			s.Errorf("message %d is %q", i, d.ID)
		}
	}
}
