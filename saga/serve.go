package saga

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	idle      chan struct{} // closed when draining and no run is left
	failed    error         // why Serve has to end

	wg sync.WaitGroup // every goroutine that works for a run
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
		runs: map[string]*run{}, idle: make(chan struct{}),
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
			s.purge(ctx)
		}
	}
}

// look polls the store once and returns when to look again.
func (s *server) look(ctx context.Context) (next time.Duration) {
	sent := time.Now()
	s.mu.Lock()
	owner, room := s.owner, s.cfg.MaxRunning-len(s.runs)
	s.mu.Unlock()
	limit, cancel := context.WithTimeout(ctx, s.cfg.Lease)
	defer cancel()
	work, err := s.store.Poll(limit, Lease{Owner: owner, For: s.cfg.Lease, Limit: max(room, 0), Can: s.can()})
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
		s.cfg.Logger.Warn("saga: poll failed", "err", err)
		return s.cfg.Poll / 4
	}
	if !s.renew(owner, sent) {
		return 0 // the lease ran out while the store thought about it
	}
	s.clock.set(work.Now)
	s.totals.foreign.Store(int64(work.Foreign))
	s.totals.claims.Add(uint64(len(work.Claimed)))
	for _, summary := range work.Claimed {
		s.adopt(summary, owner)
	}
	for _, id := range work.Mail {
		s.mail(id)
	}
	s.lookForWaiters(ctx)
	s.mu.Lock()
	s.crowded = len(work.Claimed) >= room
	s.mu.Unlock()
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
	s.owner = s.newOwner()
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
	r := &run{server: s, id: summary.ID, owner: owner}
	if s.add(r, false) {
		s.wg.Go(r.load)
	}
}

// add registers a run, unless its owner is gone, a drain has begun, or, for a saga
// that is not claimed yet, there is no place.
func (s *server) add(r *run, ifRoom bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.owner == "" {
		r.owner = s.owner
	}
	if s.owner != r.owner || s.draining || ifRoom && (len(s.runs) >= s.cfg.MaxRunning || s.runs[r.id] != nil || s.until.IsZero()) {
		return false
	}
	r.ctx = s.writing
	s.runs[r.id] = r
	return true
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

// drain lets running calls end, then gives everything up. The lease is renewed
// meanwhile: a call may well take longer than it.
func (s *server) drain() error {
	s.mu.Lock()
	s.draining = true
	owner := s.owner
	all := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		all = append(all, r)
	}
	s.checkIdle()
	s.mu.Unlock()
	for _, r := range all {
		s.wg.Go(r.drain)
	}
	grace := time.NewTimer(s.cfg.Grace)
	defer grace.Stop()
	renew := time.NewTicker(s.cfg.Poll)
	defer renew.Stop()
	patience := 2
	for waiting := true; waiting; {
		select {
		case <-s.idle:
			waiting = false
		case <-grace.C:
			if patience--; patience == 0 {
				waiting = false
				break
			}
			for _, r := range all {
				r.cut()
			}
			grace.Reset(s.cfg.Grace)
		case <-renew.C:
			s.renewDraining(owner)
		}
	}
	return s.leave(owner)
}

func (s *server) renewDraining(owner string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Poll)
	defer cancel()
	sent := time.Now()
	switch _, err := s.store.Poll(ctx, Lease{Owner: owner, For: s.cfg.Lease}); {
	case err == nil:
		s.renew(owner, sent)
	case errors.Is(err, ErrFenced):
		s.loseLease(owner)
	}
}

// leave ends the lease, so that others need not wait for it to run out.
func (s *server) leave(owner string) error {
	s.mu.Lock()
	if s.watch != nil {
		s.watch.Stop()
		s.watch = nil
	}
	left := s.runs
	s.runs = map[string]*run{}
	s.endWrites(ErrFenced)
	s.mu.Unlock()
	for _, r := range left {
		r.fence()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Lease)
	defer cancel()
	if _, err := s.store.Poll(ctx, Lease{Owner: owner}); err != nil && !errors.Is(err, ErrFenced) {
		s.cfg.Logger.Warn("saga: could not end the lease; it runs out by itself", "err", err)
	}
	if len(left) == 0 {
		s.wg.Wait()
	}
	return s.failure()
}

func (s *server) purge(ctx context.Context) {
	p, ok := s.store.(interface {
		Purge(ctx context.Context, olderThan time.Duration, limit int) (int, error)
	})
	if !ok {
		return
	}
	n, err := p.Purge(ctx, s.cfg.Keep, 1000)
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("saga: purge failed", "err", err)
	}
	s.totals.purged.Add(uint64(max(n, 0)))
}

// clock is the store's, as far as the last answers tell: its time then, and what
// has passed here since, so that the clocks of hosts never meet.
type clock struct {
	mu    sync.Mutex
	store time.Time
	here  time.Time
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store, c.here = now, time.Now()
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here.IsZero() {
		return time.Now().UTC().Round(0)
	}
	return c.store.Add(time.Since(c.here))
}
