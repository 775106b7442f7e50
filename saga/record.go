package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// readMail fetches messages that the log does not have yet. False: the saga is not
// here any more.
func (r *run) readMail() bool {
	r.mu.Lock()
	wanted := r.mailbox
	r.mailbox = false
	r.mu.Unlock()
	if !wanted {
		return true
	}
	_, _, mail, err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.gone {
		if err != nil && !r.gone && r.ctx.Err() == nil {
			r.server.fail(fmt.Errorf("saga: load of %s: %w", r.id, err))
		}
		r.driving = false
		return false
	}
	r.letters = r.letters[:0]
	for _, letter := range mail {
		if letter.Seq > r.m.read {
			r.letters = append(r.letters, letter)
		}
	}
	return true
}

// write folds what was noted into records and prepares the write that stores them,
// in pending; false if there is nothing to store. A write that leaves nothing to do
// soon also gives the saga up.
func (r *run) write() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false
	}
	b := r.batch[:0] // the write before is stored, and no store keeps the slice
	now := r.clock.now()
	turned := r.m.back
	r.left = r.leaving
	if r.m.outline != r.p.g.words && !over(r.m.state) {
		r.record(&b, now, Record{Kind: kindResume, Key: r.p.g.words})
	}
	r.recordLetters(&b, now)
	landed := r.landed
	for len(r.landed) > 0 {
		f := r.landed[0]
		r.landed = r.landed[1:] // first, since the others count as running for it
		r.recordOutcome(&b, f, now)
		r.hangar = f
	}
	clear(landed)
	r.landed = landed[:0]
	r.recordHung(&b, now)
	r.recordDue(&b, now)
	if r.m.back && !turned {
		r.endFlights()
	}
	if r.m.seq >= maxRecords && !r.m.state.Ended() && r.m.state != Stuck {
		r.record(&b, now, Record{Kind: kindStuck, Step: r.m.first(), Code: "history", Error: fmt.Sprintf("the log has %d records", r.m.seq)})
		r.m.due(now, r.flights, &r.agenda)
	}
	release, wakeIn := r.release(now)
	r.batch = b
	if len(b) == 0 && !release {
		return false
	}
	if release && r.m.state == Stuck {
		for _, f := range r.flights {
			r.end(f, errHung)
			r.abandon(f)
		}
		r.flights = nil
	}
	w := &r.pending.write
	r.m.summarize(&w.Summary)
	w.Records, w.Read, w.Release, w.WakeIn = b, r.m.read, release, wakeIn
	return true
}

var errHung = errors.New("saga: the saga is stuck")

// batch is the records of one write.
type batch []Record

// record numbers a record and folds it.
func (r *run) record(b *batch, now time.Time, rec Record) {
	rec.Seq, rec.Epoch, rec.At = r.m.seq+1, r.m.epoch, now
	if err := r.m.apply(&rec); err != nil {
		panic(fmt.Sprintf("saga: its own record does not fold: %v", err)) // a bug of this package
	}
	rec.State = r.m.state
	*b = append(*b, rec)
}

// recordLetters moves mail into the log. A cancel that comes too late is logged
// and has no effect.
func (r *run) recordLetters(b *batch, now time.Time) {
	for _, letter := range r.letters {
		switch letter.Kind {
		case kindSignal:
			r.record(b, now, Record{Kind: kindSignal, Code: letter.Code, Key: letter.Key, Data: letter.Data})
		case kindCancel:
			n := note{}
			if r.m.mayTurn() || r.mayStillTurn() {
				n = note{Turn: true, Open: r.open(-1)}
			}
			r.record(b, now, Record{Kind: kindCancel, Error: letter.Error, Data: encodeNote(n)})
		}
		r.m.read = letter.Seq
	}
	r.letters = r.letters[:0]
}

// mayStillTurn: the pivot has become ready by the last write and was not called
// yet. A cancel that this write's verdict has shown comes first.
func (r *run) mayStillTurn() bool {
	m := r.m
	if m.g.pivot < 0 || m.back || m.pivoted || over(m.state) {
		return false
	}
	s := &m.steps[m.g.pivot]
	return !r.begun && !s.tainted && s.stands().attempts == 0 && !s.stuck
}

