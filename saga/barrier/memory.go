package barrier

import (
	"context"
	"sync"
	"time"
)

// memory is a backend without a database.
type memory struct {
	keep time.Duration

	mu    sync.Mutex
	rows  map[row]*trace
	busy  map[row]chan struct{} // steps with a call in hand; closed when it is done
	order []aged                // rows by age, the oldest first
}

type trace struct {
	mark string
	data []byte
	at   time.Time
}

type aged struct {
	row
	at time.Time
}

func newMemory(keep time.Duration) *memory {
	return &memory{keep: keep, rows: map[row]*trace{}, busy: map[row]chan struct{}{}}
}

func (m *memory) lock(ctx context.Context, r row) (unlock func(), err error) {
	r.undo = false
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		m.mu.Lock()
		other := m.busy[r]
		if other == nil {
			m.forget()
			done := make(chan struct{})
			m.busy[r] = done
			m.mu.Unlock()
			return func() {
				m.mu.Lock()
				delete(m.busy, r)
				m.mu.Unlock()
				close(done)
			}, nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
	}
}

// forget drops what is older than keep, up to the first that is in hand.
func (m *memory) forget() {
	n := 0
	for ; n < len(m.order) && time.Since(m.order[n].at) > m.keep; n++ {
		old := m.order[n]
		step := old.row
		step.undo = false
		if m.busy[step] != nil {
			break
		}
		if t := m.rows[old.row]; t != nil && t.at.Equal(old.at) {
			delete(m.rows, old.row)
		}
	}
	m.order = m.order[n:]
}

func (m *memory) insert(_ context.Context, r row) (added bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[r] != nil {
		return false, nil
	}
	t := &trace{at: time.Now()}
	m.rows[r] = t
	if m.keep > 0 {
		m.order = append(m.order, aged{r, t.at})
	}
	return true, nil
}

func (m *memory) answer(_ context.Context, r row) (mark string, data []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.rows[r]
	return t.mark, t.data, nil // the step is locked, and insert has seen it
}

func (m *memory) finish(_ context.Context, r row, mark string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.rows[r]
	t.mark, t.data = mark, data
	return nil
}

func (m *memory) remove(_ context.Context, r row) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, r)
	return nil
}
