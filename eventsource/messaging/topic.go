package messaging

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
)

// held is a message that was accepted. All groups share it; each delivery gets a
// copy.
type held struct {
	Message
	at time.Time
}

// topic hands each message to every group. Lock order: topic, then queue.
type topic struct {
	name             string
	retain, capacity int

	mu       sync.Mutex
	retained []*held // a ring of the latest, once it is full
	oldest   int     // where it begins
	groups   map[string]*group
	each     []*group // the same, to go over
}

type group struct{ queue *consume.Queue[*held] }

// publish waits until every group has room, then gives msg to all at once, so
// that they agree on the order.
func (t *topic) publish(ctx context.Context, msg *held) error {
	for {
		full := t.tryPublish(msg)
		if full == nil {
			return nil
		}
		if err := full.queue.WaitBelow(ctx, t.capacity); err != nil {
			return err
		}
	}
}

// tryPublish returns a group without room, and then has done nothing. Only
// publishers add to a queue, and all do it under this lock, so a look suffices.
func (t *topic) tryPublish(msg *held) (full *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.each {
		if g.queue.Len() >= t.capacity {
			return g
		}
	}
	for _, g := range t.each {
		g.queue.Push(msg, msg.Key, 0)
	}
	t.keep(msg)
	return nil
}

func (t *topic) keep(msg *held) {
	switch {
	case t.retain == 0:
	case len(t.retained) < t.retain:
		t.retained = append(t.retained, msg)
	default:
		t.retained[t.oldest] = msg
		t.oldest = (t.oldest + 1) % t.retain
	}
}

// group returns the group of this name. A new one begins with what is retained.
func (t *topic) group(name string) *group {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil {
		g = &group{queue: consume.NewQueue[*held]()}
		for i := range t.retained {
			msg := t.retained[(t.oldest+i)%len(t.retained)]
			g.queue.Push(msg, msg.Key, 0)
		}
		t.groups[name], t.each = g, append(t.each, g)
	}
	return g
}

func (t *topic) all() map[string]*group {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.groups)
}
