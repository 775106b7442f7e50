package cachetest

import (
	"context"
	"time"

	"github.com/keelson-go/keelson/cache"
)

// beat is how often a subscriber is told its position.
const beat = 500 * time.Millisecond

// Subscribe implements [cache.Bus].
func (n *Node) Subscribe(ctx context.Context, after uint64, deliver func(cache.Message)) error {
	if err := n.way(ctx); err != nil {
		return err
	}
	var pos uint64
	if err := n.cluster.do(func(s *server, _ time.Time) { pos = s.position(after) }); err != nil {
		return err
	}
	if err := n.way(ctx); err != nil {
		return err
	}
	deliver(cache.Message{Seq: pos})
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		more, head, changed, err := n.cluster.read(pos)
		if err != nil {
			return n.late(ctx, err)
		}
		if err := n.deliver(ctx, more, deliver); err != nil {
			return err
		}
		pos = head
		select {
		case <-changed:
		case <-timer.C:
			timer.Reset(beat)
			if err := n.deliver(ctx, []cache.Message{{Seq: head}}, deliver); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read returns what is in the log behind a position, the position of its end,
// and a channel that is closed when that is no longer all.
func (c *Cluster) read(pos uint64) (more []cache.Message, head uint64, changed <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, 0, nil, errStopped
	}
	return c.server.after(pos), c.server.head, c.changed, nil
}

// late is the end of a connection, which a cut keeps from the client.
func (n *Node) late(ctx context.Context, err error) error {
	if ended := n.through(ctx); ended != nil {
		return ended
	}
	return err
}

// deliver takes messages over the link together; it may lose or double some.
func (n *Node) deliver(ctx context.Context, messages []cache.Message, deliver func(cache.Message)) error {
	if len(messages) == 0 {
		return nil
	}
	if err := n.way(ctx); err != nil {
		return err
	}
	for _, m := range messages {
		if err := n.through(ctx); err != nil {
			return err
		}
		if n.happens(func(f Faults) float64 { return f.Drop }) {
			continue
		}
		deliver(m)
		if n.happens(func(f Faults) float64 { return f.Duplicate }) && ctx.Err() == nil {
			deliver(m)
		}
	}
	return nil
}
