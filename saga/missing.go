package saga

import (
	"context"
	"maps"
	"slices"
	"time"
)

// A Start that gives up does not know whether its saga exists, nor whether it will: a
// commit may still be on its way. Where it comes to be it belongs to this process, so
// that nobody else would run it. So the owner looks for it.
//
// Each is looked for once at least, and keeps its place among the running ones until
// then. So while the store does not answer there are at most Config.MaxRunning of them:
// the sagas of later Starts are created for whoever claims them.

// maxMissing that were not there are looked for again, for missingLeases. What comes
// later, or is beyond, waits until its owner ends.
const (
	maxMissing    = 1000
	missingLeases = 100
	missingPage   = 200 // ids in one question
)

type missing struct {
	fingerprint string
	until       time.Time
}

// miss remembers a saga that may come to be.
func (s *server) miss(id, owner, fingerprint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == owner {
		s.lost[id] = &missing{fingerprint, time.Now().Add(missingLeases * s.cfg.Lease)}
		delete(s.absent, id)
	}
}

// lookForMissing asks the store about all that may have come to be.
func (s *server) lookForMissing(ctx context.Context) {
	owner, all := s.toLookFor()
	for ids := range slices.Chunk(slices.Collect(maps.Keys(all)), missingPage) {
		for h, err := range s.store.List(ctx, Filter{IDs: ids}) {
			if err != nil {
				return // the next look asks again
			}
			if m := all[h.ID]; m != nil {
				delete(all, h.ID)
				s.found(h, m, owner)
			}
		}
		s.notFound(ids, all)
	}
	s.dropOldest()
}

// toLookFor is what was lost since the last look and, once a Poll, what was absent then.
func (s *server) toLookFor() (owner string, all map[string]*missing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = maps.Clone(s.lost)
	if now := time.Now(); now.Sub(s.sought) >= s.cfg.Poll {
		s.sought = now
		maps.DeleteFunc(s.absent, func(_ string, m *missing) bool { return now.After(m.until) })
		maps.Copy(all, s.absent)
	}
	return s.owner, all
}

// found runs the saga if it is as its Start has created it.
func (s *server) found(h Summary, m *missing, owner string) {
	r := &run{server: s, id: h.ID, owner: owner}
	r.furnish()
	if s.settle(r, m, r.isOwn(h, m.fingerprint)) {
		s.wg.Go(func() { r.loadOwn(m.fingerprint) })
	}
}

// settle forgets what was found, and gives it a place if it is to run here. Where there
// is none, or Start tries again, the next look finds it again.
func (s *server) settle(r *run, m *missing, mine bool) (runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost[r.id] != m && s.absent[r.id] != m {
		return false // another Start has given up since, or the lease is lost
	}
	delete(s.lost, r.id)
	delete(s.absent, r.id)
	switch {
	case !mine || s.draining:
		return false
	case len(s.runs) >= s.cfg.MaxRunning || s.runs[r.id] != nil:
		s.lost[r.id] = m // which keeps others from the next place
		return false
	}
	s.enter(r)
	return true
}

// notFound notes which of the ids were not there.
func (s *server) notFound(ids []string, all map[string]*missing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if m := all[id]; m != nil && s.lost[id] == m {
			delete(s.lost, id)
			s.absent[id] = m
		}
	}
}

// dropOldest gives up those that have been looked for longest.
func (s *server) dropOldest() {
	s.mu.Lock()
	over := len(s.absent) - maxMissing
	if over > 0 {
		ids := slices.SortedFunc(maps.Keys(s.absent), func(a, b string) int { return s.absent[a].until.Compare(s.absent[b].until) })
		for _, id := range ids[:over] {
			delete(s.absent, id)
		}
	}
	s.mu.Unlock()
	if over > 0 {
		s.cfg.Logger.Warn("saga: too many Starts gave up; the oldest are not looked for any more", "sagas", over)
	}
}

// isOwn: the saga is as the Start of this owner has created it.
func (r *run) isOwn(s Summary, fingerprint string) bool {
	return s.Owner == r.owner && s.Epoch == 1 && s.Seq == 1 && s.Fingerprint == fingerprint
}

// loadOwn runs the saga unless another Start of this process has done so meanwhile.
func (r *run) loadOwn(fingerprint string) {
	if s, _, _, err := r.read(); err == nil && r.isOwn(s, fingerprint) {
		r.load()
		return
	}
	r.unload()
}
