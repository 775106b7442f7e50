package saga

import (
	"context"
	"errors"
	"time"
)

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
	switch _, err := s.guard.poll(ctx, Lease{Owner: owner, For: s.cfg.Lease}); {
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
	if _, err := s.guard.poll(ctx, Lease{Owner: owner}); err != nil && !errors.Is(err, ErrFenced) {
		s.cfg.Logger.Warn("saga: could not end the lease; it runs out by itself", "err", err)
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	close(s.closed)
	if len(left) == 0 {
		s.wg.Wait()
	}
	return s.failure()
}
