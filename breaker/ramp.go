package breaker

// rampFrom is the share of calls that is admitted right after a recovery.
const rampFrom = 0.1

// admits reports whether the ramp of a closed period lets a call through. A
// dependency that is just back, with empty caches and a full queue, is spared
// the whole load at once.
func (e *epoch) admits(now int64) bool {
	if !e.ramp.Load() {
		return true
	}
	passed, whole := now-e.began, int64(e.b.cfg.Ramp)
	if passed >= whole {
		e.ramp.Store(false)
		return true
	}
	return e.b.random() < rampFrom+(1-rampFrom)*float64(passed)/float64(whole)
}
