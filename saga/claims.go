package saga

import "fmt"

// A claim without a write after it may mean that a call has ended its process; ten in
// a row, that it will end the next one too. It may also mean that a process which lives
// has lost its lease: the machine was busy, or asleep. Such a process remembers what it
// has lost. When it claims the saga again, and no call of it is out here any more, what
// it called then has returned, and so was no end of a process. An empty write says so:
// the store counts from 0 again.
//
// That waits until half of maxClaims are counted, since one claim lost is nothing, and
// a busy machine should write less, not more. So at least as many processes as the
// other half may lose a saga to each other for ever. What is remembered lives in the
// process: of one that a call has ended, nothing is left. So a call that ends processes
// escapes only if each of them has lost the saga before, and outlived that.

// maxOutlived sagas are remembered. Beyond that any one is forgotten, and its claims
// count.
const maxOutlived = 10_000

// outlive notes that this process lives although it has lost the saga.
func (r *run) outlive() {
	if r.claim == 0 {
		return // nobody has claimed it: Start has made it here
	}
	c := r.Coordinator
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.outlived) >= maxOutlived {
		for id := range c.outlived {
			delete(c.outlived, id)
			break
		}
	}
	c.outlived[r.id] = r.claim
}

// hasOutlived: this process has lost one of the claims that s counts.
func (c *Coordinator) hasOutlived(s Summary) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outlived[s.ID] > s.Epoch-uint64(s.Claims) { // each claim is an epoch
		return true
	}
	delete(c.outlived, s.ID) // there was a write since
	return false
}

// mayRun judges a claimed saga by its claims. Its strays have returned. False: it is
// not here any more.
func (r *run) mayRun(s *Summary, read uint64) bool {
	switch outlived := r.hasOutlived(*s); {
	case outlived && s.Claims > maxClaims/2:
		if _, ok := r.commit(&pending{write: Write{Summary: *s, Read: read}}); !ok {
			r.fence()
			r.unload()
			return false
		}
	case s.Claims > maxClaims:
		r.halt(*s, "claims", fmt.Sprintf("claimed %d times without a write: a call seems to end its process", s.Claims))
		return false
	}
	return true
}
