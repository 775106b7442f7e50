package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// run is one loaded saga. Whatever happens to it (a call returns, mail comes, time
// passes) is noted under mu; one goroutine at a time drives: it records what was
// noted, commits, and makes the calls that follow, the last of them itself. So a
// chain stays on one goroutine from step to step, and while its call runs others
// may drive: that is how a cancel reaches it. A saga that waits has no goroutine.
type run struct {
	*server
	id    string
	owner string
	claim uint64          // the epoch at which it was claimed; 0: it was not
	ctx   context.Context // of store calls; ends with the lease

	mu      sync.Mutex
	p       *program
	m       *machine // nil until loaded
	value   any      // the chain's S; nil: to be decoded
	flights flights
	landed  []*flight
	begun   bool     // the pivot's Do was called here
	mailbox bool     // unread mail is waiting
	letters []Record // mail that is read and not recorded
	driving bool
	gone    bool // fenced or released: nothing counts any more
	leaving bool // a drain: no call begins
	left    bool // the last write has seen leaving
	scratch
	timer    *time.Timer
	armed    time.Time
	changers map[string]touch // of parallel steps: who changed a field last
}

type touch struct {
	seq  uint64
	step int
}

// errDrained is the cause with which a call ends whose process stops.
var errDrained = errors.New("saga: the coordinator stops")

// load reads the log of a claimed saga and begins to drive.
func (r *run) load() {
	s, log, mail, err := r.read()
	if err != nil {
		if final(err) && !r.isGone() && r.ctx.Err() == nil {
			r.server.fail(fmt.Errorf("saga: load of %s: %w", r.id, err))
		}
		r.unload()
		return
	}
	if !r.holds(s) {
		r.fence()
		r.unload()
		return
	}
	if !r.strays(s) {
		return
	}
	p, err := r.programFor(s)
	var m *machine
	if err == nil {
		m, err = fold(p.g, r.id, log)
	}
	if err != nil {
		r.halt(s, "incompatible", err.Error())
		return
	}
	if !r.mayRun(&s, m.read) {
		return
	}
	m.takeover(s.Epoch)
	r.mu.Lock()
	r.pending.write.Summary = s
	r.p, r.m, r.mailbox = p, m, len(mail) > 0 || r.mailbox
	r.driving = true
	r.mu.Unlock()
	r.drive()
}

// holds: the saga still belongs to the claim of this run, or to the Start that has made
// it. To a claim that came since it may be lost although the lease lasts by the clock
// here, which stands still while the machine sleeps; and a saga that was listed as held
// may have been given up. Its epoch would be another's.
func (r *run) holds(s Summary) bool { return s.Owner == r.owner && s.Epoch == max(r.claim, 1) }

// read loads from the store for as long as the lease holds.
func (r *run) read() (s Summary, log, mail []Record, err error) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, err = ask(r.guard, "Load", func() (_ struct{}, err error) {
			s, log, mail, err = r.store.Load(r.ctx, r.id)
			return
		})
		if err == nil || final(err) || r.isGone() {
			return s, log, mail, err
		}
		r.cfg.Logger.Warn("saga: load failed", "saga", r.id, "err", err)
		time.Sleep(wait)
	}
}

// halt makes a saga Stuck that cannot even be loaded.
func (r *run) halt(s Summary, code, text string) {
	s.State, s.Code, s.Cause = Stuck, code, clip(text, maxText)
	rec := Record{Kind: kindStuck, Code: code, Error: s.Cause, Seq: s.Seq + 1, Epoch: s.Epoch, State: Stuck}
	w := Write{Summary: s, Records: []Record{rec}, Release: true, WakeIn: -1}
	if v, ok := r.commit(&pending{write: w}); ok {
		rec.At = v.At
		r.tell(s, rec)
		r.totals.stuck.Add(1)
		r.cfg.Logger.Error("saga: stuck", "saga", r.id, "code", code, "err", text)
	}
	r.unload()
	r.ended(false, nil)
}

// begin starts a saga that this process created.
func (r *run) begin(p *program, m *machine) {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return
	}
	r.p, r.m = p, m
	r.driving = true
	r.mu.Unlock()
	r.employ(r)
}

// note changes something under mu and drives, unless somebody does already.
func (r *run) note(change func()) {
	r.mu.Lock()
	change()
	if r.gone || r.driving || r.m == nil {
		r.mu.Unlock()
		return
	}
	r.driving = true
	r.mu.Unlock()
	r.drive()
}

func (r *run) hasMail() { r.note(func() { r.mailbox = true }) }
func (r *run) drain()   { r.note(func() { r.leaving = true }) }

// cut ends the calls that a drain has waited for.
func (r *run) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		f.cut = true
		r.end(f, errDrained)
	}
}

// end ends a call's context and notes when.
func (r *run) end(f *flight, cause error) {
	f.cancel(cause)
	if f.ended.IsZero() {
		f.ended = time.Now()
	}
}

// fence forgets the saga: it is another's.
func (r *run) fence() {
	r.mu.Lock()
	r.gone = true
	for _, f := range r.flights {
		f.cancel(ErrFenced)
		r.abandon(f)
	}
	r.stop()
	r.mu.Unlock()
	r.outlive()
}

