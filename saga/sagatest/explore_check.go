package sagatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/saga"
)

// judge looks at how a schedule ended.
func (x *explorer[S]) judge(ctx context.Context, p *process[S], s saga.Summary) error {
	limit, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	e := End[S]{State: s.State, Schedule: x.plan.String()}
	e.Value, e.Err = p.saga.Wait(limit, exploredID)
	before := len(x.trace())
	time.Sleep(10 * exploredLease) // stale processes come back
	_, log, _, err := x.store.Load(ctx, exploredID)
	if err != nil {
		return err
	}
	e.History = log
	x.mu.Lock()
	e.Calls = slices.Clone(x.calls)
	x.mu.Unlock()
	for _, ev := range x.trace()[before:] {
		if ev.what != "end" {
			return fmt.Errorf("after the end (%v) there was still: %v", s.State, ev)
		}
	}
	if err := errors.Join(x.checkLog(s, e), x.checkCalls(), x.checkEnd(s)); err != nil {
		return err
	}
	if x.subject.Check != nil {
		return x.subject.Check(e)
	}
	return nil
}

func (x *explorer[S]) trace() []event {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.events)
}

// checkLog: no holes, one end, and Wait says what the log says.
func (x *explorer[S]) checkLog(s saga.Summary, e End[S]) error {
	for i, r := range e.History {
		if r.Seq != uint64(i+1) {
			return fmt.Errorf("record %d has Seq %d", i+1, r.Seq)
		}
		if i > 0 && e.History[i-1].State.Ended() && r.Kind != "reverse" {
			return fmt.Errorf("record %d (%s) stands behind the end", r.Seq, r.Kind)
		}
	}
	if last := e.History[len(e.History)-1].State; last != s.State {
		return fmt.Errorf("the log ends %v, the header says %v", last, s.State)
	}
	var as *saga.Error
	switch errors.As(e.Err, &as); {
	case s.State == saga.Completed && e.Err != nil:
		return fmt.Errorf("completed, and Wait returns %w", e.Err)
	case s.State != saga.Completed && (as == nil || as.State != s.State):
		return fmt.Errorf("%v, and Wait returns %w", s.State, e.Err)
	}
	return nil
}

// standing is what the calls so far say about a step.
type standing struct {
	began, doing, done bool // its Do
	unrefused          bool // a Do had, or may have had, an effect
	pending            bool // it is not known to be undone
}

// checkCalls replays the trace: each call must be allowed where it begins.
func (x *explorer[S]) checkCalls() error {
	at := map[string]*standing{}
	for _, s := range x.steps {
		at[s.Name] = &standing{}
	}
	turned := false
	for i, e := range x.trace() {
		s := at[e.step]
		if s == nil {
			continue
		}
		var err error
		switch {
		case e.what == "done":
			s.done = true
		case e.what == "refuse":
			s.pending = s.pending && s.unrefused
		case e.what == "undone":
			s.pending = false
		case e.what == "begin" && e.undo:
			turned = true
			err = x.mayUndo(at, e.step)
		case e.what == "begin":
			err = x.mayDo(at, e.step, turned)
			s.began, s.doing, s.pending = true, true, true
		case e.what == "end" && e.undo:
			continue
		case e.what == "end":
			s.doing = false
			s.unrefused = s.unrefused || !e.no
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
	}
	return nil
}

func (x *explorer[S]) mayDo(at map[string]*standing, step string, turned bool) error {
	if turned {
		return fmt.Errorf("the Do of %s begins after the turn", step)
	}
	if at[step].done {
		return fmt.Errorf("the Do of %s begins although it is done", step)
	}
	for _, before := range x.after(step) {
		if !at[before].done {
			return fmt.Errorf("the Do of %s begins before %s is done", step, before)
		}
	}
	return nil
}

func (x *explorer[S]) mayUndo(at map[string]*standing, step string) error {
	// A successor must assume that a process which died had begun what was ready.
	if !at[step].began && !x.plan.kills() {
		return fmt.Errorf("%s is undone, and its Do never began", step)
	}
	if at[step].began && !at[step].unrefused && !at[step].doing && !x.plan.kills() {
		return fmt.Errorf("%s is undone, and was refused", step)
	}
	for _, s := range x.steps {
		if at[s.Name].doing && !x.plan.has(stale) {
			return fmt.Errorf("%s is undone while the Do of %s runs", step, s.Name)
		}
		if s.Undo != nil && at[s.Name].pending && slices.Contains(x.after(s.Name), step) {
			return fmt.Errorf("%s is undone before %s, which builds on it", step, s.Name)
		}
	}
	return nil
}

func (s schedule) kills() bool {
	return s.has(crashBefore) || s.has(crashAfter) || s.has(stale)
}

func (s schedule) has(what string) bool {
	return slices.ContainsFunc(s, func(f fault) bool { return f.what == what })
}

// after names the steps that a step waits for.
func (x *explorer[S]) after(step string) []string {
	i := slices.IndexFunc(x.steps, func(s saga.Step[S]) bool { return s.Name == step })
	if after := x.steps[i].After; after != nil || i == 0 {
		return after
	}
	return []string{x.steps[i-1].Name}
}

// checkEnd: all effects are there, or none.
func (x *explorer[S]) checkEnd(s saga.Summary) error {
	effect, pivoted, reversed := map[string]bool{}, false, false
	for _, e := range x.trace() {
		if e.what == "effect" {
			effect[e.step] = !e.undo
		}
		for _, step := range x.steps {
			pivoted = pivoted || e.what == "done" && step.Pivot && step.Name == e.step
		}
		reversed = reversed || e.what == "reverse"
	}
	for _, step := range x.steps {
		switch {
		case s.State == saga.Completed && !effect[step.Name]:
			return fmt.Errorf("it is Completed, and the effect of %s is not there", step.Name)
		case s.State == saga.Compensated && effect[step.Name] && step.Undo != nil:
			return fmt.Errorf("it is Compensated, and the effect of %s is there", step.Name)
		}
	}
	if s.State == saga.Compensated && pivoted && !reversed {
		return errors.New("it is Compensated, and the pivot was done")
	}
	return nil
}

// String is "begin pay#undo".
func (e event) String() string {
	word := e.what
	if e.step != "" {
		word += " " + e.step
	}
	if e.undo {
		word += "#undo"
	}
	return word
}

// story is the trace for a failure's text.
func (x *explorer[S]) story() string {
	var b strings.Builder
	for i, e := range x.trace() {
		fmt.Fprintf(&b, "%4d %v\n", i, e)
	}
	return b.String()
}
