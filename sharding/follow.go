package sharding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	spacing     = 50 * time.Millisecond // between loads that found nothing new
	loadBackoff = 100 * time.Millisecond
)

// draws gives the random part of a wait, in [0, 1).
var draws = rand.Float64

// Follow keeps the router up to date until ctx ends, and returns its cause: it
// waits for the source's hint, or for Poll, and refreshes. A failed load is an
// event and a line of the log, the topology in force stays, and the next load
// comes after a while that grows up to Poll.
//
// Without a Source, or while another Follow runs, it returns an error at once.
func (r *Router[K]) Follow(ctx context.Context) error {
	if r.load == nil {
		return errNoSource
	}
	if !r.following.CompareAndSwap(false, true) {
		return errors.New("sharding: Follow is running already")
	}
	defer r.following.Store(false)
	retry := growth{first: min(loadBackoff, r.cfg.Poll), most: r.cfg.Poll}
	for ctx.Err() == nil {
		epoch := r.cur.Load().epoch
		broken := r.hint(ctx, epoch)
		if broken != nil {
			r.failed(ctx, fmt.Errorf("sharding: wait: %w", broken))
			r.rest(ctx, retry.next())
		}
		for err := r.Refresh(ctx); err != nil && ctx.Err() == nil; err = r.Refresh(ctx) {
			r.failed(ctx, err)
			r.rest(ctx, retry.next())
		}
		if broken == nil {
			retry.reset()
		}
		if r.cur.Load().epoch == epoch {
			r.rest(ctx, 0)
		}
	}
	return context.Cause(ctx)
}

// hint returns nil when the source may have a newer topology or the time to
// poll has come, and an error if the source cannot wait.
func (r *Router[K]) hint(ctx context.Context, epoch uint64) error {
	poll := time.Duration(float64(r.cfg.Poll) * (0.8 + 0.4*draws()))
	wait, cancel := context.WithTimeout(ctx, poll)
	defer cancel()
	if err := r.load.src.Wait(wait, epoch); err != nil && wait.Err() == nil {
		return err
	}
	return nil
}

// rest waits for d, and never less than the distance that loads keep.
func (r *Router[K]) rest(ctx context.Context, d time.Duration) {
	pause(ctx, nil, max(d, min(spacing, r.cfg.Poll)))
}

// failed tells of a load that failed.
func (r *Router[K]) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	epoch := r.cur.Load().epoch
	r.emit(Event{Epoch: epoch, Previous: epoch, Err: err})
	r.feed.deliver(r.cfg.OnEvent)
	if r.cfg.Logger != nil {
		r.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "sharding: load failed", slog.Uint64("epoch", epoch), slog.Any("error", err))
	}
}

// growth is a backoff with full jitter: uniform between 0 and a bound that
// doubles from first to most.
type growth struct {
	first, most, bound time.Duration
}

func (g *growth) next() time.Duration {
	g.bound = min(max(2*g.bound, g.first), g.most)
	return time.Duration(float64(g.bound) * draws())
}

func (g *growth) reset() { g.bound = 0 }

// pause waits for d, until early is closed, or until ctx ends. It reports
// whether early was closed.
func pause(ctx context.Context, early <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-early:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
