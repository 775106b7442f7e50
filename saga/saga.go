package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
		g: g,
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
	w, err := s.Prepare(id, in)
	if err == nil {
		_, err = s.start(ctx, w)
	}
	return err
}

// start creates the saga of w and tells whether it is new.
func (s *Saga[S]) start(ctx context.Context, w Write) (fresh bool, err error) {
	srv := s.c.serving()
	if srv != nil {
		r := &run{server: srv, id: w.Summary.ID}
		r.furnish()
		if srv.add(r, true) {
			return s.startHere(ctx, r, w)
		}
	}
	v, err := s.c.create(ctx, &pending{write: w})
	if err == nil && v.Found == nil {
		s.c.totals.started.Add(1)
		s.c.nudge()
	}
	return v.Found == nil, err
}

// startHere creates the saga as this process's own, so that nobody has to claim it.
func (s *Saga[S]) startHere(ctx context.Context, r *run, w Write) (fresh bool, err error) {
	w.Summary.Owner, w.Release, w.Records[0].Epoch = r.owner, false, 1
	r.pending.write = w
	v, err := s.c.create(ctx, &r.pending)
	mine := err == nil && (v.Found == nil || v.Found.Owner == r.owner && v.Found.Epoch == 1 && v.Found.Seq == 1)
	if !mine {
		if err != nil && !errors.Is(err, ErrConflict) {
			want := w.Summary.Fingerprint // or all of w would move to the heap
			r.spawn(func() { r.adoptLost(want) })
		} else {
			r.unload()
		}
		return false, err
	}
	s.c.totals.started.Add(1)
	m := &r.own
	*m = machine{g: s.p.g, id: r.id, steps: make([]step, len(s.p.g.nodes))}
	w.Records[0].At = v.At
	if err := m.apply(w.Records[0]); err != nil {
		panic(err) // a start record always folds
	}
	r.tell(w.Summary, w.Records[0])
	w.Summary.Epoch = 1
	r.begin(s.p, m, w.Summary)
	return true, nil
}

// adoptLost: Start gave up without knowing whether the saga exists. If it does, it
// belongs to this process, and nobody else would run it.
func (r *run) adoptLost(fingerprint string) {
	for range 2 { // a commit may still be on its way
		s, _, _, err := r.read()
		if err == nil && s.Owner == r.owner && s.Epoch == 1 && s.Fingerprint == fingerprint {
			r.load()
			return
		}
		if err == nil || !errors.Is(err, ErrNotFound) || sleep(r.ctx, r.cfg.Poll) != nil {
			break
		}
	}
	r.unload()
}

// Prepare returns the write that creates the saga, for a store that can make it
// part of its own transaction.
func (s *Saga[S]) Prepare(id string, in S) (Write, error) {
	if !validID(id) {
		return Write{}, fmt.Errorf("saga: id is %.80q: want 1 to 255 printable ASCII characters without space", id)
	}
	data, err := json.Marshal(&in)
	if err != nil {
		return Write{}, fmt.Errorf("saga: the input of %s does not encode: %w", id, err)
	}
	if len(data) > maxDelta {
		return Write{}, fmt.Errorf("saga: the input of %s has %d bytes: want at most %d", id, len(data), maxDelta)
	}
	g := s.p.g
	rec := Record{Kind: kindStart, Key: g.words, Seq: 1, Data: data, State: Running}
	return Write{
		Summary: Summary{
			ID: id, Name: g.name, Version: g.version, Shape: g.shape, Fingerprint: fingerprint(g.name, data),
			State: Running, Step: g.first, Seq: 1,
		},
		Records: []Record{rec},
		Release: true,
	}, nil
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
	w, err := s.Prepare(id, in)
	if err != nil {
		return zero, err
	}
	fresh, err := s.start(ctx, w)
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
