package saga

import (
	"encoding/json"
	"fmt"
	"time"
)

// The core decides. It knows no clock, no store and no goroutine: a machine is
// what a log folds to, apply folds one more record, and due says what may be
// called now. The run loop, a takeover, Get and the crash explorer all stand on
// it, so that what a saga does depends on its log alone.

// Kinds of records.
const (
	kindStart    = "start"
	kindResume   = "resume"
	kindDone     = "done"
	kindFail     = "fail"
	kindRefuse   = "refuse"
	kindPark     = "park"
	kindWake     = "wake"
	kindSignal   = "signal"
	kindCancel   = "cancel"
	kindDeadline = "deadline"
	kindReverse  = "reverse"
	kindUndone   = "undone"
	kindUndoFail = "undofail"
	kindStuck    = "stuck"
	kindResolve  = "resolve"
	kindBegin    = "begin" // OnEvent alone, never stored
)

// status is what is known about a step's effect.
type status uint8

const (
	idle    status = iota // no outcome yet
	done                  // the effect is there
	refused               // an attempt had no effect
	unknown               // given up, the effect may be there
	undone                // the effect is not there any more
	left                  // a human decided to leave it
)

// machine is a saga as its log says.
type machine struct {
	g  *graph
	id string

	state   State
	seq     uint64
	epoch   uint64
	read    uint64 // mail that is in the log
	started time.Time
	updated time.Time

	steps   []step
	data    json.RawMessage // S
	back    bool            // turned: undoes what was done
	pivoted bool
	ended   bool            // abandoned
	outline string          // of the definition that wrote last
	next    json.RawMessage // what data is after the next record, where the runner knows
	ahead   int             // see window

	failed   failure  // the first, which turned the saga or got stuck
	undoErrs []string // failures of undos, oldest first
	signals  []signal // not yet awaited, oldest first
}

type failure struct{ step, code, cause string }

type signal struct {
	name    string
	payload json.RawMessage
}

type step struct {
	status  status
	tainted bool  // an attempt may have had an effect
	open    bool  // when the saga turned its Do was running; its outcome is awaited
	stuck   bool  // its call failed for good
	tried   *wait // by its call: Do, or Undo once the saga has turned. Nil: nothing yet
}

// call is where the step's call stands, to be changed.
func (s *step) call() *wait {
	if s.tried == nil {
		s.tried = &wait{}
	}
	return s.tried
}

// stands is the same, to be read.
func (s *step) stands() wait {
	if s.tried == nil {
		return wait{}
	}
	return *s.tried
}

// wait is where the attempts of a call stand.
type wait struct {
	attempts int       // that failed
	first    time.Time // when the first one did
	parked   bool
	signal   string // what it waits for while parked; "" is time alone
	wake     time.Time
	forever  bool // parked without an end in time

	// What ended the last wait; it stays until the call parks again.
	got      string
	payload  json.RawMessage
	timedOut bool
}

// note is the Data of records that carry more than a change of S.
type note struct {
	Wait   time.Duration   `json:"wait,omitempty"`   // fail, undofail, park: from the record on, in ns
	Await  string          `json:"await,omitempty"`  // park: the signal
	Always bool            `json:"always,omitempty"` // park: without an end in time
	Open   []string        `json:"open,omitempty"`   // turning records: whose Do is running
	Turn   bool            `json:"turn,omitempty"`   // fail: the last attempt; cancel: in time
	Stuck  bool            `json:"stuck,omitempty"`  // fail, refuse, undofail: no way on
	Delta  json.RawMessage `json:"delta,omitempty"`  // resolve: of the patch
	As     *Resolution     `json:"as,omitempty"`     // resolve
}

func newMachine(g *graph, id string) *machine {
	return &machine{g: g, id: id, steps: make([]step, len(g.nodes))}
}

// fold replays a log. An error means that this definition cannot continue it.
func fold(g *graph, id string, log []Record) (*machine, error) {
	m := newMachine(g, id)
	for i := range log {
		if err := m.apply(&log[i]); err != nil {
			return m, fmt.Errorf("record %d: %w", log[i].Seq, err)
		}
	}
	return m, g.continues(m.outline, m)
}

// apply folds one record.
func (m *machine) apply(r *Record) error {
	if r.Epoch != m.epoch && m.seq > 0 {
		m.takeover(r.Epoch)
	}
	m.seq, m.epoch, m.updated = r.Seq, r.Epoch, r.At
	i := -1
	if r.Step != "" && r.Kind != kindStuck {
		if i = m.index(r.Step); i < 0 {
			return fmt.Errorf("saga: this version has no step %q", r.Step)
		}
	}
	var n note
	switch r.Kind {
	case kindStart, kindDone, kindUndone, kindSignal, kindWake, kindResume:
	default:
		var err error
		if n, err = noteOf(r); err != nil {
			return err
		}
	}
	if err := m.change(r, i, n); err != nil {
		return err
	}
	m.state = m.stand()
	return nil
}

func noteOf(r *Record) (n note, err error) {
	if len(r.Data) > 0 {
		if err := json.Unmarshal(r.Data, &n); err != nil {
			return n, fmt.Errorf("saga: data of %s: %w", r.Kind, err)
		}
	}
	return n, nil
}

