package cache

import (
	"context"
	"fmt"
	"slices"
)

// maxMessage is how many keys or tags a message has at most.
const maxMessage = 1000

// invalidateKeys is Invalidate and, if soft, Expire. What is done here first keeps
// this node from serving the old value during the calls; in between a load may
// bring it back out of L2, so it is done once more behind them.
func (c *Cache[K, V]) invalidateKeys(ctx context.Context, keys []K, soft bool) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if len(keys) == 0 {
		return nil
	}
	c.stats.invalidations.Add(int64(len(keys)))
	c.forgetAll(keys, soft)
	if c.cfg.Bus == nil {
		return nil
	}
	var names []string
	for _, key := range keys {
		names = append(names, c.names.of(key))
	}
	slices.Sort(names)
	var err error
	for part := range slices.Chunk(slices.Compact(names), maxMessage) {
		err = firstError(err, c.spread(ctx, Message{Keys: part, Soft: soft}))
	}
	c.forgetAll(keys, soft)
	return err
}

// spread takes an invalidation to the Remote and the other nodes, or keeps it for
// replay.
func (c *Cache[K, V]) spread(ctx context.Context, m Message) error {
	defer c.announce()
	seq := c.pending.now()
	var generation uint64
	err := context.Cause(ctx)
	switch {
	case err != nil:
	case c.health.down.Load():
		c.stats.remoteSkipped.Add(1)
		err = ErrRemote
	default:
		generation, err = c.apply(ctx, m)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		c.postponed(m)
		return fmt.Errorf("%w: %w", ErrPending, err)
	}
	c.acknowledged(m, seq, generation)
	return nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// invalidateTags stamps the tags. Without a Remote the counter is this node's.
func (c *Cache[K, V]) invalidateTags(ctx context.Context, tags []string) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if len(tags) == 0 {
		return nil
	}
	c.stats.invalidations.Add(int64(len(tags)))
	tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	if c.cfg.Remote == nil {
		c.stampHere(tags)
	}
	if c.cfg.Bus == nil {
		return nil
	}
	var err error
	for part := range slices.Chunk(tags, maxMessage) {
		err = firstError(err, c.spread(ctx, Message{Tags: part}))
	}
	return err
}

// stampHere raises the node's own counter.
func (c *Cache[K, V]) stampHere(tags []string) {
	c.stamps.stamp(tags, false, c.stamps.generation.Add(1))
}

// clearAll is Clear.
func (c *Cache[K, V]) clearAll(ctx context.Context) error {
	if c.closed.Load() {
		return ErrClosed
	}
	c.stats.invalidations.Add(1)
	c.empty()
	if c.cfg.Bus == nil {
		return nil
	}
	err := c.spread(ctx, Message{Clear: true})
	c.empty()
	return err
}

// empty ends the life of all entries and running flights by a new epoch, and then
// gives their memory back.
func (c *Cache[K, V]) empty() {
	c.clearEpoch()
	out := c.collect()
	c.table.clear(&out)
	c.dispose(&out, nil)
}

func (c *Cache[K, V]) forgetAll(keys []K, soft bool) {
	for _, key := range keys {
		c.forget(key, soft)
	}
}

// forget drops the key from L1, or makes it a spare, and fences whatever is under
// way for it.
func (c *Cache[K, V]) forget(key K, soft bool) {
	out := c.collect()
	s, hash := c.table.lock(key)
	if f := s.flights[key]; f != nil {
		c.detach(s, f)
	}
	if set := s.sets[key]; set != nil {
		set.spoiled = true
	}
	if e := s.get(key, hash); e != nil {
		b := e.box.Load()
		// A spare is the same value under the same epoch: the policy has no work. Where
		// there are spares, no Set goes without the lock.
		if soft && b.meta != nil && !b.meta.absent && c.cfg.Policy.StaleIfError > 0 {
			e.box.Store(c.exchange(b, func(m *meta) { m.expired = true }))
		} else {
			s.drop(key, hash, &out)
		}
	}
	s.mu.Unlock()
	c.dispose(&out, nil)
}
