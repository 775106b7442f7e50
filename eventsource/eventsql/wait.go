package eventsql

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// Head implements [eventsource.Store]. On Postgres it is the newest event
// below every open transaction that has appended: those alone hold it back, and
// only until they end. It is 0 while there is no such event.
func (s *Store) Head(ctx context.Context) (eventsource.Position, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	return s.head(ctx, s.db)
}

func (s *Store) head(ctx context.Context, q querier) (eventsource.Position, error) {
	s.stats.headPolls.Add(1)
	var head uint64
	if err := q.QueryRowContext(ctx, s.sql.head).Scan(&head); err != nil {
		return 0, ended(ctx, err)
	}
	for {
		seen := s.seen.Load()
		if head <= seen || s.seen.CompareAndSwap(seen, head) {
			return eventsource.Position(head), nil
		}
	}
}

// Wait implements [eventsource.Store]. All waiters of a Store share one poller,
// see [Config].Poll; appends of this Store and [Store.Notify] wake it at once.
// An error of the database ends every Wait that it was asked for.
func (s *Store) Wait(ctx context.Context, after eventsource.Position) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if eventsource.Position(s.seen.Load()) > after {
		return nil
	}
	w := &waiter{after: after, done: make(chan error, 1)}
	if !s.poller.add(s, w) {
		return errClosed()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		s.poller.drop(w)
		return context.Cause(ctx)
	}
}

// Notify makes waiters look at the head now: after the commit of a transaction
// with [Store.AppendTx], or when LISTEN, NATS or whatever a program has tells
// that another process has appended. It does not block, and does nothing while
// nobody waits.
func (s *Store) Notify() {
	select {
	case s.poller.poke <- struct{}{}:
	default: // it will look anyway
	}
}

// poller asks for the head on behalf of all waiters. Its goroutine runs while
// there are any.
type poller struct {
	poke chan struct{}

	mu      sync.Mutex
	waiters []*waiter
	running bool
	closed  bool
}

type waiter struct {
	after eventsource.Position
	done  chan error // has room for the one answer
}

const (
	minPoll = 2 * time.Millisecond
	minGap  = time.Millisecond // between two looks, however often it is poked
)

func (p *poller) add(s *Store, w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.waiters = append(p.waiters, w)
	if !p.running {
		p.running = true
		s.work.Go(func() { s.pollHead(p) })
	}
	return true
}

func (p *poller) drop(w *waiter) {
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == w })
	none := len(p.waiters) == 0
	p.mu.Unlock()
	if none {
		select { // it may be in a long pause
		case p.poke <- struct{}{}:
		default:
		}
	}
}

func (p *poller) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.answer(0, errClosed())
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// answer serves whom head or err concerns.
func (p *poller) answer(head eventsource.Position, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = slices.DeleteFunc(p.waiters, func(w *waiter) bool {
		if err == nil && head <= w.after {
			return false
		}
		w.done <- err
		return true
	})
}

// goOn tells whether somebody still waits; if not, the poller ends.
func (p *poller) goOn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = len(p.waiters) > 0
	return p.running
}

// pollHead looks at once, then in growing pauses that begin anew when something
// has happened.
func (s *Store) pollHead(p *poller) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var last eventsource.Position
	for wait := minPoll; p.goOn(); {
		asked := time.Now()
		head, err := s.head(s.ctx, s.db)
		p.answer(head, err)
		if head > last {
			last, wait = head, minPoll
		}
		if !p.goOn() {
			return
		}
		pause.Reset(wait)
		wait = min(2*wait, s.cfg.Poll)
		select {
		case <-pause.C:
		case <-p.poke:
			wait = min(minPoll, s.cfg.Poll)
			if gap := minGap - time.Since(asked); gap > 0 {
				pause.Reset(gap)
				<-pause.C
			}
		}
	}
}
