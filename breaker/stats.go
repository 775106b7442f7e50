package breaker

import "time"

// Stats is a snapshot of a breaker. Totals never decrease.
type Stats struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Held  bool   `json:"held"` // by Hold

	// Of the window; 0 unless closed.
	Calls    uint64 `json:"calls"`    // successes, failures and overdue calls
	Failures uint64 `json:"failures"` // part of Calls
	Slow     uint64 `json:"slow"`     // part of Calls; a slow failure is in both
	Overdue  uint64 `json:"overdue"`  // part of Slow: still running after SlowAfter

	Threshold  float64       `json:"threshold"` // FailureRate in force, 0 if off
	Probes     int           `json:"probes"`    // in flight
	RetryAfter time.Duration `json:"retry_after_ns"`
	Cause      error         `json:"-"` // why it is open; may be nil

	// Totals since New. A permit that is settled counts in exactly one of the
	// first four.
	Succeeded  uint64 `json:"succeeded"`
	Failed     uint64 `json:"failed"`
	Ignored    uint64 `json:"ignored"`
	Stale      uint64 `json:"stale"` // settled after their period, without a say
	Rejected   uint64 `json:"rejected"`
	Opened     uint64 `json:"opened"`
	LostProbes uint64 `json:"lost_probes"`
}

// Stats returns a snapshot. It takes the lock of the breaker, which calls do
// not, for about a microsecond.
func (b *Breaker) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.cur.Load()
	s := b.snapshot(e)
	if e.state == Open && b.now() >= e.end {
		s.State = HalfOpen // as State says
	}
	return s
}

// snapshot returns the statistics with e as the period now. mu is held, or a
// period could be sealed in between and be missing from both sums.
func (b *Breaker) snapshot(e *epoch) Stats {
	now := b.now()
	s := Stats{
		Name: b.cfg.Name, State: e.state, Held: e.held,
		Threshold: max(0, b.cfg.FailureRate),
		Succeeded: b.past.succeeded, Failed: b.past.failed, Rejected: b.past.rejected,
		Ignored: b.ignored.Load(), Stale: b.stale.Load(),
		Opened: b.past.opened, LostProbes: b.past.lost,
	}
	switch e.state {
	case Closed:
		c, overdue := e.counts(now)
		s.Calls, s.Failures, s.Slow, s.Overdue = c.Calls, c.Failures, c.Slow, overdue
		t := e.window.Totals()
		s.Succeeded += t.Succeeded
		s.Failed += t.Failed
	case HalfOpen:
		s.Probes = e.probes.inFlight()
		s.Cause = e.cause()
	case Open:
		s.Cause = e.cause()
		if !e.held {
			s.RetryAfter = time.Duration(max(0, e.end-now))
		}
	}
	if e.refusal != nil {
		s.Rejected += e.refusal.count.Totals().Succeeded
	}
	return s
}
