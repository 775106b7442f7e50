package sharding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
)

// A loader reads topologies for many callers at once.
//
// Loads are numbered, and a caller is content with any load that began after
// it asked: one that was under way before may have read the state of before,
// and would eat the last change. Loads run one at a time on a caller's
// goroutine, whoever holds the token; if its ctx ends it passes the token on,
// and the next caller loads for those who still wait.
type loader[K any] struct {
	src    Source
	decode func([]byte) (Map[K], error)
	token  chan struct{} // holds one element while nobody loads
	begun  atomic.Uint64

	// With the token held:
	done    uint64 // the number of the last load that ran to its end
	outcome error  // of that load
	recent  [2]decoded[K]
}

// decoded is a map beside the bytes that it was made of.
type decoded[K any] struct {
	doc []byte
	m   Map[K]
}

// Open returns a router whose topologies come from src: it loads the first one
// (it is an error if there is none) and keeps src for Refresh and Follow.
// decode makes a Map of [Document].Map and Mirror; all routers must make the
// same of the same bytes.
func Open[K any](ctx context.Context, src Source, decode func(doc []byte) (Map[K], error), cfg Config) (*Router[K], error) {
	if src == nil || decode == nil {
		return nil, errors.New("sharding: Open needs a Source and a decode function")
	}
	l := &loader[K]{src: src, decode: decode, token: make(chan struct{}, 1)}
	l.token <- struct{}{}
	t, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	r, err := NewRouter(t, cfg)
	if err != nil {
		return nil, err
	}
	r.load = l
	r.count.loads.Store(1)
	return r, nil
}

// Refresh loads the topology and installs it. The load begins after the call,
// so a change that was stored before is seen; concurrent callers share loads.
// An empty, older or broken document leaves the router as it was and is an
// error. Without a Source that is always so.
func (r *Router[K]) Refresh(ctx context.Context) error {
	if r.load == nil {
		return errNoSource
	}
	err := r.refresh(ctx)
	r.feed.deliver(r.cfg.OnEvent)
	return err
}

// refresh is Refresh but for the events, which must wait until the token has
// been passed on: a callback may be slow, or refresh itself.
func (r *Router[K]) refresh(ctx context.Context) error {
	l := r.load
	want := l.begun.Load() + 1
	select {
	case <-l.token:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { l.token <- struct{}{} }()
	switch {
	case l.done >= want:
		return l.outcome
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	n := l.begun.Add(1)
	err := r.reload(ctx)
	if err != nil && ctx.Err() != nil {
		return err // says something about this caller only
	}
	l.done, l.outcome = n, err
	return err
}

// reload loads and installs once. The token is held.
func (r *Router[K]) reload(ctx context.Context) error {
	r.count.loads.Add(1)
	t, err := r.load.read(ctx)
	if err == nil {
		err = r.install(t)
	}
	if err != nil {
		r.count.loadErrors.Add(1)
	}
	return err
}

// read loads a document and makes a topology of it.
func (l *loader[K]) read(ctx context.Context) (t Topology[K], err error) {
	doc, err := l.src.Load(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return t, fmt.Errorf("sharding: load: %w (%w)", context.Cause(ctx), err)
	case err != nil:
		return t, fmt.Errorf("sharding: load: %w", err)
	case doc.Epoch == 0:
		return t, errors.New("sharding: load: no topology is stored")
	}
	t = Topology[K]{Epoch: doc.Epoch, ReadMirror: doc.ReadMirror, Block: doc.Block}
	if t.Map, err = l.make("map", doc.Epoch, doc.Map); err != nil {
		return t, err
	}
	if present(doc.Mirror) {
		t.Mirror, err = l.make("mirror", doc.Epoch, doc.Mirror)
	}
	return t, err
}

// present reports whether an optional member of a document is there.
func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// make decodes a map, unless its bytes are those of one of the last two: at a
// cutover, map and mirror trade places.
func (l *loader[K]) make(what string, epoch uint64, doc []byte) (Map[K], error) {
	for _, d := range l.recent {
		if d.m != nil && bytes.Equal(d.doc, doc) {
			return d.m, nil
		}
	}
	m, err := l.decode(bytes.Clone(doc))
	if err == nil && m == nil {
		err = errors.New("decode returned no map")
	}
	if err != nil {
		return nil, fmt.Errorf("sharding: %s of epoch %d: %w", what, epoch, err)
	}
	l.recent[0], l.recent[1] = l.recent[1], decoded[K]{bytes.Clone(doc), m}
	return m, nil
}
