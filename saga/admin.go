package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Resolution is what a human decides about a Stuck saga. It is logged whole.
type Resolution struct {
	// Action is one of the Resolve constants.
	Action string `json:"action"`

	// Step is the stuck one. Empty means the only one.
	Step string `json:"step,omitempty"`

	// By and Reason are required.
	By     string `json:"by"`
	Reason string `json:"reason"`

	// Patch sets fields of S, as a JSON object; with ResolveDone only.
	Patch json.RawMessage `json:"patch,omitempty"`
}

const (
	// ResolveRetry gives the call a fresh budget of attempts.
	ResolveRetry = "retry"
	// ResolveDone counts the call as done by hand.
	ResolveDone = "done"
	// ResolveSkip counts a Do as refused, which compensates, and is ErrPastPivot
	// behind the pivot; it leaves the effect of an Undo in place, and the saga ends
	// Abandoned.
	ResolveSkip = "skip"
	// ResolveAbandon runs nothing more. It is also allowed for a saga that is not
	// Stuck, if no live process holds it, and for one whose definition is not
	// registered here or cannot continue it.
	ResolveAbandon = "abandon"
)

// resolves folds a resolution.
func (m *machine) resolves(r *Record, i int, n note) error {
	if n.As == nil {
		return fmt.Errorf("saga: record %d resolves nothing", r.Seq)
	}
	if n.As.Action == ResolveAbandon {
		m.ended = true
		return nil
	}
	for j := range m.steps {
		if m.steps[j].stuck && (j == i || i < 0) {
			m.steps[j].stuck = false
			m.steps[j].tried = nil
		}
	}
	if i < 0 {
		return nil
	}
	s := &m.steps[i]
	switch {
	case n.As.Action == ResolveRetry:
	case n.As.Action == ResolveDone && m.back:
		s.status = undone
	case n.As.Action == ResolveDone:
		s.status = done
		m.pivoted = m.pivoted || m.g.nodes[i].pivot
	case m.back:
		s.status = left
	case s.tainted:
		s.status = unknown
		m.turn(failure{r.Step, "", n.As.Reason}, nil)
	default:
		s.status = refused
		m.turn(failure{r.Step, "", n.As.Reason}, nil)
	}
	var err error
	if n.As.Action == ResolveDone {
		m.data, err = patch(m.data, n.Delta)
	}
	return err
}

// Cancel asks the saga to compensate. Nil means that the request is durable; a
// saga whose pivot is running may still complete, and Wait tells. A saga that is
// compensating already is left alone; a Stuck one reads it after Resolve.
// [ErrPastPivot], [ErrTerminal], [ErrNotFound].
func (c *Coordinator) Cancel(ctx context.Context, id, reason string) error {
	s, err := c.summary(ctx, id)
	switch {
	case err != nil:
		return err
	case s.State.Ended():
		return fmt.Errorf("%w: %s is %v", ErrTerminal, id, s.State)
	case s.State == Compensating:
		return nil
	case s.Pivoted:
		return fmt.Errorf("%w: %s", ErrPastPivot, id)
	}
	return c.post(ctx, id, Record{Kind: kindCancel, Error: clip(reason, maxText)})
}

// Signal sends a message, which [Await] of that name receives; it is durable when
// Signal returns nil. Signals of a name are received in order, also those that
// come before anybody waits. Signals with equal keys that are not empty count
// once. Payload travels as JSON; nil is none. [ErrTerminal], [ErrNotFound];
// [ErrConflict] beyond 1,000 unread messages.
func (c *Coordinator) Signal(ctx context.Context, id, name, key string, payload any) error {
	if !validName(name) {
		return fmt.Errorf("saga: signal name is %.80q: want 1 to 64 letters, digits, '.', '_', '-'", name)
	}
	if len(key) > 255 || clip(key, 255) != key {
		return fmt.Errorf("saga: signal key is %.80q: want at most 255 bytes of UTF-8 without NUL", key)
	}
	r := Record{Kind: kindSignal, Code: name, Key: key}
	if payload != nil {
		data, err := json.Marshal(payload)
		if err != nil {
			return fmt.Errorf("saga: payload of signal %s does not encode: %w", name, err)
		}
		if len(data) > maxDelta {
			return fmt.Errorf("saga: payload of signal %s has %d bytes: want at most %d", name, len(data), maxDelta)
		}
		r.Data = data
	}
	return c.post(ctx, id, r)
}