func (m *machine) change(r *Record, i int, n note) (err error) {
	switch r.Kind {
	case kindStart:
		m.started, m.data, m.outline = r.At, r.Data, r.Key
	case kindResume:
		m.outline = r.Key
	case kindDone:
		m.steps[i].status, m.steps[i].open, m.steps[i].stuck = done, false, false
		m.steps[i].tried = nil
		m.pivoted = m.pivoted || m.g.nodes[i].pivot
		err = m.merge(r.Data)
	case kindFail:
		m.fails(r, i, n)
	case kindRefuse:
		m.refuses(r, i, n)
	case kindPark:
		s := &m.steps[i]
		s.tainted = true
		c := s.call()
		c.parked, c.signal, c.forever = true, n.Await, n.Always
		c.wake = r.At.Add(n.Wait)
		c.got, c.payload, c.timedOut = "", nil, false
	case kindWake:
		m.wakes(i, r.Code, r.Data)
	case kindSignal:
		m.read++
		m.signals = append(m.signals, signal{r.Code, r.Data})
	case kindCancel, kindDeadline:
		if r.Kind == kindCancel {
			m.read++
		}
		if n.Turn {
			m.turn(failure{m.first(), codeFor(r.Kind), r.Error}, n.Open)
		}
	case kindReverse:
		m.failed = failure{} // one that was resolved is not why
		m.turn(failure{"", "reversed", r.Error}, nil)
	case kindUndone:
		m.steps[i].status, m.steps[i].stuck = undone, false
		m.steps[i].tried = nil
		err = m.merge(r.Data)
	case kindUndoFail:
		s := &m.steps[i]
		m.attempt(s.call(), r, n)
		s.stuck = n.Stuck
		m.undoErrs = append(m.undoErrs, r.Step+": "+r.Error)
	case kindStuck:
		m.halts(r)
	case kindResolve:
		err = m.resolves(r, i, n)
	default:
		err = fmt.Errorf("saga: this version knows no record %q", r.Kind)
	}
	return err
}

func (m *machine) merge(d json.RawMessage) (err error) {
	if m.next != nil {
		m.data, m.next = m.next, nil
		return nil
	}
	m.data, err = patch(m.data, d)
	return err
}

func codeFor(kind string) string {
	if kind == kindCancel {
		return "cancelled"
	}
	return kind
}

// attempt counts a failed attempt.
func (m *machine) attempt(w *wait, r *Record, n note) {
	w.attempts = r.Attempt
	if w.first.IsZero() {
		w.first = r.At
	}
	w.wake = r.At.Add(n.Wait)
}

// fails: an attempt that may have had an effect.
func (m *machine) fails(r *Record, i int, n note) {
	s := &m.steps[i]
	s.tainted = true
	m.attempt(s.call(), r, n)
	switch {
	case m.back: // its outcome was awaited
		s.status, s.open = unknown, false
		s.tried = nil
	case n.Stuck:
		s.stuck = true
		m.blame(r)
	case n.Turn:
		s.status = unknown
		m.turn(failure{r.Step, r.Code, r.Error}, n.Open)
	}
}

// refuses: an attempt without effect. An earlier one may have had it.
func (m *machine) refuses(r *Record, i int, n note) {
	s := &m.steps[i]
	switch {
	case n.Stuck:
		s.stuck = true
		m.blame(r)
		return
	case s.tainted:
		s.status = unknown
	default:
		s.status = refused
	}
	s.open = false
	if !m.back {
		m.turn(failure{r.Step, r.Code, r.Error}, n.Open)
	}
}

func (m *machine) blame(r *Record) {
	if m.failed == (failure{}) {
		m.failed = failure{r.Step, r.Code, r.Error}
	}
}

func (m *machine) wakes(i int, name string, payload json.RawMessage) {
	c := m.steps[i].call()
	c.parked, c.forever, c.wake, c.signal = false, false, time.Time{}, ""
	c.got, c.payload, c.timedOut = name, payload, name == ""
	if name == "" {
		return
	}
	for j, s := range m.signals {
		if s.name == name {
			m.signals = append(m.signals[:j:j], m.signals[j+1:]...)
			return
		}
	}
}

// turn begins to undo. Steps that were never started stay idle; whose Do may have
// had an effect is unknown until it says otherwise.
func (m *machine) turn(why failure, open []string) {
	m.back = true
	m.blameFirst(why)
	for i := range m.steps {
		s := &m.steps[i]
		s.stuck = false
		s.tried = nil
		if s.status == idle && s.tainted {
			s.status = unknown
		}
	}
	for _, name := range open {
		if i := m.g.index(name); i >= 0 && m.steps[i].status <= unknown && m.steps[i].status != done {
			m.steps[i].status, m.steps[i].open = idle, true
		}
	}
}

func (m *machine) blameFirst(why failure) {
	if m.failed == (failure{}) {
		m.failed = why
	}
}

// takeover is what a new owner must assume about the one before: whatever could
// run did, and nobody will ever hear of it.
func (m *machine) takeover(epoch uint64) {
	if epoch == m.epoch {
		return
	}
	if m.epoch > 0 || epoch > 2 { // created at 1 and held by nobody, the first claim makes 2
		for i := range m.steps {
			s := &m.steps[i]
			if s.open {
				s.status, s.open, s.tainted = unknown, false, true
			}
			if m.ready(i) && !m.waits(i) {
				s.tainted = true
			}
		}
	}
	m.epoch = epoch
}

// halts makes the saga Stuck as a whole, whatever its steps say.
func (m *machine) halts(r *Record) {
	m.blame(r)
	for i := range m.steps {
		s := &m.steps[i]
		if s.open {
			s.status, s.open, s.tainted = unknown, false, true
		}
		if m.back && m.toUndo(i) || m.ready(i) {
			s.stuck = true
			s.tainted = s.tainted || !m.back
		}
	}
	if i := m.g.index(r.Step); i >= 0 && r.Code == "hung" {
		m.steps[i].stuck = true // also where there is nothing to undo: it still runs
	}
}
