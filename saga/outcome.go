package saga

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// flight begins a call: its context, and S as it is now.
func (r *run) flight(step int) *flight {
	n := &r.p.g.nodes[step]
	c := &r.m.steps[step].call
	f := &flight{step: step, undo: r.m.back, base: r.m.data, seq: r.m.seq}
	f.values = r.base
	f.call = Call{
		Saga: r.id, Step: n.name, Undo: r.m.back, Attempt: c.attempts + 1, Epoch: r.m.epoch,
		Signal: c.got, Payload: c.payload, TimedOut: c.timedOut,
	}
	if n.timeout > 0 {
		f.deadline = time.Now().Add(n.timeout)
	}
	// A chain works on one S; it is decoded anew after a failure, whose traces must
	// be gone. Parallel steps have one each.
	if r.p.g.chain {
		f.value, r.value = r.value, nil
	}
	r.flights = append(r.flights, f)
	return f
}

// fly makes the call. It does not return if the call ends its goroutine; the saga
// then goes on in another.
func (r *run) fly(f *flight) (o outcome) {
	o = outcome{flight: f}
	if r.events != nil {
		r.tell(Summary{ID: r.id, Name: r.p.g.name}, Record{
			Kind: kindBegin, Step: r.p.g.nodes[f.step].name, Attempt: f.call.Attempt, Epoch: f.call.Epoch, At: r.clock.now(),
		})
	}
	returned := false
	defer func() {
		f.release()
		if returned {
			return
		}
		if v := recover(); v != nil {
			o.err = &crash{fmt.Sprintf("panic: %v\n\n%s", v, debug.Stack())}
			return
		}
		r.goOn(outcome{f, &crash{"the call ended its goroutine (runtime.Goexit)"}})
	}()
	o.err = r.try(f)
	returned = true
	return o
}

// goOn drives on from an outcome in a goroutine of its own.
func (r *run) goOn(o outcome) {
	r.wg.Go(func() {
		if r.land(o) {
			r.drive()
		}
	})
}

func (r *run) try(f *flight) (err error) {
	if f.value == nil {
		if f.value, err = r.p.decode(f.base); err != nil {
			return fmt.Errorf("saga: the state does not decode: %w", err)
		}
	}
	if f.undo {
		return r.p.undo(f.step, f, f.value)
	}
	return r.p.do(f.step, f, f.value)
}

// crash is a panic or a Goexit. It is recorded, and the process lives: no caller is
// there to receive it, and one poison saga would end process after process.
type crash struct{ text string }

func (c *crash) Error() string { return c.text }

// recordOutcome logs how a call ended, by the table of outcomes.
func (r *run) recordOutcome(b *batch, o outcome, now time.Time) {
	n := &r.p.g.nodes[o.step]
	rec := Record{Step: n.name, Attempt: o.call.Attempt}
	err, keep := o.err, false
	if err == nil {
		if rec.Data, err = r.result(o); err == nil {
			rec.Kind = kindDone
			if o.undo {
				rec.Kind = kindUndone
			}
			r.add1(b, now, rec)
			r.remember(o, rec.Data)
			r.countDone(o.undo)
			return
		}
		keep = true // the effect is there: no second attempt would help
	}
	if o.cut {
		return // as a crash would end it: the successor repeats the call
	}
	var park *parking
	var refused *refusal
	switch {
	case !keep && errors.As(err, &park) && (o.undo || !r.m.back):
		rec.Kind, rec.Data = kindPark, encodeNote(note{Wait: park.wait, Await: park.signal, Always: park.always})
		rec.Attempt = o.call.Attempt - 1
	case !keep && errors.As(err, &refused):
		rec = r.refusal(rec, n, o, err)
	default:
		rec = r.failure(rec, n, o, err, keep, now)
	}
	r.add1(b, now, rec)
}

func (r *run) refusal(rec Record, n *node, o outcome, err error) Record {
	rec.Kind, rec.Code, rec.Error = kindRefuse, codeOf(err), textOf(err)
	switch {
	case o.undo:
		rec.Kind = kindUndoFail
		rec.Data = encodeNote(note{Stuck: true})
	case r.m.back:
	case !n.before && !n.pivot:
		rec.Data = encodeNote(note{Stuck: true})
	default:
		rec.Data = r.turning(o.step)
	}
	return rec
}

