package saga

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Post implements [Store].
func (m *Memory) Post(ctx context.Context, id string, r Record) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.sagas[id]
	switch {
	case h == nil:
		return ErrNotFound
	case r.Key != "" && h.keys[r.Key]:
		return nil
	case h.State.Ended():
		return ErrTerminal
	case len(h.mail) >= maxUnread:
		return fmt.Errorf("%w: %s has %d unread messages", ErrConflict, id, len(h.mail))
	}
	now := time.Now().UTC().Round(0)
	h.Mail++
	r.Saga, r.Name, r.Seq, r.At, r.Data = "", "", h.Mail, now, bytes.Clone(r.Data)
	if r.Key != "" {
		if h.keys == nil {
			h.keys = map[string]bool{}
		}
		h.keys[r.Key] = true
	}
	h.mail = append(h.mail, r)
	if o := m.owners[h.Owner]; o != nil {
		o.mail[id] = true
	} else if h.State != Stuck {
		m.leave(h)
		h.WakeAt = now
		m.place(h)
	}
	return nil
}

// Load implements [Store].
func (m *Memory) Load(ctx context.Context, id string) (Summary, []Record, []Record, error) {
	if ctx.Err() != nil {
		return Summary{}, nil, nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.sagas[id]
	if h == nil {
		return Summary{}, nil, nil, ErrNotFound
	}
	return h.Summary, h.log.records(h.ID, h.Name), copies(h, h.mail), nil
}

func copies(h *held, records []Record) []Record {
	out := slices.Clone(records)
	for i := range out {
		out[i].Saga, out[i].Name, out[i].Data = h.ID, h.Name, bytes.Clone(out[i].Data)
	}
	return out
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, f Filter) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		n := 0
		for _, id := range m.ids(f) {
			if ctx.Err() != nil {
				yield(Summary{}, context.Cause(ctx))
				return
			}
			s, ok := m.match(id, f)
			if !ok {
				continue
			}
			if n++; !yield(s, nil) || n == f.Limit {
				return
			}
		}
	}
}

func (m *Memory) ids(f Filter) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(f.IDs) > 0 {
		ids := slices.Clone(f.IDs)
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	return slices.Sorted(maps.Keys(m.sagas))
}

func (m *Memory) match(id string, f Filter) (Summary, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.sagas[id]
	ok := h != nil && id > f.After &&
		(len(f.Names) == 0 || slices.Contains(f.Names, h.Name)) &&
		(len(f.States) == 0 || slices.Contains(f.States, h.State)) &&
		(f.Idle <= 0 || time.Since(h.Updated) >= f.Idle)
	if !ok {
		return Summary{}, false
	}
	return h.Summary, true
}
