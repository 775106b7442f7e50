package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Saga is one registered definition. It is safe for concurrent use.
type Saga[S any] struct {
	c *Coordinator
	p *program
}

// Register checks d and makes its sagas known to the coordinator, before or during
// Serve. The error joins everything that is wrong with d.
func Register[S any](c *Coordinator, d Definition[S]) (*Saga[S], error) {
	g, err := compile(d)
	if err == nil {
		err = checkSubs(c, g, d.Steps)
	}
	if err != nil {
		return nil, err
	}
	steps := append([]Step[S](nil), d.Steps...)
	p := &program{
		g: g, layout: layoutOf(reflect.TypeFor[S]()),
		decode: func(data []byte) (any, error) {
			s := new(S)
			return s, json.Unmarshal(data, s)
		},
		do:   func(i int, ctx context.Context, v any) error { return steps[i].Do(ctx, v.(*S)) },
		undo: func(i int, ctx context.Context, v any) error { return steps[i].Undo(ctx, v.(*S)) },
	}
	if err := c.register(p); err != nil {
		return nil, err
	}
	for _, s := range d.Steps {
		if s.sub != nil {
			s.sub.child.isChild.Store(true)
		}
	}
	return &Saga[S]{c: c, p: p}, nil
}

// Shape is a hash of the structure: names and order of steps, the pivot, and which
// have an Undo. Pinned in a test, it shows that Version has to be raised.
func (s *Saga[S]) Shape() string { return s.p.g.shape }

// Start creates the saga; it is durable when Start returns nil, and runs in
// whatever process serves. The same id with the same input, compared as encoded,
// is nil in every state, so Start may be repeated; with other input it is
// [ErrConflict]. While the store fails, Start goes on trying until ctx ends.
func (s *Saga[S]) Start(ctx context.Context, id string, in S) error {
	r, err := s.draft(id, &in)
	if err == nil {
		_, err = s.start(ctx, r)
	}
	return err
}

// draft is a saga that is not yet created. Nobody else has in.
func (s *Saga[S]) draft(id string, in *S) (*run, error) {
	r := &run{id: id}
	r.furnish()
	w := &r.pending.write
	w.Records = r.batch
	at, err := s.prepare(w, id, in, r.roomFor(s.p))
	if err != nil {
		return nil, err
	}
	if s.p.g.chain {
		r.begins(at)
		if at.copied {
			r.value = in
		}
	}
	return r, nil
}

// start creates the saga of a draft and tells whether it is new.
func (s *Saga[S]) start(ctx context.Context, r *run) (fresh bool, err error) {
	if ctx.Err() != nil { // nothing was asked: there is nothing to look for
		return false, fmt.Errorf("saga: start of %s: %w", r.id, context.Cause(ctx))
	}
	if r.server = s.c.serving(); r.server != nil && r.server.add(r) {
		return s.startHere(ctx, r)
	}
	v, err := s.c.create(ctx, &r.pending)
	if err == nil && v.Found == nil {
		s.c.totals.started.Add(1)
		s.c.nudge()
	}
	return v.Found == nil, err
}

// startHere creates the saga as this process's own, so that nobody has to claim it.
func (s *Saga[S]) startHere(ctx context.Context, r *run) (fresh bool, err error) {
	w := &r.pending.write
	w.Summary.Owner, w.Release, w.Records[0].Epoch = r.owner, false, 1
	v, err := s.c.create(ctx, &r.pending)
	mine := err == nil && (v.Found == nil || v.Found.Owner == r.owner && v.Found.Epoch == 1 && v.Found.Seq == 1)
	if !mine {
		if err != nil && !errors.Is(err, ErrConflict) {
			r.miss(r.id, r.owner, w.Summary.Fingerprint) // before its place is free
		}
		r.unload()
		return false, err
	}
	s.c.totals.started.Add(1)
	m := &r.own
	*m = machine{g: s.p.g, id: r.id, steps: make([]step, len(s.p.g.nodes))}
	if err := m.apply(&w.Records[0]); err != nil {
		panic(err) // a start record always folds
	}
	r.tellAll(w, v.At)
	m.started, m.updated = v.At, v.At
	w.Summary.Epoch = 1
	r.begin(s.p, m)
	return true, nil
}

