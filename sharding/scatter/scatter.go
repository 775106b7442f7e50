package scatter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keelson-go/keelson/sharding"
)

// Config is how shards are called. The zero value calls all at once and needs
// every answer.
type Config struct {
	Limit    int           // calls at a time. Zero means all
	Need     int           // successes that are enough; calls still under way are then cut short. Zero means all shards
	FailFast bool          // cancel the rest once Need is out of reach. Otherwise every answer is collected
	Timeout  time.Duration // per call. Zero means none
}

// check returns what is wrong with c for n shards.
func (c Config) check(n int) error {
	switch {
	case c.Limit < 0:
		return fmt.Errorf("scatter: Config.Limit is %d, must not be negative", c.Limit)
	case c.Need < 0 || c.Need > n:
		return fmt.Errorf("scatter: Config.Need is %d, must be 0 to %d, the number of shards", c.Need, n)
	case c.Timeout < 0:
		return fmt.Errorf("scatter: Config.Timeout is %v, must not be negative", c.Timeout)
	}
	return nil
}

// Result is the answer of one shard.
type Result[T any] struct {
	Shard sharding.ID
	Value T
	Err   error
}

// Do calls f once per distinct id and returns a Result for each, in the order
// of first appearance, after every call has returned. A nil error means that
// Need of them succeeded; else it is a [*PartialError]. No ids are nil, nil; a
// config that makes no sense is an error before any call.
//
// A call that ends after Need was met counts if it succeeded, else its Err is
// ErrSkipped; so is that of one which had not begun. A panic in f cancels the
// rest and goes on here, on the caller's goroutine; so does runtime.Goexit.
func Do[T any](ctx context.Context, ids []sharding.ID, cfg Config, f func(context.Context, sharding.ID) (T, error)) ([]Result[T], error) {
	results := distinct[T](ids)
	if err := cfg.check(len(results)); err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	g := newGather(ctx, len(results), cfg)
	defer g.cancel(nil)
	g.run(func(ctx context.Context, i int) error {
		r := &results[i]
		r.Value, r.Err = f(ctx, r.Shard)
		return r.Err
	}, func(i int, err error) { results[i].Err = err })
	return results, partial(results, g.need)
}

// distinct returns a Result for each id that is not there before. Few ids are
// compared, which saves a map.
func distinct[T any](ids []sharding.ID) []Result[T] {
	results := make([]Result[T], 0, len(ids))
	var seen map[sharding.ID]bool
	if len(ids) > 32 {
		seen = make(map[sharding.ID]bool, len(ids))
	}
next:
	for _, id := range ids {
		if seen != nil {
			if seen[id] {
				continue
			}
			seen[id] = true
		} else {
			for i := range results {
				if results[i].Shard == id {
					continue next
				}
			}
		}
		results = append(results, Result[T]{Shard: id})
	}
	return results
}

// A gather is n calls under way.
type gather struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	cfg    Config
	n      int
	need   int

	mu        sync.Mutex
	next      int // the call that begins next
	succeeded int
	failed    int
	enough    bool // Need is met
	crash     *crash
	wg        sync.WaitGroup
}

func newGather(ctx context.Context, n int, cfg Config) *gather {
	g := &gather{cfg: cfg, n: n, need: cfg.Need}
	if g.need == 0 {
		g.need = n
	}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// run makes the calls and returns when all have. set overrides the error of
// one that was cut short or never began.
func (g *gather) run(call func(ctx context.Context, i int) error, set func(i int, err error)) {
	workers := g.n
	if g.cfg.Limit > 0 {
		workers = min(workers, g.cfg.Limit)
	}
	for range workers {
		g.wg.Add(1)
		go g.work(call, set)
	}
	g.wg.Wait()
	if g.crash != nil {
		g.crash.resume()
	}
}

// work makes calls, one after the other, until there are none left.
func (g *gather) work(call func(context.Context, int) error, set func(int, error)) {
	defer g.wg.Done()
	for {
		g.mu.Lock()
		i, enough := g.next, g.enough
		g.next++
		g.mu.Unlock()
		switch {
		case i >= g.n:
			return
		case enough:
			set(i, ErrSkipped)
		case g.ctx.Err() != nil:
			err := context.Cause(g.ctx)
			set(i, err)
			g.settle(err)
		default:
			g.one(call, set, i)
		}
	}
}

// one makes a call and notes how it ended, even if f never returned to it.
func (g *gather) one(call func(context.Context, int) error, set func(int, error), i int) {
	ctx := g.ctx
	if g.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.cfg.Timeout)
		defer cancel()
	}
	returned := false
	defer func() {
		if !returned {
			g.crashed(recover())
		}
	}()
	err := call(ctx, i)
	returned = true
	if late := g.settle(err); late && err != nil {
		set(i, ErrSkipped)
	}
}

// settle counts an outcome and reports whether Need had been met before.
func (g *gather) settle(err error) (late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	late = g.enough
	if err == nil {
		g.succeeded++
	} else {
		g.failed++
	}
	switch {
	case !g.enough && g.succeeded >= g.need:
		g.enough = true
		g.cancel(ErrSkipped)
	case g.cfg.FailFast && !late && g.failed > g.n-g.need:
		g.cancel(errHopeless)
	}
	return late
}
