package breaker_test

import (
	"fmt"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// model is a breaker that is slow and obviously right: a list of calls, a map
// of those in flight, and no concurrency. Times are nanoseconds since New.
type model struct {
	cfg breaker.Config // with defaults filled in

	state   breaker.State
	held    bool
	period  int
	level   int
	began   int64
	end     int64 // of the open time
	openFor int64
	holds   [breaker.Open + 1]int

	calls       []settled // of a closed period
	streak      int
	flying      map[*permit]bool // of a closed period
	lastQuarter int64

	probes, passed int // of a half-open period
	lastProbe      int64

	stats  breaker.Stats // the totals
	events []string
	// opened yields the open times that the real breaker drew, since only it
	// knows its jitter; the model checks their bounds.
	opened []time.Duration
	wrong  []string
}

type settled struct {
	at           int64
	failed, slow bool
}

type permit struct {
	real   *breaker.Permit
	period int
	start  int64
	over   bool
}

func (m *model) begin(now int64, s breaker.State, reason string) {
	if reason != "" {
		m.events = append(m.events, fmt.Sprint(m.state, " ", s, " ", reason))
	}
	if s == breaker.Open && m.state != breaker.Open {
		m.stats.Opened++
	}
	m.period++
	m.state, m.began, m.held = s, now, false
	m.calls, m.streak, m.flying = nil, 0, map[*permit]bool{}
	m.probes, m.passed = 0, 0
	if m.cfg.SlowAfter > 0 {
		m.lastQuarter = now / m.quarter()
	}
}

func (m *model) quarter() int64 { return int64(m.cfg.SlowAfter) / 4 }

// open begins an open period after level failed recoveries.
func (m *model) open(now int64, level int, reason string, asked time.Duration) {
	want := m.cfg.OpenFor
	for range level {
		want = min(2*want, m.cfg.MaxOpenFor)
	}
	want = min(max(want, asked), m.cfg.MaxOpenFor)
	if len(m.opened) == 0 {
		m.wrong = append(m.wrong, "the real breaker did not open: "+reason)
		m.opened = []time.Duration{want}
	}
	d := m.opened[0]
	m.opened = m.opened[1:]
	if d < want || d > want+want/10 {
		m.wrong = append(m.wrong, fmt.Sprintf("open for %v, want %v and a tenth at most", d, want))
	}
	m.begin(now, breaker.Open, reason)
	m.level, m.openFor, m.end = level, int64(d), now+int64(d)
}

func (m *model) close(now int64, reason string, fresh bool) {
	m.begin(now, breaker.Closed, reason)
	if fresh {
		m.level, m.openFor, m.end = 0, 0, 0
	}
}

// trip opens a closed breaker by its own measure.
func (m *model) trip(now int64, reason string, asked time.Duration) {
	level := 0
	if now-m.began < m.openFor {
		level = m.level + 1
	}
	m.open(now, level, reason, asked)
}

// allow returns the reason of a refusal, or "" and the permit, or neither for
// a dead context.
func (m *model) allow(now int64, dead bool) (reason string, p *permit) {
	switch {
	case m.state == breaker.Open && (m.held || now < m.end):
		m.stats.Rejected++
		if m.held {
			return "held", nil
		}
		return "open", nil
	case dead:
		return "", nil
	case m.state == breaker.Open:
		m.begin(now, breaker.HalfOpen, "timer")
		return m.probe(now)
	case m.state == breaker.HalfOpen && (m.probes == 0 || now-m.lastProbe < int64(m.cfg.ProbeTimeout)):
		if m.probes+m.passed < m.cfg.Probes {
			return m.probe(now)
		}
		m.stats.Rejected++
		return "half-open", nil
	case m.state == breaker.HalfOpen:
		m.stats.LostProbes += uint64(m.probes)
		m.open(m.lastProbe+int64(m.cfg.ProbeTimeout), m.level+1, "probe-lost", 0)
		return m.allow(now, dead)
	}
	if m.cfg.SlowAfter > 0 && now/m.quarter() > m.lastQuarter {
		m.lastQuarter = now / m.quarter()
		if c := m.counts(now); c.Overdue > 0 && !m.held && m.slow(c) {
			m.trip(now, "slow-rate", 0)
			return m.allow(now, dead)
		}
	}
	p = &permit{period: m.period, start: now}
	m.flying[p] = true
	return "", p
}

func (m *model) probe(now int64) (string, *permit) {
	m.probes++
	m.lastProbe = now
	return "", &permit{period: m.period, start: now}
}

func (m *model) cancel(p *permit) {
	if p.over || p.period != m.period {
		p.over = true
		return
	}
	p.over = true
	delete(m.flying, p)
	if m.state == breaker.HalfOpen {
		m.probes--
	}
}

func (m *model) settle(now int64, p *permit, o breaker.Outcome, asked time.Duration) {
	if p.over {
		return
	}
	p.over = true
	slow := m.cfg.SlowAfter > 0 && now-p.start >= int64(m.cfg.SlowAfter)
	switch {
	case p.period != m.period:
		m.stats.Stale++
	case o == breaker.Ignored:
		m.stats.Ignored++
		delete(m.flying, p)
		if m.state == breaker.HalfOpen {
			m.probes--
		}
	case m.state == breaker.HalfOpen:
		m.settleProbe(now, o == breaker.Failure, slow, asked)
	default:
		delete(m.flying, p)
		m.settleClosed(now, o == breaker.Failure, slow, asked)
	}
}

func (m *model) total(failed bool) {
	if failed {
		m.stats.Failed++
	} else {
		m.stats.Succeeded++
	}
}

func (m *model) settleProbe(now int64, failed, slow bool, asked time.Duration) {
	m.total(failed)
	switch {
	case failed:
		m.open(now, m.level+1, "probe-failed", asked)
	case slow:
		m.open(now, m.level+1, "probe-slow", 0)
	default:
		m.probes--
		m.passed++
		if m.passed >= m.cfg.Probes {
			m.close(now, "recovered", false)
		}
	}
}

func (m *model) settleClosed(now int64, failed, slow bool, asked time.Duration) {
	m.total(failed)
	m.calls = append(m.calls, settled{now, failed, slow})
	m.streak++
	if !failed {
		m.streak = 0
	}
	c := m.counts(now)
	switch {
	case m.held || !failed && !slow:
	case failed && m.cfg.Consecutive > 0 && m.streak >= m.cfg.Consecutive:
		m.trip(now, "consecutive", asked)
	case failed && m.cfg.FailureRate > 0 && m.reached(c.Failures, c.Calls, m.cfg.FailureRate):
		m.trip(now, "failure-rate", asked)
	case slow && m.slow(c):
		m.trip(now, "slow-rate", asked)
	}
}

func (m *model) slow(c breaker.Stats) bool { return m.reached(c.Slow, c.Calls, m.cfg.SlowRate) }

func (m *model) reached(part, all uint64, rate float64) bool {
	return all >= uint64(m.cfg.MinCalls) && float64(part)/float64(all) >= rate
}

// counts returns the fields of Stats that tell of the window.
func (m *model) counts(now int64) (s breaker.Stats) {
	width := int64(m.cfg.Window) / 10
	for i, c := range m.calls {
		switch {
		case m.cfg.FailureRate < 0 && m.cfg.SlowAfter <= 0:
			continue
		case m.cfg.LastCalls > 0 && i < len(m.calls)-m.cfg.LastCalls:
			continue
		case m.cfg.LastCalls == 0 && now/width-c.at/width >= 10:
			continue
		}
		s.Calls++
		if c.failed {
			s.Failures++
		}
		if c.slow {
			s.Slow++
		}
	}
	if m.cfg.SlowAfter > 0 {
		for p := range m.flying {
			if p.start/m.quarter() < now/m.quarter()-4 {
				s.Overdue++
			}
		}
	}
	s.Calls += s.Overdue
	s.Slow += s.Overdue
	return s
}

func (m *model) manualTrip(now int64, d time.Duration) {
	if m.held {
		return
	}
	if m.state == breaker.Open {
		if end := now + int64(d); end > m.end {
			m.period++
			m.end, m.openFor = end, int64(d)
		}
		return
	}
	m.opened = nil
	m.begin(now, breaker.Open, "trip")
	m.level, m.openFor, m.end = 0, int64(d), now+int64(d)
}

func (m *model) reset(now int64) {
	switch {
	case m.held:
	case m.state == breaker.Closed:
		m.close(now, "", true)
	default:
		m.close(now, "reset", true)
	}
}

// hold adds n holds of s.
func (m *model) hold(now int64, s breaker.State, n int, reason string) {
	m.holds[s] += n
	held, to := m.holds[breaker.Open]+m.holds[breaker.Closed] > 0, breaker.Closed
	if m.holds[breaker.Open] > 0 {
		to = breaker.Open
	}
	if held == m.held && (!held || to == m.state) {
		return
	}
	m.begin(now, to, reason)
	m.level, m.openFor, m.end = 0, 0, 0
	m.held = held
}

// expect returns what Stats must be at now.
func (m *model) expect(now int64) breaker.Stats {
	s := m.stats
	s.State, s.Held = m.state, m.held
	switch m.state {
	case breaker.Closed:
		c := m.counts(now)
		s.Calls, s.Failures, s.Slow, s.Overdue = c.Calls, c.Failures, c.Slow, c.Overdue
	case breaker.HalfOpen:
		s.Probes = m.probes
	case breaker.Open:
		if !m.held {
			s.RetryAfter = time.Duration(max(0, m.end-now))
			if now >= m.end {
				s.State = breaker.HalfOpen
			}
		}
	}
	return s
}
