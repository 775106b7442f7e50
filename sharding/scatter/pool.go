package scatter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keelson-go/keelson/sharding"
)

// PoolConfig is how a [Pool] opens and closes clients. Open is required.
type PoolConfig[C any] struct {
	// Open makes the client of a shard, one at a time per shard, on the
	// goroutine and with the context of a caller of Get. A failure is that
	// caller's: the next one tries anew.
	Open func(ctx context.Context, id sharding.ID) (C, error)

	// Close ends a client when its last borrower is gone. Nil: nothing to do.
	Close func(client C) error

	// OnError hears of a Close that failed, on the goroutine that released
	// last, or that retired an idle client. Nil ignores it.
	OnError func(id sharding.ID, err error)
}

// Pool keeps one client per shard, such as a *sql.DB, a *redis.Client or a
// *grpc.ClientConn, which are pools of connections themselves. A client is
// never closed while it is borrowed. For concurrent use.
type Pool[C any] struct {
	cfg PoolConfig[C]

	mu      sync.Mutex // never held while code of the user runs
	current map[sharding.ID]*client[C]
	alive   map[*client[C]]struct{} // opened and not closed: current ones and those that drain
	allowed map[sharding.ID]bool    // nil: every ID
	closed  bool
	busy    int           // callers of Get that have not borrowed yet, and clients being closed
	drained chan struct{} // made by Close; closed when alive is empty and busy is 0
}

// A client is one shard's client, from before it is opened until it is closed.
// Fields are guarded by the pool's mu.
type client[C any] struct {
	id       sharding.ID
	opening  chan struct{} // holds an element while somebody opens it
	value    C
	opened   bool
	retired  bool // no new borrowers
	borrowed int
	asking   int // callers of Get that have not borrowed yet
}

// NewPool returns an empty pool. It panics without Open.
func NewPool[C any](cfg PoolConfig[C]) *Pool[C] {
	if cfg.Open == nil {
		panic("scatter: PoolConfig.Open is nil")
	}
	return &Pool[C]{cfg: cfg, current: make(map[sharding.ID]*client[C]), alive: make(map[*client[C]]struct{})}
}

// Get borrows the client of a shard, which it opens if need be: to open one
// delays no other shard. Call release when done; twice is once. Errors are
// those of Open, ErrRetired, ErrClosed, and the cause of ctx.
func (p *Pool[C]) Get(ctx context.Context, id sharding.ID) (value C, release func(), err error) {
	for {
		c, ready, err := p.ask(id)
		if err != nil {
			return value, nil, err
		}
		borrowed, err := p.take(ctx, c, ready)
		switch {
		case err != nil:
			return value, nil, err
		case borrowed:
			return c.value, sync.OnceFunc(func() { p.release(c) }), nil
		} // else it was retired meanwhile; a new one may be allowed
	}
}

// take opens c if it is not ready, and borrows it. If Open panics the caller
// no longer asks.
func (p *Pool[C]) take(ctx context.Context, c *client[C], ready bool) (borrowed bool, err error) {
	defer func() { borrowed = p.borrow(c, ready) }()
	if !ready {
		err = p.open(ctx, c)
		ready = err == nil
	}
	return false, err
}

// ask returns the client of id, which may have to be opened.
func (p *Pool[C]) ask(id sharding.ID) (c *client[C], ready bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, false, ErrClosed
	case p.allowed != nil && !p.allowed[id]:
		return nil, false, fmt.Errorf("%w: %s", ErrRetired, id)
	}
	c, ok := p.current[id]
	if !ok {
		c = &client[C]{id: id, opening: make(chan struct{}, 1)}
		p.current[id] = c
	}
	c.asking++
	p.busy++
	return c, c.opened, nil
}

