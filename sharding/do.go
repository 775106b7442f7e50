package sharding

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	doFirst = 5 * time.Millisecond
	doMost  = 500 * time.Millisecond
)

// Do calls f with the key's route, and again with a better one while f's error
// holds a [*MovedError], ErrBlocked or ErrStale: f must be safe to repeat. It
// returns what f returned last.
//
// After a refusal it calls again at once if the router has learnt of a newer
// topology, by itself or by a Refresh; else it asks the shard that the refusal
// names, once per epoch; else it waits for the next Install, or for 5 ms
// growing to 500 ms, and refreshes. When Patience is spent Do returns the last
// refusal, when ctx ends an error that matches both its cause and the last
// refusal. A key without an owner is ErrNoOwner without a call of f.
func Do[K, T any](ctx context.Context, r *Router[K], key K, f func(context.Context, Route) (T, error)) (T, error) {
	rt, err := r.Route(key)
	if err != nil {
		var zero T
		return zero, err
	}
	c := chase[K]{r: r, backoff: growth{first: doFirst, most: doMost}}
	for {
		v, err := f(ctx, rt)
		if err == nil || !refused(err) {
			return v, err
		}
		if rt, err = c.next(ctx, key, rt, err); err != nil {
			return v, err
		}
	}
}

// refused reports whether another route may help against err.
func refused(err error) bool { return errors.Is(err, ErrStale) || errors.Is(err, ErrBlocked) }

// A chase is what Do remembers from one refusal to the next.
type chase[K any] struct {
	r       *Router[K]
	until   time.Time // when Patience is spent
	asked   uint64    // the greatest epoch for which a named shard was asked
	backoff growth
}

// next returns the route to try after refusal, when it is time to.
func (c *chase[K]) next(ctx context.Context, key K, rt Route, refusal error) (Route, error) {
	if err := c.spent(ctx, refusal); err != nil {
		return Route{}, err
	}
	s := c.r.cur.Load()
	moved, _ := errors.AsType[*MovedError](refusal)
	if s.epoch > rt.Epoch {
		c.redirected(rt, moved, refusal)
		return c.r.Route(key)
	}
	if moved != nil && moved.Epoch > s.epoch {
		if c.refresh(ctx); c.r.cur.Load() != s {
			c.redirected(rt, moved, refusal)
			return c.r.Route(key)
		}
		// The source is behind the shard that refused. Ask whom it names, but
		// once per epoch: two shards may name each other for ever.
		if moved.To != "" && moved.Epoch > c.asked {
			c.asked = moved.Epoch
			c.redirected(rt, moved, refusal)
			return Route{Shard: moved.To, Epoch: moved.Epoch}, nil
		}
	}
	c.r.count.waits.Add(1)
	if !pause(ctx, s.superseded, min(c.backoff.next(), time.Until(c.until))) {
		c.refresh(ctx)
	}
	if err := c.spent(ctx, refusal); err != nil {
		return Route{}, err
	}
	return c.r.Route(key)
}

// spent returns the error that ends the chase, nil if it may go on. Patience
// begins with the first refusal.
func (c *chase[K]) spent(ctx context.Context, refusal error) error {
	if c.until.IsZero() {
		c.until = time.Now().Add(c.r.cfg.Patience)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("sharding: %w; the last refusal: %w", context.Cause(ctx), refusal)
	case !time.Now().Before(c.until):
		return refusal
	default:
		return nil
	}
}

// refresh refreshes if there is a Source, for as long as patience lasts. A
// failure is the same as nothing new: the chase goes on.
func (c *chase[K]) refresh(ctx context.Context) {
	if c.r.load == nil {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	_ = c.r.Refresh(ctx)
}

// redirected counts and tells of a refusal that is followed at once.
func (c *chase[K]) redirected(rt Route, moved *MovedError, refusal error) {
	c.r.count.redirects.Add(1)
	e := Event{Epoch: c.r.cur.Load().epoch, Previous: rt.Epoch, Err: refusal}
	if moved != nil {
		e.Epoch = moved.Epoch
	}
	c.r.emit(e)
	c.r.feed.deliver(c.r.cfg.OnEvent)
}