// Prepare returns the write that creates the saga, for a store that can make it
// part of its own transaction.
func (s *Saga[S]) Prepare(id string, in S) (w Write, err error) {
	if _, err := s.prepare(&w, id, &in, side{}); err != nil {
		return Write{}, err
	}
	return w, nil
}

func (s *Saga[S]) prepare(w *Write, id string, in *S, room side) (at side, err error) {
	if !validID(id) {
		return at, fmt.Errorf("saga: id is %.80q: want 1 to 255 printable ASCII characters without space", id)
	}
	if at, err = s.p.encode(room, in); err != nil {
		return at, fmt.Errorf("saga: the input of %s does not encode: %w", id, err)
	}
	if len(at.data) > maxDelta {
		return at, fmt.Errorf("saga: the input of %s has %d bytes: want at most %d", id, len(at.data), maxDelta)
	}
	g := s.p.g
	w.Summary = Summary{
		ID: id, Name: g.name, Version: g.version, Shape: g.shape, Fingerprint: fingerprint(g.name, at.data),
		State: Running, Step: g.first, Seq: 1,
	}
	w.Records = append(w.Records, Record{Kind: kindStart, Key: g.words, Seq: 1, Data: slices.Clip(at.data), State: Running})
	w.Release = true
	return at, nil
}

func fingerprint(name string, input []byte) string {
	var room [512]byte
	text := append(append(append(room[:0], name...), 0), input...)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// create commits until it is known what became of it.
func (c *Coordinator) create(ctx context.Context, p *pending) (Verdict, error) {
	id := p.write.Summary.ID
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		v, err := c.writes.commit(ctx, p)
		switch {
		case err == nil && v.Err == nil:
			return v, nil
		case err == nil:
			return v, fmt.Errorf("%w: %s was started with other input, or as another saga", v.Err, id)
		case final(err):
			return v, fmt.Errorf("saga: start of %s: %w", id, err)
		}
		if e := sleep(ctx, wait); e != nil {
			return v, fmt.Errorf("saga: start of %s: %w", id, errors.Join(e, err))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// nudge makes a server of this process look for work at once.
func (c *Coordinator) nudge() {
	if srv := c.serving(); srv != nil {
		srv.wake()
	}
}

// Run is Start, then Wait.
func (s *Saga[S]) Run(ctx context.Context, id string, in S) (S, error) {
	told := s.c.watch(id)
	defer s.c.unwatch(id, told)
	var zero S
	r, err := s.draft(id, &in)
	if err != nil {
		return zero, err
	}
	fresh, err := s.start(ctx, r)
	if err != nil {
		return zero, err
	}
	return s.await(ctx, id, told, !fresh) // a new one has not ended: no need to look
}

// Get returns the durable state now. [ErrNotFound], or [ErrConflict] for a saga of
// another definition.
func (s *Saga[S]) Get(ctx context.Context, id string) (S, Summary, error) {
	v, _, sum, err := s.get(ctx, id)
	return v, sum, err
}

func (s *Saga[S]) get(ctx context.Context, id string) (v S, m *machine, sum Summary, err error) {
	sum, log, _, err := s.c.store.Load(ctx, id)
	if err != nil {
		return v, nil, sum, fmt.Errorf("saga: %s: %w", id, err)
	}
	v, m, err = s.open(sum, log)
	return v, m, sum, err
}

// open folds what a store has of a saga. The machine is nil where the saga is of
// another definition.
func (s *Saga[S]) open(sum Summary, log []Record) (v S, m *machine, err error) {
	if sum.Name != s.p.g.name {
		return v, nil, fmt.Errorf("%w: %s is a saga %q, not %q", ErrConflict, sum.ID, sum.Name, s.p.g.name)
	}
	p, err := s.c.programFor(sum)
	if err != nil {
		return v, nil, err
	}
	if m, err = fold(p.g, sum.ID, log); err != nil {
		return v, m, fmt.Errorf("saga: %s: %w", sum.ID, err)
	}
	if err = json.Unmarshal(m.data, &v); err != nil {
		return v, m, fmt.Errorf("saga: state of %s: %w", sum.ID, err)
	}
	return v, m, nil
}