// open opens c, or waits until somebody else has.
func (p *Pool[C]) open(ctx context.Context, c *client[C]) error {
	select {
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	needless := c.opened || c.retired
	p.mu.Unlock()
	if needless {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	value, err := p.cfg.Open(ctx, c.id)
	if err != nil {
		return fmt.Errorf("scatter: open %s: %w", c.id, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.value, c.opened = value, true
	p.alive[c] = struct{}{}
	return nil
}

// borrow ends the asking of one caller, who becomes a borrower if c is ready
// and was not retired meanwhile.
func (p *Pool[C]) borrow(c *client[C], ready bool) bool {
	p.mu.Lock()
	c.asking--
	p.busy--
	ok := ready && !c.retired
	if ok {
		c.borrowed++
	}
	if !c.opened && c.asking == 0 && p.current[c.id] == c {
		delete(p.current, c.id) // failures leave nothing behind
	}
	idle := p.idle(c)
	p.settle()
	p.mu.Unlock()
	if idle {
		p.end(c)
	}
	return ok
}

func (p *Pool[C]) release(c *client[C]) {
	p.mu.Lock()
	c.borrowed--
	idle := p.idle(c)
	p.mu.Unlock()
	if idle {
		p.end(c)
	}
}

// idle reports whether the caller is to close c, and takes it off. mu is held.
func (p *Pool[C]) idle(c *client[C]) bool {
	if _, alive := p.alive[c]; !alive || !c.retired || c.borrowed > 0 {
		return false
	}
	delete(p.alive, c)
	p.busy++
	return true
}

// end closes c and tells of a failure.
func (p *Pool[C]) end(c *client[C]) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy--
		p.settle()
	}()
	if err := p.close(c); err != nil && p.cfg.OnError != nil {
		p.cfg.OnError(c.id, err)
	}
}

func (p *Pool[C]) close(c *client[C]) error {
	if p.cfg.Close == nil {
		return nil
	}
	return p.cfg.Close(c.value)
}

// settle wakes Close when nothing is left. mu is held.
func (p *Pool[C]) settle() {
	if p.drained == nil || len(p.alive) > 0 || p.busy > 0 {
		return
	}
	select {
	case <-p.drained:
	default:
		close(p.drained)
	}
}

// Retain retires the clients of all other shards: they get no new borrowers
// and are closed when the last lets go. Before the first Retain every ID is
// allowed. An ID that is retained again opens anew, even while its old client
// drains.
func (p *Pool[C]) Retain(ids ...sharding.ID) {
	p.mu.Lock()
	p.allowed = make(map[sharding.ID]bool, len(ids))
	for _, id := range ids {
		p.allowed[id] = true
	}
	idle := p.retire(func(c *client[C]) bool { return !p.allowed[c.id] })
	p.mu.Unlock()
	for _, c := range idle {
		p.end(c)
	}
}

// retire retires the current clients that match and returns those that the
// caller is to end. mu is held.
func (p *Pool[C]) retire(match func(*client[C]) bool) (idle []*client[C]) {
	for id, c := range p.current {
		if match(c) {
			c.retired = true
			delete(p.current, id)
			if p.idle(c) {
				idle = append(idle, c)
			}
		}
	}
	slices.SortFunc(idle, byID[C])
	return idle
}

func byID[C any](a, b *client[C]) int { return cmp.Compare(a.id, b.id) }

// Close lets nobody borrow any more and waits until every client is released
// and closed. When ctx ends it closes those that are still borrowed, and
// returns an error that names them.
func (p *Pool[C]) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	if p.drained == nil {
		p.drained = make(chan struct{})
	}
	idle := p.retire(func(*client[C]) bool { return true })
	p.settle()
	p.mu.Unlock()
	for _, c := range idle {
		p.end(c)
	}
	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return p.abandon(context.Cause(ctx))
	}
}

// abandon closes what is still borrowed.
func (p *Pool[C]) abandon(cause error) error {
	p.mu.Lock()
	var left []*client[C]
	for c := range p.alive {
		left = append(left, c)
	}
	clear(p.alive)
	p.settle()
	p.mu.Unlock()
	slices.SortFunc(left, byID[C])
	var errs []error
	for _, c := range left {
		errs = append(errs, fmt.Errorf("scatter: closed %s while it was borrowed: %w", c.id, cause))
		if err := p.close(c); err != nil {
			errs = append(errs, fmt.Errorf("scatter: close %s: %w", c.id, err))
		}
	}
	if len(errs) == 0 { // only an Open is still under way, which will close what it opens
		errs = append(errs, fmt.Errorf("scatter: close: %w", cause))
	}
	return errors.Join(errs...)
}

// Stats is a snapshot of a pool.
type Stats struct {
	Open     int `json:"open"`     // clients that are open, draining ones too
	Borrowed int `json:"borrowed"` // borrowers of all of them
	Draining int `json:"draining"` // retired clients that are still borrowed
}

// Stats returns the numbers now.
func (p *Pool[C]) Stats() (s Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.alive {
		s.Open++
		s.Borrowed += c.borrowed
		if c.retired {
			s.Draining++
		}
	}
	return s
}
