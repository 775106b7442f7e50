package barrier

import (
	"context"
	"sync"
	"time"
)

// NewMemory returns a guard without a database, for participants whose effects are
// in the process, too. It is safe for concurrent use. It forgets calls that are
// older than keep, which should be longer than any message can be late. Zero means
// never.
func NewMemory(keep time.Duration) *Guard {
	return &Guard{rows: &memory{keep: keep, calls: map[key]*memoryRow{}}}
}

type memory struct {
	keep time.Duration

	mu    sync.Mutex
	calls map[key]*memoryRow
	order []aged // oldest first
}

type memoryRow struct {
	row
	settled chan struct{} // closed when the call has ended
	failed  bool
}

type aged struct {
	key key
	row *memoryRow
	at  time.Time
}

func (m *memory) enter(ctx context.Context, k key, late bool) (*row, error) {
	for {
		m.mu.Lock()
		m.forget()
		r := m.calls[k]
		if r == nil {
			r = &memoryRow{row: row{late: late && k.kind == kindDo}, settled: make(chan struct{})}
			if r.late { // an undo's mark: there is nothing to wait for
				close(r.settled)
			}
			m.calls[k] = r
			if m.keep > 0 {
				m.order = append(m.order, aged{k, r, time.Now()})
			}
			m.mu.Unlock()
			return nil, nil
		}
		m.mu.Unlock()
		select {
		case <-r.settled:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		m.mu.Lock()
		failed, found := r.failed, r.row
		m.mu.Unlock()
		if !failed {
			return &found, nil
		}
	}
}

func (m *memory) answer(_ context.Context, k key, answer []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.calls[k]; r != nil {
		r.row.answer = answer
		close(r.settled)
	}
	return nil
}

func (m *memory) leave(_ context.Context, k key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.calls[k]; r != nil {
		r.failed = true
		delete(m.calls, k)
		close(r.settled)
	}
	return nil
}

// forget drops what is too old. A call that still runs stays.
func (m *memory) forget() {
	if m.keep <= 0 {
		return
	}
	for len(m.order) > 0 && time.Since(m.order[0].at) > m.keep {
		old := m.order[0]
		select {
		case <-old.row.settled:
		default:
			return
		}
		if m.calls[old.key] == old.row {
			delete(m.calls, old.key)
		}
		m.order[0] = aged{}
		m.order = m.order[1:]
	}
}