// failure is an attempt that may have had an effect: again, or the last.
func (r *run) failure(rec Record, n *node, o outcome, err error, permanent bool, now time.Time) Record {
	rec.Kind, rec.Code, rec.Error = kindFail, codeOf(err), textOf(err)
	policy := n.retry
	if o.undo {
		rec.Kind, policy = kindUndoFail, n.undo
	} else if r.m.back {
		return rec // its outcome is all that counts
	}
	c := &r.m.steps[o.step].call
	since := time.Duration(0)
	if !c.first.IsZero() {
		since = now.Sub(c.first)
	}
	after := retryAfter(err)
	marked := !o.undo && n.before && final(err) && after <= 0
	if !permanent && !marked && !policy.gaveUp(rec.Attempt, since) {
		r.totals.retries.Add(1)
		rec.Data = encodeNote(note{Wait: max(after, policy.wait(rec.Attempt))})
		return rec
	}
	switch {
	case o.undo:
		rec.Data = encodeNote(note{Stuck: true})
	case n.before || n.pivot && n.hasUndo:
		rec.Data = encodeNote(note{Turn: true, Open: r.open(o.step)})
	default:
		rec.Data = encodeNote(note{Stuck: true})
	}
	return rec
}

// result encodes S after a call and returns what it changed.
func (r *run) result(o outcome) ([]byte, error) {
	now, err := r.encode(o.value)
	if err != nil {
		return nil, fmt.Errorf("saga: the state does not encode: %w", err)
	}
	d := r.keep(r.differ.delta(o.base, now))
	if len(d) > maxDelta {
		r.scratch.discard(r.p.g.chain)
		return nil, fmt.Errorf("saga: the call changed %d bytes of the state: at most %d", len(d), maxDelta)
	}
	if r.p.g.chain {
		r.m.next, r.value = now, o.value
		return d, nil
	}
	return d, r.clash(o, d)
}

// encode guards MarshalJSON, which is the user's.
func (r *run) encode(v any) (data []byte, err error) {
	returned := false
	defer func() {
		if !returned {
			err = fmt.Errorf("panic: %v", recover())
		}
	}()
	data, err = r.scratch.encode(v, r.p.g.chain)
	returned = true
	return data, err
}

// clash: a step that ran beside this one has changed the same field. Neither may
// win silently.
func (r *run) clash(o outcome, d []byte) error {
	names, whole := changed(d)
	if whole {
		names = names[:0]
		for name := range r.changers {
			names = append(names, name)
		}
		names = append(names, "")
	}
	for _, name := range append(names, "") {
		t, ok := r.changers[name]
		if ok && t.seq > o.seq && t.step != o.step {
			return fmt.Errorf("saga: the steps %s and %s ran in parallel and both changed %s",
				r.p.g.nodes[t.step].name, r.p.g.nodes[o.step].name, fieldName(name))
		}
	}
	return nil
}

func fieldName(name string) string {
	if name == "" {
		return "the whole state"
	}
	return fmt.Sprintf("the field %q", name)
}

// remember notes who changed what, for clash. The empty name is all of S.
func (r *run) remember(o outcome, d []byte) {
	if r.p.g.chain || len(d) == 0 {
		return
	}
	if r.changers == nil {
		r.changers = map[string]touch{}
	}
	names, whole := changed(d)
	if whole {
		names = []string{""}
	}
	for _, name := range names {
		r.changers[name] = touch{r.m.seq, o.step}
	}
}

func (r *run) countDone(undo bool) {
	if undo {
		r.totals.undos.Add(1)
	} else {
		r.totals.steps.Add(1)
	}
}

// textOf is the error's text for the log, whatever its Error method does.
func textOf(err error) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprintf("%T, whose Error method panics", err)
		}
	}()
	return clip(err.Error(), maxText)
}

func retryAfter(err error) time.Duration {
	var says interface{ RetryAfter() time.Duration }
	if errors.As(err, &says) {
		return says.RetryAfter()
	}
	return 0
}
