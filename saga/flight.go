package saga

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// flight is one call under way.
type flight struct {
	*callContext
	step  int
	undo  bool
	value any
	base  side   // S as the call found it
	seq   uint64 // and when
	ended time.Time
	cut   bool // by a drain
	stray bool // its saga went on without it, under Coordinator.mu
	report
}

type flights []*flight

func (all flights) has(step int) bool {
	for _, f := range all {
		if f.step == step {
			return true
		}
	}
	return false
}

// takeOff begins a call: its context, and S as it is now.
func (r *run) takeOff(step int, now time.Time) *flight {
	n := &r.p.g.nodes[step]
	c := r.m.steps[step].stands()
	f := r.hangar
	if r.hangar = nil; f == nil {
		f = &flight{}
	}
	*f = flight{callContext: r.nextContext(), step: step, undo: r.m.back, seq: r.m.seq}
	if f.base.data = r.m.data; r.p.g.chain && r.known != nil { // parallel steps merge
		f.base = *r.known
	}
	f.values, f.done = r.base, r.m.back && r.m.steps[step].status == done
	f.call = Call{
		Saga: r.id, Step: n.name, Undo: r.m.back, Attempt: c.attempts + 1, Epoch: r.m.epoch,
		Signal: c.got, Payload: c.payload, TimedOut: c.timedOut,
	}
	if n.timeout > 0 {
		f.deadline = now.Add(n.timeout)
	}
	// A chain works on one S; it is decoded anew after a failure, whose traces must
	// be gone. Parallel steps have one each.
	if r.p.g.chain {
		f.value, r.value = r.value, nil
	}
	r.begun = r.begun || n.pivot && !f.undo
	r.flights = append(r.flights, f)
	return f
}

// nextContext takes one from a block that serves the next steps.
func (r *run) nextContext() *callContext {
	if len(r.contexts) == 0 {
		n := 1
		if r.m.state == Running && !r.m.back {
			n = min(len(r.m.steps), 16)
		}
		r.contexts = make([]callContext, n)
	}
	c := &r.contexts[0]
	r.contexts = r.contexts[1:]
	return c
}

// fly makes the call. It does not return if the call ends its goroutine; the saga
// then goes on in another.
func (r *run) fly(f *flight) (out *flight) {
	out = f // also after a panic
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
			f.crashed(fmt.Sprintf("panic: %v\n\n%s", v, debug.Stack()))
			return
		}
		f.crashed("the call ended its goroutine (runtime.Goexit)")
		r.goOn(f)
	}()
	r.try(f)
	returned = true
	return f
}

// goOn drives on from an outcome in a goroutine of its own.
func (r *run) goOn(f *flight) {
	r.wg.Go(func() {
		if r.land(f) {
			r.drive()
		}
	})
}

// report is what came out of a call. All of the user's code is asked while the call
// still counts as running, where a panic is an outcome: methods of S and of errors.
type report struct {
	did    bool  // Do or Undo returned nil
	now    *side // S, encoded
	failed *finding
}

// finding is an error as its methods describe it.
type finding struct {
	text, code string
	after      time.Duration
	final      bool
	refused    bool
	park       *parking
}

func (r *run) try(f *flight) {
	var err error
	if f.value == nil {
		if f.value, err = r.p.decode(f.base.data); err != nil {
			f.failed = findingOf(fmt.Errorf("saga: the state does not decode: %w", err))
			return
		}
	}
	if f.undo {
		err = r.p.undo(f.step, f.callContext, f.value)
	} else {
		err = r.p.do(f.step, f.callContext, f.value)
	}
	if f.did = err == nil; f.did {
		if f.now, err = r.scratch.encode(r.p, f.value); err != nil {
			err = fmt.Errorf("saga: the state does not encode: %w", err)
		}
	}
	if err != nil {
		f.failed = findingOf(err)
	}
}

func findingOf(err error) *finding {
	d := &finding{text: textOf(err), code: codeOf(err), after: retryAfter(err), final: final(err)}
	var refused *refusal
	d.refused = errors.As(err, &refused)
	errors.As(err, &d.park)
	return d
}

// crashed: a panic or a Goexit is recorded, and the process lives: no caller is
// there to receive it, and one poison saga would end process after process.
func (f *flight) crashed(text string) { f.failed = &finding{text: clip(text, maxText)} }

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
