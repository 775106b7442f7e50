package saga

import "slices"

// What a machine's steps say about the saga as a whole.

// window holds the steps that may be ready or are not done: of a chain that goes
// forward at most one.
func (m *machine) window() (from, to int) {
	if !m.g.chain || m.back {
		return 0, len(m.steps)
	}
	for m.ahead < len(m.steps) && m.steps[m.ahead].status == done {
		m.ahead++ // what is done stays so, going forward
	}
	return m.ahead, min(m.ahead+1, len(m.steps))
}

// index looks first where a chain is.
func (m *machine) index(step string) int {
	if i := m.ahead; i < len(m.steps) && m.g.nodes[i].name == step {
		return i
	}
	return m.g.index(step)
}

// ready: Do may run, but for a wait.
func (m *machine) ready(i int) bool {
	if m.back || m.steps[i].status != idle || m.steps[i].stuck {
		return false
	}
	for _, j := range m.g.nodes[i].after {
		if m.steps[j].status != done {
			return false
		}
	}
	return true
}

func (m *machine) waits(i int) bool {
	c := m.steps[i].stands()
	return c.parked || !c.wake.IsZero()
}

// toUndo: there is, or may be, an effect to take back.
func (m *machine) toUndo(i int) bool {
	s := &m.steps[i]
	return m.back && m.g.nodes[i].hasUndo && (s.status == done || s.status == unknown)
}

// undoable: Undo may run, but for a wait and running Dos, which [machine.due] looks
// at. Whoever builds on the step is undone before it.
func (m *machine) undoable(i int) bool {
	if !m.toUndo(i) || m.steps[i].stuck {
		return false
	}
	return !slices.ContainsFunc(m.g.nodes[i].below, m.toUndo)
}

// mayTurn: Cancel and Deadline have no effect once the pivot has begun.
func (m *machine) mayTurn() bool {
	if m.back || m.pivoted || m.state.Ended() || m.state == Stuck {
		return false
	}
	return m.g.pivot < 0 || !m.ready(m.g.pivot)
}

// stand derives the state.
func (m *machine) stand() State {
	if m.ended {
		return Abandoned
	}
	if m.back {
		return m.standBack()
	}
	active, waiting, all := false, true, true
	from, to := m.window()
	for i := from; i < to; i++ {
		all = all && m.steps[i].status == done
		if m.ready(i) {
			active = true
			waiting = waiting && m.waits(i)
		}
	}
	switch {
	case all:
		return Completed
	case !active:
		return Stuck
	case waiting:
		return Waiting
	default:
		return Running
	}
}

func (m *machine) standBack() State {
	stuck, leaves := false, false
	for i := range m.steps {
		s := &m.steps[i]
		if s.open || m.undoable(i) {
			return Compensating
		}
		stuck = stuck || s.stuck
		leaves = leaves || s.status == left
	}
	switch {
	case stuck:
		return Stuck
	case leaves:
		return Abandoned
	default:
		return Compensated
	}
}

// awaited: the outcome of a Do that was running at the turn is not known.
func (m *machine) awaited() bool {
	return slices.ContainsFunc(m.steps, func(s step) bool { return s.open })
}

// first names the first unfinished call, if there is one.
func (m *machine) first() string {
	if i := m.firstStep(); i >= 0 {
		return m.g.nodes[i].name
	}
	return ""
}

// firstStep is the one that is stuck, else one that may run, else -1.
func (m *machine) firstStep() int {
	for i := range m.steps {
		if m.steps[i].stuck {
			return i
		}
	}
	from, to := m.window()
	for i := from; i < to; i++ {
		if m.ready(i) || m.undoable(i) || m.steps[i].open {
			return i
		}
	}
	return -1
}

// leftovers names the steps whose effect is, or may be, there.
func (m *machine) leftovers() (names []string) {
	for i, n := range m.g.nodes {
		s := m.steps[i]
		there := s.status == done || s.status == unknown || s.open || s.status == idle && s.tainted
		if s.status == left || there && (n.hasUndo || !n.before) {
			names = append(names, n.name)
		}
	}
	return names
}
