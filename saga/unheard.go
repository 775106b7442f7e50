package saga

import "context"

// A poll may fail when it has claimed already. Those sagas then belong to an owner that
// goes on renewing its lease and does not know of them: nobody would run them. So after
// an error the owner asks the store for what it holds. A store lists no sagas by owner,
// so that this looks at all that have not ended, once when it can be reached again.
//
// Until then it claims nothing more: each poll that fails would claim as many again. What
// it finds runs here, also where others have taken the places meanwhile.

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
	heard := false
	defer func() {
		if !heard { // an error, or a panic of the store
			s.missHearing(owner)
		}
	}()
	for h, err := range s.store.List(ctx, Filter{States: unfinished}) {
		if err != nil {
			return
		}
		if h.Owner == owner && h.Epoch > 1 && s.find(h.ID) == nil {
			s.adopt(h, owner) // unless the poll under way, which has claimed it, is first
		}
	}
	heard = true
}

// missHearing notes that the owner may hold more than it knows of.
func (s *server) missHearing(owner string) {
	s.mu.Lock()
	s.unheard = s.unheard || s.owner == owner
	s.mu.Unlock()
}
