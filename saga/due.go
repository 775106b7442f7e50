package saga

import "time"

// agenda is what a machine wants at an instant.
type agenda struct {
	calls    []int     // steps whose Do, or Undo once turned, is to be called
	woken    []int     // parked calls whose time has come: a wake record goes first
	signals  []int     // parked calls whose signal is there
	deadline bool      // the deadline has passed: a deadline record goes first
	next     time.Time // when it wants to be asked again; zero: not by time
}

// due tells what there is to do now, given which steps' calls are running here.
//
// The slices of a are used again.
func (m *machine) due(now time.Time, running flights, a *agenda) {
	*a = agenda{calls: a.calls[:0], woken: a.woken[:0], signals: a.signals[:0]}
	if m.state.Ended() || m.state == Stuck {
		return
	}
	if m.g.deadline > 0 && m.mayTurn() {
		end := m.started.Add(m.g.deadline)
		if a.deadline = !now.Before(end); a.deadline {
			return
		}
		a.at(end)
	}
	if m.back && m.doing(running) {
		return // no Undo before every Do has returned
	}
	from, to := m.window()
	for i := from; i < to; i++ {
		if running.has(i) || !m.ready(i) && !m.undoable(i) {
			continue
		}
		switch c := m.steps[i].stands(); {
		case c.parked && m.has(c.signal):
			a.signals = append(a.signals, i)
		case c.parked && c.forever:
		case now.Before(c.wake):
			a.at(c.wake)
		case c.parked:
			a.woken = append(a.woken, i)
		default:
			a.calls = append(a.calls, i)
		}
	}
}

func (a *agenda) at(t time.Time) {
	if a.next.IsZero() || t.Before(a.next) {
		a.next = t
	}
}

// doing: a Do that was running when the saga turned still is.
func (m *machine) doing(running flights) bool {
	for i := range m.steps {
		if m.steps[i].open && running.has(i) {
			return true
		}
	}
	return false
}

func (m *machine) has(name string) bool {
	if name == "" {
		return false
	}
	for _, s := range m.signals {
		if s.name == name {
			return true
		}
	}
	return false
}

// payload is that of the oldest signal of the name.
func (m *machine) oldest(name string) signal {
	for _, s := range m.signals {
		if s.name == name {
			return s
		}
	}
	return signal{}
}