func (c *Coordinator) post(ctx context.Context, id string, r Record) error {
	if err := c.store.Post(ctx, id, r); err != nil {
		return fmt.Errorf("saga: %s to %s: %w", r.Kind, id, err)
	}
	c.nudge()
	return nil
}

func (c *Coordinator) summary(ctx context.Context, id string) (Summary, error) {
	for s, err := range c.store.List(ctx, Filter{IDs: []string{id}}) {
		return s, err
	}
	if ctx.Err() != nil {
		return Summary{}, context.Cause(ctx)
	}
	return Summary{}, fmt.Errorf("%w: %s", ErrNotFound, id)
}

// List yields the sagas that match, by id, and ends after one error.
func (c *Coordinator) List(ctx context.Context, f Filter) iter.Seq2[Summary, error] {
	return c.store.List(ctx, f)
}

// History yields the log of a saga by Seq. [ErrNotFound].
func (c *Coordinator) History(ctx context.Context, id string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		_, log, _, err := c.store.Load(ctx, id)
		if err != nil {
			yield(Record{}, fmt.Errorf("saga: %s: %w", id, err))
			return
		}
		for _, r := range log {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Resolve carries out what a human decided about a Stuck saga: see the Resolve
// constants. [ErrConflict] if it is not Stuck or no definition here can continue it
// (but for ResolveAbandon), if the step is not stuck, or if a live process holds
// it; [ErrPastPivot], [ErrTerminal], [ErrNotFound].
func (c *Coordinator) Resolve(ctx context.Context, id string, r Resolution) error {
	if err := r.check(); err != nil {
		return err
	}
	s, err := c.summary(ctx, id)
	switch {
	case err != nil:
		return err
	case s.State.Ended():
		return fmt.Errorf("%w: %s is %v", ErrTerminal, id, s.State)
	case s.State != Stuck && r.Action != ResolveAbandon:
		return fmt.Errorf("%w: %s is %v, not stuck", ErrConflict, id, s.State)
	}
	return c.alone(ctx, id, func(m *machine, unknown error) (Record, error) {
		switch {
		case unknown == nil:
			return m.resolution(r)
		case r.Action == ResolveAbandon:
			return Record{Kind: kindResolve, State: Abandoned, Data: encodeNote(note{As: &r})}, nil
		}
		return Record{}, fmt.Errorf("%w: %s: %w", ErrConflict, id, unknown)
	})
}

func (r Resolution) check() error {
	var bad []error
	switch r.Action {
	case ResolveRetry, ResolveDone, ResolveSkip, ResolveAbandon:
	default:
		bad = append(bad, fmt.Errorf("saga: Resolution.Action is %.40q: want retry, done, skip or abandon", r.Action))
	}
	if r.By == "" || r.Reason == "" {
		bad = append(bad, fmt.Errorf("saga: Resolution.By is %.80q and Reason %.80q: want both", r.By, r.Reason))
	}
	if len(r.Patch) > 0 {
		var object map[string]json.RawMessage
		if r.Action != ResolveDone || json.Unmarshal(r.Patch, &object) != nil {
			bad = append(bad, fmt.Errorf("saga: Resolution.Patch is %.80q: want a JSON object, and Action %q", r.Patch, ResolveDone))
		}
	}
	return errors.Join(bad...)
}

// resolution turns a decision into its record.
func (m *machine) resolution(r Resolution) (Record, error) {
	rec := Record{Kind: kindResolve}
	n := note{As: &r}
	if r.Action != ResolveAbandon {
		i, err := m.stuckStep(r)
		if err != nil {
			return rec, err
		}
		if i >= 0 {
			rec.Step = m.g.nodes[i].name
			if r.Action == ResolveSkip && !m.back && !m.g.nodes[i].before && i != m.g.pivot {
				return rec, fmt.Errorf("%w: %s of %s cannot count as refused", ErrPastPivot, rec.Step, m.id)
			}
		}
	}
	if len(r.Patch) > 0 {
		n.Delta = json.RawMessage(`{"set":` + string(r.Patch) + `}`)
	}
	rec.Data = encodeNote(n)
	return rec, nil
}

// stuckStep finds the step that a resolution is about; -1 is all of them.
func (m *machine) stuckStep(r Resolution) (int, error) {
	var stuck []string
	at := -1
	for i, s := range m.steps {
		if s.stuck {
			stuck = append(stuck, m.g.nodes[i].name)
			if r.Step == "" || r.Step == m.g.nodes[i].name {
				at = i
			}
		}
	}
	switch {
	case r.Step != "" && at < 0:
		return 0, fmt.Errorf("%w: Resolution.Step is %.80q: stuck are %q", ErrConflict, r.Step, stuck)
	case len(stuck) != 1 && r.Step == "" && r.Action == ResolveRetry:
		return -1, nil
	case len(stuck) != 1 && r.Step == "":
		return 0, fmt.Errorf("%w: Resolution.Step is empty: want one of the stuck, %q", ErrConflict, stuck)
	}
	return at, nil
}

// alone claims the saga, which no live process may hold, appends a record and
// gives it up again. Where no definition here can continue the saga, decide is told
// why and has no machine; what it returns then says itself which State follows.
func (c *Coordinator) alone(ctx context.Context, id string, decide func(m *machine, unknown error) (Record, error)) error {
	owner := c.newOwner()
	work, err := c.store.Poll(ctx, Lease{Owner: owner, For: c.cfg.Lease, Only: id})
	if err != nil {
		return fmt.Errorf("saga: claim of %s: %w", id, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Poll)
		defer cancel()
		_, _ = c.store.Poll(ctx, Lease{Owner: owner}) // else the lease runs out
	}()
	if len(work.Claimed) == 0 {
		return fmt.Errorf("%w: a live process holds %s", ErrConflict, id)
	}
	s, log, _, err := c.store.Load(ctx, id)
	if err != nil {
		return fmt.Errorf("saga: %s: %w", id, err)
	}
	m, unknown := c.machineOf(s, log)
	if unknown == nil {
		m.takeover(s.Epoch)
	}
	rec, err := decide(m, unknown)
	if err != nil {
		return err
	}
	s.Owner = owner
	w := Write{Summary: s, Release: true}
	rec.Seq, rec.Epoch, rec.At = s.Seq+1, s.Epoch, work.Now
	if unknown == nil {
		if err := m.apply(&rec); err != nil {
			return fmt.Errorf("saga: %s: %w", id, err)
		}
		m.summarize(&w.Summary)
		rec.State, w.Read = m.state, m.read
	} else {
		w.Summary.State, w.Summary.Seq = rec.State, rec.Seq
	}
	w.Records = []Record{rec}
	v, err := c.writes.commit(ctx, &pending{write: w})
	if err = errors.Join(err, v.Err); err != nil {
		return fmt.Errorf("saga: %s of %s: %w", rec.Kind, id, err)
	}
	c.announce(id, nil)
	c.nudge()
	return nil
}

// machineOf folds a log by the definition that may continue it.
func (c *Coordinator) machineOf(s Summary, log []Record) (*machine, error) {
	p, err := c.programFor(s)
	if err != nil {
		return nil, err
	}
	return fold(p.g, s.ID, log)
}

// Reverse undoes a Completed saga, in the reverse order of its steps, also those
// behind the pivot. [ErrPastPivot] if the pivot has no Undo; nil if it is being
// reversed or has been; else [ErrConflict] before the saga has completed and
// [ErrTerminal] after another end.
func (s *Saga[S]) Reverse(ctx context.Context, id, reason string) error {
	_, m, sum, err := s.get(ctx, id)
	if err != nil {
		return err
	}
	reversed := m.failed.code == "reversed"
	switch {
	case sum.State == Completed:
	case reversed && (sum.State == Compensating || sum.State == Compensated):
		return nil
	case sum.State.Ended():
		return fmt.Errorf("%w: %s is %v", ErrTerminal, id, sum.State)
	default:
		return fmt.Errorf("%w: %s is %v, not completed", ErrConflict, id, sum.State)
	}
	if g := m.g; g.pivot >= 0 && !g.nodes[g.pivot].hasUndo {
		return fmt.Errorf("%w: the pivot %s of %s has no Undo", ErrPastPivot, g.nodes[g.pivot].name, id)
	}
	return s.c.alone(ctx, id, func(m *machine, unknown error) (Record, error) {
		if unknown != nil {
			return Record{}, fmt.Errorf("%w: %s: %w", ErrConflict, id, unknown)
		}
		if m.state != Completed {
			return Record{}, fmt.Errorf("%w: %s is %v, not completed", ErrConflict, id, m.state)
		}
		return Record{Kind: kindReverse, Error: clip(reason, maxText)}, nil
	})
}