func (r *run) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

func (r *run) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

// unload gives the place of the saga to another.
func (r *run) unload() {
	r.mu.Lock()
	r.gone = true
	r.stop()
	r.mu.Unlock()
	r.remove(r)
}

// drive records what was noted and makes the calls that follow, until there is
// nothing left to do now. Its caller has set driving.
func (r *run) drive() {
	for {
		if !r.readMail() {
			return
		}
		if r.write() && !r.save() {
			return
		}
		last, again := r.launch()
		if again {
			continue
		}
		if last == nil || !r.land(r.fly(last)) {
			return
		}
	}
}

// land notes an outcome and reports whether the caller is to drive.
func (r *run) land(f *flight) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.flights, f)
	if i < 0 {
		r.home(f) // it was given up
		return false
	}
	r.flights = append(r.flights[:i], r.flights[i+1:]...)
	if r.gone {
		r.home(f)
		return false
	}
	r.landed = append(r.landed, f)
	if r.driving {
		return false
	}
	r.driving = true
	return true
}

// save commits the write and reports whether the saga is still here.
func (r *run) save() bool {
	w := &r.pending.write
	v, ok := r.commit(&r.pending)
	if !ok {
		r.fence()
		r.unload()
		return false
	}
	r.mu.Lock()
	r.mailbox = r.mailbox || v.Mail > r.m.read
	state := r.m.state
	isChild := r.p.isChild.Load()
	r.mu.Unlock()
	r.tellAll(w, v.At)
	if !w.Release {
		return true
	}
	r.count(state)
	r.unload()
	if state.Ended() || state == Stuck {
		r.ending = ending{m: r.m, sum: w.Summary}
		if r.p.g.chain && r.known != nil && r.known.copied {
			r.ending.value = r.value
		}
		r.ended(isChild, &r.ending)
	}
	return false
}

// commit stores a write for as long as the lease holds; false means that it is
// lost, or that the store fails for good.
func (r *run) commit(p *pending) (Verdict, bool) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		v, err := r.writes.commit(r.ctx, p)
		switch {
		case err == nil && v.Err == nil:
			return v, true
		case err == nil:
			r.totals.fenced.Add(1)
			return v, false
		case r.isGone(), r.ctx.Err() != nil:
			return v, false
		case final(err):
			r.fail(fmt.Errorf("saga: commit of %s: %w", r.id, err))
			return v, false
		}
		r.cfg.Logger.Warn("saga: commit failed", "saga", r.id, "err", err)
		time.Sleep(wait)
	}
}

func (r *run) count(state State) {
	switch state {
	case Completed:
		r.totals.completed.Add(1)
	case Compensated:
		r.totals.compensated.Add(1)
	case Abandoned:
		r.totals.abandoned.Add(1)
	case Stuck:
		r.totals.stuck.Add(1)
	}
}

// launch starts the calls that are due. All but the last get a goroutine; that one
// is returned for the caller to make. Again says that something was noted
// meanwhile; with neither, nobody drives any more.
func (r *run) launch() (last *flight, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		r.driving = false
		return nil, false
	}
	if len(r.landed) > 0 || r.mailbox || r.leaving != r.left {
		return nil, true
	}
	a := &r.agenda // as write left it: only time has passed, for nothing between may change the machine
	now, here := r.clock.both()
	if !a.next.IsZero() && !now.Before(a.next) {
		r.m.due(now, r.flights, a)
	}
	if a.deadline || len(a.woken)+len(a.signals) > 0 {
		return nil, true // time has passed since the write
	}
	if r.leaving {
		a.calls = a.calls[:0]
	}
	for i, step := range a.calls {
		f := r.takeOff(step, here)
		if i == len(a.calls)-1 {
			last = f
			break
		}
		r.wg.Go(func() {
			if r.land(r.fly(f)) {
				r.drive()
			}
		})
	}
	r.arm(a.next, now, here)
	r.driving = false
	return last, false
}

// arm sets the timer for when there is something to look at: a wait that ends, the
// deadline, or a call that may have to be given up. A timer that is set earlier
// does: it will find nothing and be set anew, which spares a chain of quick calls
// a timer each.
func (r *run) arm(next, now, here time.Time) {
	var at time.Time
	earliest := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if !next.IsZero() {
		earliest(here.Add(next.Sub(now)))
	}
	for _, f := range r.flights {
		if end := r.giveUp(f); !end.IsZero() {
			earliest(end)
		}
	}
	if at.IsZero() || !r.armed.IsZero() && !at.Before(r.armed) && here.Before(r.armed) {
		return
	}
	r.armed = at
	wait := max(at.Sub(here), 0)
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, r.tick)
	} else {
		r.timer.Reset(wait)
	}
}

func (r *run) tick() { r.spawn(func() { r.note(func() { r.armed = time.Time{} }) }) }

// giveUp is when a call counts as hung: Grace after its context ended.
func (r *run) giveUp(f *flight) time.Time {
	end := f.ended
	if at, ok := f.Deadline(); ok && (end.IsZero() || at.Before(end)) {
		end = at
	}
	if end.IsZero() {
		return end
	}
	return end.Add(r.cfg.Grace)
}
