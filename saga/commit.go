package saga

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A commit takes at most about this much.
const (
	maxWrites = 512
	maxBytes  = 8 << 20
)

// committer lets writers share commits. The first one commits alone and at once.
// Who comes meanwhile queues; the first of them leads when that commit has ended. So
// a lone writer pays for no hand-off and nobody waits for a timer: batches grow by
// themselves as far as the store is slow.
type committer struct {
	*guard

	mu      sync.Mutex
	queue   []*cohort
	leading bool
	linger  bool // the last commit was slow, and somebody waited for it

	batch []Write // of the leader, used again

	commits, writes atomic.Uint64
}

type pending struct {
	write   Write
	verdict Verdict
	err     error
}

// cohort is who shares the next commit. The first of them leads.
type cohort struct {
	all  []*pending
	size int
	turn chan struct{} // closed when the commit before has ended; linger says that it was slow
	done chan struct{} // closed when all have a verdict or an error

	linger bool
}

// commit stores one write. An error means that its outcome is unknown, and p may be
// committed again.
func (c *committer) commit(ctx context.Context, p *pending) (Verdict, error) {
	if m, ok := c.store.(*Memory); ok {
		if m.commitOne(ctx, p); p.err == nil {
			c.count(1)
		}
		return p.verdict, p.err
	}
	c.mu.Lock()
	if !c.leading {
		c.leading = true
		linger := c.linger
		c.mu.Unlock()
		c.lead(ctx, p, nil, linger)
		return p.verdict, p.err
	}
	h, first := c.join(p)
	c.mu.Unlock()
	if first {
		select {
		case <-h.turn:
			c.lead(ctx, p, h, h.linger)
			return p.verdict, p.err
		case <-h.done: // somebody else has led
		}
	}
	<-h.done // a leader always comes by: its store calls end with their context
	return p.verdict, p.err
}

func (c *committer) count(writes int) {
	c.commits.Add(1)
	c.writes.Add(uint64(writes))
}

// lead commits p and its cohort, which is nil for who found nobody before.
//
// A slow commit before has let others go on. What they write next is moments away, and
// comes along: half batches in turn would wait for the disk twice. After a quick one,
// of a store in memory, to get in line behind goroutines that compute costs more.
func (c *committer) lead(ctx context.Context, p *pending, h *cohort, linger bool) {
	if linger {
		runtime.Gosched()
	}
	if linger || h != nil {
		c.mu.Lock()
		if h == nil && len(c.queue) > 0 {
			h = c.queue[0]
			h.all = append(h.all, h.all[0])
			h.all[0] = p
		}
		if h != nil {
			c.queue = c.queue[1:] // closed to others
		}
		c.mu.Unlock()
	}
	begun := time.Now()
	if h == nil {
		one := [1]*pending{p}
		c.storeAll(ctx, one[:])
	} else {
		c.storeAll(ctx, h.all)
		close(h.done)
	}
	c.pass(h, time.Since(begun) >= slowCommit)
}

// slowCommit and more is what disks and servers take.
const slowCommit = 50 * time.Microsecond

// join queues p, in a cohort of its own if the last one is full.
func (c *committer) join(p *pending) (h *cohort, first bool) {
	size := 0
	for _, r := range p.write.Records {
		size += len(r.Data) + len(r.Error) + 128
	}
	if n := len(c.queue); n > 0 {
		if h = c.queue[n-1]; len(h.all) < maxWrites && h.size+size <= maxBytes {
			h.all, h.size = append(h.all, p), h.size+size
			return h, false
		}
	}
	h = &cohort{all: []*pending{p}, size: size, turn: make(chan struct{}), done: make(chan struct{})}
	c.queue = append(c.queue, h)
	return h, true
}

// pass lets the next cohort go.
func (c *committer) pass(last *cohort, slow bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = slow && last != nil
	if len(c.queue) == 0 {
		c.leading, c.queue = false, nil
		return
	}
	c.queue[0].linger = slow
	close(c.queue[0].turn)
}

// storeAll commits a batch, whose first is the leader, for as long as ctx lasts. One
// that the store refuses is halved until the culprit is alone, so that it fails nobody
// else; the budget ends that where the store refuses everything.
func (c *committer) storeAll(ctx context.Context, batch []*pending) {
	budget := 2*bits.Len(uint(len(batch))) + 2
	c.halve(ctx, batch, &budget)
	if ctx.Err() == nil {
		return
	}
	for _, p := range batch[1:] {
		if p.err != nil {
			p.err = errLeaderGone // not its own context: it commits again
		}
	}
}

func (c *committer) halve(ctx context.Context, batch []*pending, budget *int) {
	writes := c.batch[:0] // there is one leader, and no store keeps the slice
	for _, p := range batch {
		writes = append(writes, p.write)
	}
	verdicts, err := ask(c.guard, "Commit", func() ([]Verdict, error) { return c.store.Commit(ctx, writes) })
	clear(writes)
	c.batch = writes[:0]
	if err == nil && len(verdicts) != len(batch) {
		err = fmt.Errorf("saga: the store gave %d verdicts on %d writes", len(verdicts), len(batch))
	}
	if err == nil {
		c.count(len(batch))
		for i, p := range batch {
			p.verdict, p.err = verdicts[i], nil
		}
		return
	}
	if *budget--; len(batch) == 1 || *budget <= 0 || ctx.Err() != nil {
		for _, p := range batch {
			p.err = err
		}
		return
	}
	c.halve(ctx, batch[:len(batch)/2], budget)
	c.halve(ctx, batch[len(batch)/2:], budget)
}

// errLeaderGone is of who shared a commit that was cancelled.
var errLeaderGone = errors.New("saga: the commit was cancelled")

// final errors say of themselves that no repeat helps.
func final(err error) bool {
	var says interface{ Retryable() bool }
	return errors.As(err, &says) && !says.Retryable()
}
