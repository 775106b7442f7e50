// Package adapter is what brokers outside package messaging have in common: it
// turns a subscription and a handler into a member of package consume.
package adapter

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
)

// Settings checks a subscription and fills in its zero values.
func Settings(sub messaging.Subscription, h messaging.Handler) (consume.Settings, error) {
	if h == nil {
		return consume.Settings{}, fmt.Errorf("%w: the handler is nil", messaging.ErrInvalid)
	}
	return consume.Settings{
		Topics: sub.Topics, Group: sub.Group, DeadLetter: sub.DeadLetter,
		Concurrency: sub.Concurrency, MaxAttempts: sub.MaxAttempts, Backoff: sub.Backoff,
	}.Resolve()
}

// Prepare checks messages before any is sent, and returns a copy with the missing
// IDs set.
func Prepare(msgs []messaging.Message) ([]messaging.Message, error) {
	out := make([]messaging.Message, len(msgs))
	for i, m := range msgs {
		if err := consume.CheckMessage(m.ID, m.Topic, m.Key, m.Headers, m.Body); err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		if m.ID == "" {
			m.ID = id.New().String()
		}
		out[i] = m
	}
	return out, nil
}

// Ops is what a broker does for one delivery of its own kind T.
type Ops[T any] struct {
	// Message returns a copy that the handler may keep and change.
	Message func(v T) messaging.Delivery

	// Again is called before a delivery other than the first here. Nil: nothing.
	Again func(ctx context.Context, v T, attempt int)

	// Ack acknowledges.
	Ack func(ctx context.Context, v T) error

	// Publish sends a dead letter.
	Publish func(ctx context.Context, m messaging.Message) error

	// Gone and MaxWait are those of consume.Member.
	Gone    func(v T) bool
	MaxWait time.Duration

	// Took is told how long each handler ran. Nil: nobody is.
	Took func(time.Duration)
}

// Run handles the deliveries of q until ctx ends; see consume.Member.Run. A
// handler's panic is raised again.
func Run[T any](ctx context.Context, settings consume.Settings, sub messaging.Subscription, h messaging.Handler, ops Ops[T], q *consume.Queue[T]) error {
	member := consume.Member[T]{
		Settings: settings,
		Handle: func(ctx context.Context, v T, attempt int) error {
			if attempt > 1 && ops.Again != nil {
				ops.Again(ctx, v, attempt)
			}
			d := ops.Message(v)
			d.Attempt = attempt
			return h(ctx, d)
		},
		Ack: ops.Ack,
		Bury: func(ctx context.Context, v T, attempts int, cause error) error {
			dead := ops.Message(v).Message
			dead.Headers = consume.DeadHeaders(dead.Headers, dead.Topic, settings.Group, attempts, cause)
			dead.Topic = settings.DeadLetterOf(dead.Topic)
			return ops.Publish(ctx, dead)
		},
		Gone: ops.Gone, MaxWait: ops.MaxWait,
	}
	if sub.OnEvent != nil || ops.Took != nil {
		member.Observe = func(v T, o consume.Outcome) {
			if ops.Took != nil {
				ops.Took(o.Took)
			}
			if sub.OnEvent == nil {
				return
			}
			d := ops.Message(v)
			sub.OnEvent(messaging.Event{
				Group: settings.Group, Topic: d.Topic, ID: d.ID,
				Attempt: o.Attempt, Took: o.Took, DeadLettered: o.DeadLettered, Err: o.Err,
			})
		}
	}
	return member.Run(ctx, q)
}

// Raise panics again with what a handler panicked with, and returns other errors.
// An adapter calls it last, when everything is released.
func Raise(err error) error {
	if p, ok := err.(*consume.Panicked); ok { //nolint:errorlint // Run returns it bare
		panic(&messaging.PanicError{Value: p.Value, Stack: p.Stack})
	}
	return err
}
