package saga

import (
	"fmt"
	"time"
)

// recordOutcome logs how a call ended, by the table of outcomes.
func (r *run) recordOutcome(b *batch, f *flight, now time.Time) {
	n := &r.p.g.nodes[f.step]
	rec := Record{Step: n.name, Attempt: f.call.Attempt}
	d := f.failed
	if d == nil {
		var err error
		if rec.Data, err = r.result(f); err == nil {
			rec.Kind = kindDone
			if f.undo {
				rec.Kind = kindUndone
			}
			r.record(b, now, rec)
			r.remember(f, rec.Data)
			r.countDone(f.undo)
			return
		}
		d = &finding{text: textOf(err)}
	}
	switch {
	case f.did: // the effect is there: no second attempt would help
		rec = r.failure(rec, n, f, d, now)
	case f.cut:
		return // as a crash would end it: the successor repeats the call
	case d.park != nil && (f.undo || !r.m.back):
		rec.Kind, rec.Data = kindPark, encodeNote(note{Wait: d.park.wait, Await: d.park.signal, Always: d.park.always})
		rec.Attempt = f.call.Attempt - 1
	case d.refused:
		rec = r.refusal(rec, n, f, d)
	default:
		rec = r.failure(rec, n, f, d, now)
	}
	r.record(b, now, rec)
}

func (r *run) refusal(rec Record, n *node, f *flight, d *finding) Record {
	rec.Kind, rec.Code, rec.Error = kindRefuse, d.code, d.text
	switch {
	case f.undo:
		rec.Kind = kindUndoFail
		rec.Data = encodeNote(note{Stuck: true})
	case r.m.back:
	case !n.before && !n.pivot:
		rec.Data = encodeNote(note{Stuck: true})
	default:
		rec.Data = r.turning(f.step)
	}
	return rec
}

// failure is an attempt that may have had an effect: again, or the last.
func (r *run) failure(rec Record, n *node, f *flight, d *finding, now time.Time) Record {
	rec.Kind, rec.Code, rec.Error = kindFail, d.code, d.text
	policy := n.retry
	if f.undo {
		rec.Kind, policy = kindUndoFail, n.undo
	} else if r.m.back {
		return rec // its outcome is all that counts
	}
	c := r.m.steps[f.step].stands()
	since := time.Duration(0)
	if !c.first.IsZero() {
		since = now.Sub(c.first)
	}
	marked := !f.undo && n.before && d.final && d.after <= 0
	if !f.did && !marked && !policy.gaveUp(rec.Attempt, since) {
		r.totals.retries.Add(1)
		rec.Data = encodeNote(note{Wait: max(d.after, policy.wait(rec.Attempt))})
		return rec
	}
	switch {
	case f.undo:
		rec.Data = encodeNote(note{Stuck: true})
	case n.before || n.pivot && n.hasUndo:
		rec.Data = encodeNote(note{Turn: true, Open: r.open(f.step)})
	default:
		rec.Data = encodeNote(note{Stuck: true})
	}
	return rec
}

// result returns what a call changed.
func (r *run) result(f *flight) ([]byte, error) {
	differ := differs.Get().(*differ)
	d := r.keep(r.p.delta(differ, &f.base, f.now))
	differs.Put(differ)
	if len(d) > maxDelta {
		r.scratch.discard(r.p.g.chain)
		return nil, fmt.Errorf("saga: the call changed %d bytes of the state: at most %d", len(d), maxDelta)
	}
	if r.p.g.chain {
		r.m.next, r.known, r.value = f.now.data, f.now, f.value
		return d, nil
	}
	return d, r.clash(f, d)
}

// clash: a step that ran beside this one has changed the same field. Neither may
// win silently.
func (r *run) clash(f *flight, d []byte) error {
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
		if ok && t.seq > f.seq && t.step != f.step {
			return fmt.Errorf("saga: the steps %s and %s ran in parallel and both changed %s",
				r.p.g.nodes[t.step].name, r.p.g.nodes[f.step].name, fieldName(name))
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
func (r *run) remember(f *flight, d []byte) {
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
		r.changers[name] = touch{r.m.seq, f.step}
	}
}

func (r *run) countDone(undo bool) {
	if undo {
		r.totals.undos.Add(1)
	} else {
		r.totals.steps.Add(1)
	}
}
