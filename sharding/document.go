package sharding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// Document is the stored form of a [Topology]. What Map and Mirror hold is the
// user's choice, such as the JSON of a [SlotConfig] or of a slice of [Range];
// the decode function of [Open] reads it. Job belongs to whoever moves data.
type Document struct {
	Epoch      uint64          `json:"epoch"`
	Map        json.RawMessage `json:"map"`
	Mirror     json.RawMessage `json:"mirror,omitempty"`
	ReadMirror bool            `json:"read_mirror,omitempty"`
	Block      bool            `json:"block,omitempty"`
	Job        json.RawMessage `json:"job,omitempty"`
}

// Source is where routers read topologies.
type Source interface {
	// Load returns the latest document that was put, read from the primary,
	// or the zero Document if there is none.
	Load(ctx context.Context) (Document, error)

	// Wait returns nil when an epoch greater than after may be stored. It may
	// be early, and may miss a change: it is a hint. When ctx ends it returns
	// its cause.
	Wait(ctx context.Context, after uint64) error
}

// Store is a Source that can be written. Every implementation must pass
// package shardingtest.
type Store interface {
	Source

	// Put stores doc if its epoch is the stored one plus 1, else it returns
	// ErrConflict; that makes Load, change and Put a compare-and-set. To put
	// the stored document again is nil, so an unknown outcome can be retried.
	Put(ctx context.Context, doc Document) error
}

// Memory is a Store in memory, for tests and single processes. The zero value
// is ready. For concurrent use.
type Memory struct {
	mu      sync.Mutex
	doc     Document
	changed chan struct{} // closed by the next Put; nil if nobody waits
}

// Load returns the latest document. Its slices are the caller's.
func (m *Memory) Load(ctx context.Context) (Document, error) {
	if ctx.Err() != nil {
		return Document{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.doc.clone(), nil
}

// Put stores a copy of doc.
func (m *Memory) Put(ctx context.Context, doc Document) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if doc.Epoch == 0 {
		return errors.New("sharding: Document.Epoch is 0, must be at least 1")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if doc.equal(&m.doc) {
		return nil
	}
	if doc.Epoch-1 != m.doc.Epoch {
		return fmt.Errorf("%w: epoch %d cannot follow %d", ErrConflict, doc.Epoch, m.doc.Epoch)
	}
	m.doc = doc.clone()
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
	return nil
}

// Wait returns as soon as an epoch greater than after is stored.
func (m *Memory) Wait(ctx context.Context, after uint64) error {
	for {
		changed := m.next(after)
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next returns what the next Put closes, nil if after is outdated already.
func (m *Memory) next(after uint64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doc.Epoch > after {
		return nil
	}
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

func (d Document) clone() Document {
	d.Map, d.Mirror, d.Job = bytes.Clone(d.Map), bytes.Clone(d.Mirror), bytes.Clone(d.Job)
	return d
}

func (d *Document) equal(o *Document) bool {
	return d.Epoch == o.Epoch && d.ReadMirror == o.ReadMirror && d.Block == o.Block &&
		bytes.Equal(d.Map, o.Map) && bytes.Equal(d.Mirror, o.Mirror) && bytes.Equal(d.Job, o.Job)
}