// turning is the note of a record that turns the saga: whose Do is running, but
// for the one whose outcome turns it.
func (r *run) turning(but int) json.RawMessage {
	return encodeNote(note{Open: r.open(but)})
}

func (r *run) open(but int) (names []string) {
	for _, f := range r.flights {
		if !f.undo && f.step != but {
			names = append(names, r.p.g.nodes[f.step].name)
		}
	}
	for _, f := range r.landed {
		if !f.undo && f.step != but {
			names = append(names, r.p.g.nodes[f.step].name)
		}
	}
	return names
}

func encodeNote(n note) json.RawMessage {
	data, _ := json.Marshal(n) // strings, numbers and valid JSON always encode
	if string(data) == "{}" {
		return nil
	}
	return data
}

// endFlights cancels the Dos of a saga that has turned.
func (r *run) endFlights() {
	why := fmt.Errorf("saga: %s: compensating: %s", r.id, strings.Trim(r.m.failed.code+" "+r.m.failed.cause, " "))
	for _, f := range r.flights {
		if !f.undo {
			r.end(f, why)
		}
	}
}

// recordHung gives up on a call that ignores its ended context.
func (r *run) recordHung(b *batch, now time.Time) {
	for _, f := range r.flights {
		if end := r.giveUp(f); !end.IsZero() && !time.Now().Before(end) {
			r.record(b, now, Record{
				Kind: kindStuck, Step: r.p.g.nodes[f.step].name, Code: "hung", Attempt: f.call.Attempt,
				Error: fmt.Sprintf("the call went on for %v after its context had ended", r.cfg.Grace),
			})
			return
		}
	}
}

// recordDue logs what time and signals have brought about, and leaves in the agenda
// what there is to do then.
func (r *run) recordDue(b *batch, now time.Time) {
	for {
		a := &r.agenda
		r.m.due(now, r.flights, a)
		switch {
		case a.deadline:
			r.record(b, now, Record{Kind: kindDeadline, Error: fmt.Sprintf("not done within %v", r.p.g.deadline), Data: encodeNote(note{Turn: true, Open: r.open(-1)})})
		case len(a.signals) > 0:
			i := a.signals[0]
			s := r.m.oldest(r.m.steps[i].stands().signal)
			r.record(b, now, Record{Kind: kindWake, Step: r.p.g.nodes[i].name, Code: s.name, Data: s.payload})
		case len(a.woken) > 0:
			r.record(b, now, Record{Kind: kindWake, Step: r.p.g.nodes[a.woken[0]].name})
		default:
			return
		}
	}
}

// release decides whether to give the saga up, and for how long.
func (r *run) release(now time.Time) (release bool, wakeIn time.Duration) {
	if r.m.state.Ended() || r.m.state == Stuck {
		return true, -1
	}
	if len(r.flights) > 0 || r.mailbox {
		return false, 0
	}
	a := &r.agenda // as recordDue left it
	switch {
	case len(a.calls) > 0:
		return r.leaving, 0
	case r.m.awaited(): // by a drain's end: the successor counts the Do as unknown
		return r.leaving, 0
	case a.next.IsZero():
		return true, -1
	default:
		wait := max(a.next.Sub(now), 0)
		return r.leaving || wait > r.cfg.Poll, wait
	}
}

// summarize writes the header as the machine stands.
func (m *machine) summarize(s *Summary) {
	s.Name, s.Version, s.Shape = m.g.name, m.g.version, m.g.shape
	s.State, s.Code, s.Cause, s.Pivoted = m.state, m.failed.code, m.failed.cause, m.pivoted
	s.Step, s.Attempt = "", 0
	if i := m.firstStep(); i >= 0 {
		s.Step, s.Attempt = m.g.nodes[i].name, m.steps[i].stands().attempts
	}
	s.Epoch, s.Seq = m.epoch, m.seq
}
