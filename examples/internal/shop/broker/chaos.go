package broker

import (
	"context"
	"slices"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
)

// heldBack is a message that others are to overtake, by a fault on purpose.
type heldBack struct {
	messaging.Message
	left int // messages of its topic that still do
}

// longest is how long a message is held back if there are no others.
const longest = 500 * time.Millisecond

// spread publishes messages as often and in the order that the faults in force want:
// once and as they come, without any.
func (f *Front) spread(ctx context.Context, msgs []messaging.Message) error {
	for _, msg := range msgs {
		copies, behind := f.deliver(msg.Topic)
		if behind > 0 {
			f.holdBack(msg, behind)
			continue
		}
		for range copies {
			if err := f.memory.Publish(ctx, msg); err != nil {
				return err
			}
		}
		for _, late := range f.overtaken(msg.Topic) {
			if err := f.memory.Publish(ctx, late.Message); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdBack keeps a message until so many others have passed it, or for a while.
func (f *Front) holdBack(msg messaging.Message, behind int) {
	h := &heldBack{msg, behind}
	f.mu.Lock()
	f.back = append(f.back, h)
	f.mu.Unlock()
	time.AfterFunc(longest, func() {
		if f.drop(h) {
			_ = f.memory.Publish(context.Background(), h.Message) // it was accepted: it is delivered
		}
	})
}

// drop takes a message out of those held back, if it is still there.
func (f *Front) drop(h *heldBack) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.back, h)
	if i >= 0 {
		f.back = slices.Delete(f.back, i, i+1)
	}
	return i >= 0
}

// overtaken counts one more message of a topic, and returns those that enough have
// passed.
func (f *Front) overtaken(topic string) (due []*heldBack) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.back {
		if h.Topic == topic {
			h.left--
		}
	}
	f.back = slices.DeleteFunc(f.back, func(h *heldBack) bool {
		if h.left > 0 {
			return false
		}
		due = append(due, h)
		return true
	})
	return due
}
