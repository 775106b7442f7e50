package saga

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// server is one Serve: an owner of sagas in the store, and the sagas that it has
// loaded.
type server struct {
	*Coordinator
	base   context.Context // Serve's, for values; calls end by their own contexts
	events chan Record     // nil without OnEvent
	nudge  chan struct{}   // look for work now
	clock  clock

	mu        sync.Mutex
	owner     string
	writing   context.Context // of its store calls
	endWrites context.CancelCauseFunc
	until     time.Time // the lease holds here, by this process's monotonic clock
	watch     *time.Timer
	runs      map[string]*run
	crowded   bool // the last look left due sagas behind
	draining  bool
	over      bool          // no goroutine may begin any more
	idle      chan struct{} // closed when draining and no run is left
	failed    error         // why Serve has to end

	// Sagas of this owner that may come to be, by id.
	lost   map[string]*missing // nobody has asked for it yet: its place is kept
	absent map[string]*missing // was not there
	sought time.Time           // when absent was last asked for

	unheard bool // a poll has failed: it may have claimed sagas all the same
	missed  bool // it was the last one; of the loop alone

	looking, seeking, hearing, purging atomic.Bool // beside the loop, which has a lease to renew

	wg      sync.WaitGroup // every goroutine that works for a run
	jobs    chan *run      // to workers that rest
	resting atomic.Int32
	closed  chan struct{} // ends those that rest
}

// Serve claims due sagas, runs them, and takes over from dead processes, until ctx
// ends. It then drains: no call begins any more, running ones may go on for
// Config.Grace, everything is released, and it returns nil. It returns an error if
// it is running already, or if the store fails for good.
//
// A call that ignores its context past twice the grace keeps its goroutine; Serve
// does not wait for it.
func (c *Coordinator) Serve(ctx context.Context) error {
	s := &server{
		Coordinator: c, base: context.WithoutCancel(ctx), nudge: make(chan struct{}, 1),
		runs: map[string]*run{}, idle: make(chan struct{}), jobs: make(chan *run), closed: make(chan struct{}),
	}
	s.incarnate()
	c.mu.Lock()
	if c.server != nil {
		c.mu.Unlock()
		return errors.New("saga: Serve is running already")
	}
	c.server = s
	c.mu.Unlock()
	stopEvents := s.startEvents()
	s.loop(ctx)
	err := s.drain()
	c.mu.Lock()
	c.server = nil
	c.mu.Unlock()
	c.announceAll() // who waits looks for itself from now on
	stopEvents()
	return err
}

// loop looks for work until ctx ends or the store fails for good.
func (s *server) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	purged := time.Now()
	for ctx.Err() == nil && s.failure() == nil {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.nudge:
		}
		if ctx.Err() != nil {
			return
		}
		timer.Reset(s.look(ctx))
		if s.cfg.Keep > 0 && time.Since(purged) >= min(s.cfg.Keep, time.Minute) {
			purged = time.Now()
			s.aside(&s.purging, func() { s.purge(ctx) })
		}
	}
}

// look polls the store once and returns when to look again.
func (s *server) look(ctx context.Context) (next time.Duration) {
	sent := time.Now()
	s.mu.Lock()
	owner, room := s.owner, s.cfg.MaxRunning-len(s.runs)-len(s.lost)
	s.mu.Unlock()
	if s.missed {
		room = 0 // for what the failed poll has claimed
	}
	limit, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	work, err := s.guard.poll(limit, Lease{Owner: owner, For: s.cfg.Lease, Limit: max(room, 0), Can: s.can()})
	switch {
	case errors.Is(err, ErrFenced):
		s.loseLease(owner)
		return 0
	case err != nil && ctx.Err() != nil:
		return s.cfg.Poll
	case err != nil && final(err):
		s.fail(fmt.Errorf("saga: poll: %w", err))
		return s.cfg.Poll
	case err != nil:
		if room > 0 {
			s.missed = true
			s.missHearing(owner)
		}
		s.cfg.Logger.Warn("saga: poll failed", "err", err)
		return s.cfg.Poll / 4
	}
	renewed := s.renew(owner, sent)
	s.clock.set(work.Now)
	s.totals.foreign.Store(int64(work.Foreign))
	s.totals.claims.Add(uint64(len(work.Claimed)))
	for _, summary := range work.Claimed {
		s.adopt(summary, owner)
	}
	if !renewed {
		return 0 // the lease ran out while the store thought about it
	}
	missed := s.missed
	s.missed = false
	for _, id := range work.Mail {
		s.mail(id)
	}
	s.aside(&s.looking, func() { s.lookForWaiters(ctx) })
	s.aside(&s.seeking, func() { s.lookForMissing(ctx) })
	s.aside(&s.hearing, func() { s.lookForUnheard(ctx) })
	s.mu.Lock()
	s.crowded = len(work.Claimed) >= room
	s.mu.Unlock()
	if missed {
		return s.cfg.Poll / 4
	}
	if work.Next >= 0 && len(work.Claimed) < room {
		return min(s.cfg.Poll, work.Next)
	}
	return s.cfg.Poll
}

