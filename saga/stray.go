package saga

import (
	"fmt"
	"slices"
	"time"
)

// A call may outlive what its saga knows of it: given up as hung, or of a lease
// that was lost. The saga may come back to this very process; no call of it begins
// before the stray has returned.

// abandon notes that the saga goes on without the call.
func (r *run) abandon(f *flight) {
	r.Coordinator.mu.Lock()
	defer r.Coordinator.mu.Unlock()
	if f.stray {
		return // it comes home once
	}
	f.stray = true
	r.Coordinator.strays[r.id] = append(r.Coordinator.strays[r.id], f)
}

// home: a call that was abandoned has returned.
func (r *run) home(f *flight) {
	c := r.Coordinator
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.stray {
		return
	}
	f.stray = false
	all := c.strays[r.id]
	if i := slices.Index(all, f); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if c.strays[r.id] = all; len(all) == 0 {
		delete(c.strays, r.id)
	}
}

func (r *run) astray() bool {
	r.Coordinator.mu.Lock()
	defer r.Coordinator.mu.Unlock()
	return len(r.Coordinator.strays[r.id]) > 0
}

// strays waits for calls of the saga that still run here, at most Grace, after
// which it is Stuck again. False: it is not here any more.
func (r *run) strays(s Summary) bool {
	for end := time.Now().Add(r.cfg.Grace); r.astray(); {
		if r.isGone() {
			r.unload()
			return false
		}
		if !time.Now().Before(end) {
			r.halt(s, "hung", fmt.Sprintf("a call that was given up still runs after %v", r.cfg.Grace))
			return false
		}
		_ = sleep(r.ctx, min(r.cfg.Grace/20+1, r.cfg.Poll))
	}
	return true
}
