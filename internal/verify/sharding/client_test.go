package sharding

import (
	"context"
	"errors"
	"time"

	"github.com/keelson-go/keelson/sharding"
)

// client writes and reads random keys by a router of its own, r, until ctx
// ends. A router that never follows learns of changes by refusals alone.
func (c *cluster) client(ctx context.Context, r *sharding.Router[int], follows bool) {
	if follows {
		c.inflight.Go(func() { _ = r.Follow(ctx) })
	}
	for ctx.Err() == nil {
		key := c.intn(keys)
		if c.chance(3) {
			c.read(ctx, r, key)
		} else {
			_ = r.Run(ctx, key, func(ctx context.Context, rt sharding.Route) error { return c.sendWrite(ctx, key, rt) })
		}
		c.sleep(10 * time.Millisecond)
	}
}

// sendWrite is one try of a write: to the owner, and a copy to the mirror.
func (c *cluster) sendWrite(ctx context.Context, key int, rt sharding.Route) error {
	c.sleep(30 * time.Millisecond)
	s := c.shards[rt.Shard]
	writes := 0
	err := s.guard.Write(ctx, key, c.arrives(s, key, rt), func(context.Context) error {
		writes = c.write(s, key, rt)
		return nil
	})
	c.check(key, err)
	if mirror := rt.Mirror(); err == nil && mirror != "" {
		// The copy takes its own time: much later than all that follows, at
		// times. Its failure is not the caller's.
		c.inflight.Go(func() {
			c.sleep(30 * time.Millisecond)
			if c.chance(4) {
				time.Sleep(time.Duration(c.intn(int(10 * time.Second))))
			}
			c.sendCopy(key, rt, c.shards[mirror], writes)
		})
	}
	return err
}

func (c *cluster) sendCopy(key int, rt sharding.Route, to *shard, writes int) {
	apply := func(context.Context) error { to.put(key, writes); return nil }
	if c.mutant.noMirrorRule {
		_ = apply(context.Background())
		return
	}
	if to.guard.Mirror(context.Background(), key, wire(rt), apply) == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mirrored++
	}
}

// read must see every write that was committed before it began.
func (c *cluster) read(ctx context.Context, r *sharding.Router[int], key int) {
	c.mu.Lock()
	before := c.committed[key]
	c.mu.Unlock()
	_ = r.Run(ctx, key, func(ctx context.Context, rt sharding.Route) error {
		c.sleep(30 * time.Millisecond)
		s := c.shards[rt.Shard]
		err := s.guard.Read(ctx, key, wire(rt), func(context.Context) error {
			if got := s.get(key); got < before {
				c.violate("%s answers a read of key %d with %d writes, %d were committed before", s.id, key, got, before)
			}
			return nil
		})
		c.check(key, err)
		return err
	})
}

// wire is a route as it comes out of a header.
func wire(rt sharding.Route) (got sharding.Route) {
	text, err := rt.MarshalText()
	if err == nil {
		err = got.UnmarshalText(text)
	}
	if err != nil {
		panic(err)
	}
	return got
}

// arrives is the route that the shard decides by.
func (c *cluster) arrives(s *shard, key int, rt sharding.Route) sharding.Route {
	if c.mutant.noEpochCheck {
		fresh, err := s.router.Route(key)
		if err == nil {
			return fresh
		}
	}
	return wire(rt)
}

// check: what no plan has moved is never refused.
func (c *cluster) check(key int, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals++
	if !c.moved[key] && (errors.Is(err, sharding.ErrStale) || errors.Is(err, sharding.ErrBlocked)) {
		c.violations = append(c.violations, "a route to a key that never moved was refused: "+err.Error())
	}
}