// renew moves the end of the lease, which counts from before the poll was sent.
func (s *server) renew(owner string, sent time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != owner {
		return false
	}
	s.until = sent.Add(s.cfg.Lease)
	left := time.Until(s.until)
	if s.watch == nil {
		s.watch = time.AfterFunc(left, func() { s.expire(owner) })
	} else {
		s.watch.Reset(left)
	}
	return true
}

// expire is called when the lease should have run out. A timer may fire beside a
// renewal.
func (s *server) expire(owner string) {
	s.mu.Lock()
	renewed := time.Now().Before(s.until)
	s.mu.Unlock()
	if !renewed {
		s.loseLease(owner)
	}
}

// loseLease ends everything that this incarnation runs. Others own it by now, or
// soon; the process goes on under a new name.
func (s *server) loseLease(owner string) {
	s.mu.Lock()
	if s.owner != owner {
		s.mu.Unlock()
		return
	}
	s.incarnate()
	lost := s.runs
	s.runs = map[string]*run{}
	s.checkIdle()
	s.mu.Unlock()
	s.totals.lost.Add(1)
	s.cfg.Logger.Warn("saga: lost the lease", "owner", owner, "sagas", len(lost))
	for _, r := range lost {
		r.fence()
	}
	s.wake()
}

// incarnate begins a new owner; the writes of the one before end.
func (s *server) incarnate() {
	if s.endWrites != nil {
		s.endWrites(ErrFenced)
	}
	s.owner, s.until = s.newOwner(), time.Time{}
	s.lost, s.absent, s.unheard = map[string]*missing{}, map[string]*missing{}, false
	s.writing, s.endWrites = context.WithCancelCause(s.base)
	if s.watch != nil {
		s.watch.Stop()
		s.watch = nil
	}
}

func (s *server) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

func (s *server) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *server) fail(err error) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = err
	}
	s.mu.Unlock()
	s.wake()
}

// adopt loads a claimed saga and runs it.
func (s *server) adopt(summary Summary, owner string) {
	r := &run{server: s, id: summary.ID, owner: owner, claim: summary.Epoch}
	r.furnish()
	switch {
	case s.add(r):
		s.wg.Go(r.load)
	case s.find(r.id) == nil:
		r.outlive()
	}
}

// add registers a run, unless its owner is gone, a drain has begun, its claim is run
// here already, or, for a saga that is not claimed yet, there is no place.
func (s *server) add(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.owner == "" {
		r.owner = s.owner
	}
	if s.owner != r.owner || s.draining {
		return false
	}
	old := s.runs[r.id]
	if r.claim == 0 && (old != nil || len(s.runs)+len(s.lost) >= s.cfg.MaxRunning || s.until.IsZero()) {
		return false
	}
	if old != nil && old.claim >= r.claim {
		return false
	}
	s.enter(r)
	return true
}

func (s *server) enter(r *run) {
	r.ctx = s.writing
	s.runs[r.id] = r
}

// remove unloads a run, and asks for more work if some was left behind.
func (s *server) remove(r *run) {
	s.mu.Lock()
	if s.runs[r.id] == r {
		delete(s.runs, r.id)
	}
	more := s.crowded && len(s.runs) <= s.cfg.MaxRunning*3/4
	if more {
		s.crowded = false
	}
	s.checkIdle()
	s.mu.Unlock()
	if more {
		s.wake()
	}
}

func (s *server) checkIdle() {
	if s.draining && len(s.runs) == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

func (s *server) loaded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}

func (s *server) find(id string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

// mail tells a run that it has unread messages.
func (s *server) mail(id string) {
	if r := s.find(id); r != nil {
		s.wg.Go(r.hasMail)
	}
}

// spawn starts a goroutine that Serve waits for, unless it has ended.
func (s *server) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.wg.Go(f)
	}
}

// aside runs f beside the loop, one at a time: what takes long must not cost the
// lease.
func (s *server) aside(busy *atomic.Bool, f func()) {
	if busy.CompareAndSwap(false, true) {
		s.spawn(func() {
			defer busy.Store(false)
			s.guard.aside(f)
		})
	}
}

func (s *server) purge(ctx context.Context) {
	p, ok := s.store.(interface {
		Purge(ctx context.Context, olderThan time.Duration, limit int) (int, error)
	})
	if !ok {
		return
	}
	const most = 1000
	for n := most; n >= most; {
		var err error
		n, err = p.Purge(ctx, s.cfg.Keep, most)
		s.totals.purged.Add(uint64(max(n, 0)))
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Logger.Warn("saga: purge failed", "err", err)
			}
			return
		}
	}
}
