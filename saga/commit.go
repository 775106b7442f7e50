package saga

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

// A commit takes at most this much.
const (
	maxWrites = 512
	maxBytes  = 8 << 20
)

// committer lets writers share commits. The first one commits what is queued; what
// queues meanwhile is the next one's, who is woken to lead. So a lone writer pays
// for no hand-off and nobody waits for company: batches grow by themselves as far
// as the store is slow.
type committer struct {
	store Store

	mu      sync.Mutex
	queue   []*pending
	leading bool

	commits, writes uint64

	batch []Write // of the leader, used again
}

type pending struct {
	write   Write
	verdict Verdict
	err     error
	woken   chan struct{} // nil for who leads at once
	settled bool          // woken with a result, else to lead
}

// commit stores one write. An error means that its outcome is unknown, and p may be
// committed again.
func (c *committer) commit(ctx context.Context, p *pending) (Verdict, error) {
	p.woken, p.settled, p.err = nil, false, nil
	c.mu.Lock()
	if !c.leading && len(c.queue) == 0 { // alone: no batch to make
		c.leading = true
		c.mu.Unlock()
		one := [1]*pending{p}
		c.store1(ctx, one[:])
		c.pass(nil, p)
		return p.verdict, p.err
	}
	c.queue = append(c.queue, p)
	if c.leading {
		p.woken = make(chan struct{})
		c.mu.Unlock()
		<-p.woken // a leader always comes by: its store calls end with their context
		if p.settled {
			return p.verdict, p.err
		}
		c.mu.Lock()
	}
	c.leading = true
	batch := c.take()
	c.mu.Unlock()

	c.store1(ctx, batch)
	c.pass(batch, p)
	return p.verdict, p.err
}

// take cuts the batch off the queue.
func (c *committer) take() []*pending {
	n, size := 0, 0
	for n < len(c.queue) && n < maxWrites {
		for _, r := range c.queue[n].write.Records {
			size += len(r.Data) + len(r.Error) + 128
		}
		if n > 0 && size > maxBytes {
			break
		}
		n++
	}
	batch := c.queue[:n:n]
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return batch
}

// pass tells the followers, and the first who came later that it leads now.
func (c *committer) pass(batch []*pending, leader *pending) {
	for _, p := range batch {
		if p != leader {
			p.settled = true
			close(p.woken)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.leading = false
		return
	}
	close(c.queue[0].woken)
}

// store1 commits a batch. One that the store refuses is halved until the culprit
// is alone, so that it fails nobody else; the budget ends that where the store
// refuses everything.
func (c *committer) store1(ctx context.Context, batch []*pending) {
	budget := 2*bits.Len(uint(len(batch))) + 2
	c.halve(ctx, batch, &budget)
}

func (c *committer) halve(ctx context.Context, batch []*pending, budget *int) {
	writes := c.batch[:0] // there is one leader, and no store keeps the slice
	for _, p := range batch {
		writes = append(writes, p.write)
	}
	verdicts, err := c.store.Commit(ctx, writes)
	clear(writes)
	c.batch = writes[:0]
	if err == nil && len(verdicts) != len(batch) {
		err = fmt.Errorf("saga: the store gave %d verdicts on %d writes", len(verdicts), len(batch))
	}
	if err == nil {
		c.mu.Lock()
		c.commits++
		c.writes += uint64(len(batch))
		c.mu.Unlock()
		for i, p := range batch {
			p.verdict, p.err = verdicts[i], nil
		}
		return
	}
	if *budget--; len(batch) == 1 || *budget <= 0 || ctx.Err() != nil {
		for i, p := range batch {
			if p.err = err; i > 0 && ctx.Err() != nil {
				p.err = errLeaderGone // not its own context: it commits again
			}
		}
		return
	}
	c.halve(ctx, batch[:len(batch)/2], budget)
	c.halve(ctx, batch[len(batch)/2:], budget)
}

var errLeaderGone = errors.New("saga: the commit was cancelled")

// final errors say of themselves that no repeat helps.
func final(err error) bool {
	var says interface{ Retryable() bool }
	return errors.As(err, &says) && !says.Retryable()
}
