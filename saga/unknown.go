package saga

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A saga whose definition is not here, or cannot continue it, still has a header and
// names in its log: enough to say how it stands.

// verdictOn is [machine.verdict] without a machine; why says what there is no machine
// for. A Completed saga has no error but that its state cannot be told.
func (c *Coordinator) verdictOn(ctx context.Context, s Summary, why error) error {
	if s.State == Completed {
		return why
	}
	_, log, _, err := c.store.Load(ctx, s.ID)
	if err != nil {
		return fmt.Errorf("saga: %s: %w", s.ID, err)
	}
	e := &Error{ID: s.ID, Name: s.Name, Step: s.Step, State: s.State, Code: s.Code, Cause: s.Cause}
	if s.State != Stuck {
		e.Step = ""
		if i := slices.IndexFunc(log, func(r Record) bool { return r.State == Compensating || r.State == Compensated }); i >= 0 {
			e.Step = log[i].Step
		}
	}
	for _, r := range log {
		if r.Kind == kindUndoFail {
			e.Undo = append(e.Undo, r.Step+": "+r.Error)
		}
	}
	if s.State != Compensated {
		e.Left = leftBy(s, log)
	}
	return e
}

// leftBy names the steps whose effect is, or may be, there as far as the log tells:
// what was done, failed or parked and not undone, and the call that was to be made
// next. Those that need no undoing are left out, as far as the outline tells.
func leftBy(s Summary, log []Record) (names []string) {
	outline, back := "", false
	mark := func(step string, there bool) {
		i := slices.Index(names, step)
		switch {
		case there && i < 0:
			names = append(names, step)
		case !there && i >= 0:
			names = slices.Delete(names, i, i+1)
		}
	}
	for _, r := range log {
		switch r.Kind {
		case kindStart, kindResume:
			outline = r.Key
		case kindDone, kindFail, kindPark:
			mark(r.Step, true)
		case kindUndone:
			mark(r.Step, false)
		case kindResolve:
			if n, err := noteOf(&r); err == nil && n.As != nil && n.As.Action == ResolveDone {
				mark(r.Step, !back)
			}
		}
		back = back || r.State == Compensating
	}
	if s.Step != "" {
		mark(s.Step, true)
	}
	return slices.DeleteFunc(names, func(step string) bool { return !needsUndo(outline, step) })
}

// needsUndo: the step has an Undo, or stands behind the pivot's name.
func needsUndo(outline, step string) bool {
	behind := false
	for word := range strings.FieldsSeq(outline) {
		name := strings.TrimRight(word, "+!")
		marks := word[len(name):]
		behind = behind || strings.Contains(marks, "!")
		if name == step {
			return behind || strings.Contains(marks, "+")
		}
	}
	return true
}
