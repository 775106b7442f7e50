package wire

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// Model is a read model in memory: the fold of a log that keeps up with it. It
// is folded anew at every start, for which its checkpoints are kept in memory as
// well, and the node is not ready before it has seen all that was there.
//
// State belongs to the model's goroutine, which changes it in place, and to whoever
// is inside View.
type Model[E any, S Folded] struct {
	projection eventsource.Projection
	places     *eventsource.Memory // checkpoints alone
	store      Events
	codec      *eventsource.Codec[E]
	fresh      func() S // the state before the first event
	evolve     func(S, eventsource.Recorded, E) S
	live       atomic.Bool // past what was there at the start

	mu    sync.RWMutex
	state S
	at    eventsource.Position // of the last event in state
	head  eventsource.Position // the end of the log when somebody looked, and the model was behind it
	since time.Time            // when that was
}

// Lag is how far a read model is behind its log.
type Lag struct {
	Behind uint64  `json:"behind"` // positions
	Ms     float64 `json:"ms"`     // since somebody saw events that it has not seen yet
}

// NewModel makes a read model of everything in store. Fresh is the state before the
// first event, and evolve folds one event into the state.
func NewModel[E any, S Folded](n *Node, name string, store Events, codec *eventsource.Codec[E], fresh func() S, evolve func(S, eventsource.Recorded, E) S) *Model[E, S] {
	m := &Model[E, S]{
		places: eventsource.NewMemory(), store: store, codec: codec, fresh: fresh, evolve: evolve, state: fresh(),
	}
	m.projection = eventsource.Projection{
		Name: name, Query: eventsource.All(),
		Lease: time.Hour, // nobody else folds this model, so nobody waits for a sign of life
		Apply: func(_ context.Context, b eventsource.Batch) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, r := range b.Events {
				if r.Position <= m.at { // at least once: here after a save that failed
					continue
				}
				e, err := codec.Decode(r)
				if err != nil {
					return err
				}
				m.state, m.at = evolve(m.state, r, e), r.Position
				if m.live.Load() { // history is no news
					n.Tell("event", Line(r))
				}
			}
			return nil
		},
	}
	ready := n.Await(name)
	n.Go(name, func(ctx context.Context) error { return m.projection.Run(ctx, store, m.places) })
	n.Go(name+" catches up", func(ctx context.Context) error {
		head, err := store.Head(ctx)
		if err == nil && head > 0 {
			err = m.WaitFor(ctx, head)
		}
		if err != nil {
			return err
		}
		m.live.Store(true)
		ready()
		<-ctx.Done()
		return ctx.Err()
	})
	n.Section("lag", func() any {
		lag := m.lag()
		if lag.Behind > 0 {
			n.Stir()
		}
		return Entry{name, lag}
	})
	n.Section("projections", func() any { return Entry{name, m.place()} })
	n.models = append(n.models, rebuildable{name, m.Rebuild})
	return m
}

// View calls look with the state and the position up to which it is folded. What
// look takes out of the state must be a copy.
func (m *Model[E, S]) View(look func(S, eventsource.Position)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	look(m.state, m.at)
}

// WaitFor returns once the model has seen the event at pos, or the end of ctx: read
// your own write.
func (m *Model[E, S]) WaitFor(ctx context.Context, pos eventsource.Position) error {
	return m.projection.WaitFor(ctx, m.places, pos)
}

// place is the position up to which the state is folded, as text.
func (m *Model[E, S]) place() string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return strconv.FormatUint(uint64(m.at), 10)
}

// lag counts from when events were first seen that the model has not, which is at most
// the time between two looks after they came. From when it last had all, a log at rest
// would lend its quiet time to the next event, in the moment before that is folded.
func (m *Model[E, S]) lag() Lag {
	head, err := m.store.Head(context.Background()) // memory or an index: no I/O
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil || head <= m.at {
		m.head = 0
		return Lag{}
	}
	if m.head <= m.at { // what was there at the last look has been folded; this is news
		m.head, m.since = head, time.Now()
	}
	return Lag{Behind: uint64(head - m.at), Ms: millis(time.Since(m.since))}
}

// Encode returns domain events as they are appended to a stream.
func Encode[E any](codec *eventsource.Codec[E], stream string, events ...E) ([]eventsource.Event, error) {
	out := make([]eventsource.Event, len(events))
	for i, e := range events {
		event, err := codec.Encode(e)
		if err != nil {
			return nil, err
		}
		event.Stream = stream
		out[i] = event
	}
	return out, nil
}
