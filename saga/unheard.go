package saga

import "context"

// A poll may fail when it has claimed already. Those sagas then belong to an owner that
// goes on renewing its lease and does not know of them: nobody would run them. So after
// an error the owner asks the store for what it holds. A store lists no sagas by owner,
// so that this looks at all that have not ended, once when it can be reached again.

// unfinished is what a poll may claim.
var unfinished = []State{Running, Waiting, Compensating}

// lookForUnheard runs what a poll has claimed whose answer was lost.
func (s *server) lookForUnheard(ctx context.Context) {
	s.mu.Lock()
	owner, wanted := s.owner, s.unheard
	s.unheard = false
	s.mu.Unlock()
	if !wanted {
		return
	}
	for h, err := range s.store.List(ctx, Filter{States: unfinished}) {
		if err != nil || h.Owner == owner && h.Epoch > 1 && !s.adoptUnheard(h, owner) {
			s.missHearing(owner)
		}
	}
}

// missHearing notes that the owner may hold more than it knows of.
func (s *server) missHearing(owner string) {
	s.mu.Lock()
	s.unheard = s.unheard || s.owner == owner
	s.mu.Unlock()
}

// adoptUnheard reports false if there is no place for the saga now.
func (s *server) adoptUnheard(h Summary, owner string) bool {
	if s.find(h.ID) != nil {
		return true
	}
	r := &run{server: s, id: h.ID, owner: owner, claim: h.Epoch}
	r.furnish()
	if !s.add(r, true) {
		return false
	}
	s.wg.Go(r.loadUnheard)
	return true
}

// loadUnheard runs the saga unless it was given up since it was listed.
func (r *run) loadUnheard() {
	if s, _, _, err := r.read(); err == nil && r.holds(s) {
		r.load()
		return
	}
	r.unload()
}

// holds: the saga still belongs to the claim of this run.
func (r *run) holds(s Summary) bool { return s.Owner == r.owner && s.Epoch == r.claim }
