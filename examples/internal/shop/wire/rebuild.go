package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// Folded is the state of a read model, which can be compared with the same state
// folded anew.
type Folded interface {
	// Folded returns all of the state, in a form whose JSON tells any two that differ
	// apart. It may share memory with the state: the model does not change meanwhile.
	Folded() any
}

// Rebuilt is what a rebuild has found. Replay and Live are digests of the state as it
// came out of the log, and as it was before.
type Rebuilt struct {
	Projection string               `json:"projection"`
	Events     int                  `json:"events"`
	Position   eventsource.Position `json:"position,string"` // of both
	Replay     string               `json:"replay"`
	Live       string               `json:"live"`
	Equal      bool                 `json:"equal"`
	Ms         float64              `json:"ms"`
}

// rebuildable is a model of the node, whatever its types are.
type rebuildable struct {
	name    string
	rebuild func(context.Context) (Rebuilt, error)
}

// Rebuild folds the log anew, from its first event, and puts the result in the place of
// the state: what a change of the folding code needs, or a state that somebody doubts.
// Readers have the old state until the new one has caught up with it, event by event.
//
// In a rebuilt model nothing happens twice: what an event has set off, such as a line
// on the page, it has set off when it was new.
func (m *Model[E, S]) Rebuild(ctx context.Context) (Rebuilt, error) {
	out := Rebuilt{Projection: m.projection.Name}
	began := time.Now()
	state := m.fresh()
	for {
		if live, ok := m.replace(state, &out); ok {
			replay := out.Replay
			out.Live = digest(live)
			out.Equal, out.Ms = replay == out.Live, millis(time.Since(began))
			return out, nil
		}
		// Not under the lock, as it reads: until then the model goes on, and the next
		// round has less to read.
		m.mu.RLock()
		target := m.at
		m.mu.RUnlock()
		for r, err := range m.store.Read(ctx, m.projection.Query, eventsource.ReadOptions{After: out.Position, UpTo: target}) {
			if err != nil {
				return out, err
			}
			e, err := m.codec.Decode(r)
			if err != nil {
				return out, err
			}
			state = m.evolve(state, r, e)
			out.Events++
		}
		out.Position = target
	}
}

// replace puts a new state in place of the old one, which it returns, if both are of
// the same position. The new one is digested under the lock, which holds up the model
// for as long as it takes to write it down: it changes from then on, whereas the old
// one never does again.
func (m *Model[E, S]) replace(state S, out *Rebuilt) (old S, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at != out.Position {
		return old, false
	}
	out.Replay = digest(state)
	old, m.state = m.state, state
	return old, true
}

// digest is short for all of a state.
func digest(state Folded) string {
	var all bytes.Buffer
	if err := json.NewEncoder(&all).Encode(state.Folded()); err != nil { // maps come sorted by key
		return "no digest: " + err.Error()
	}
	sum := sha256.Sum256(all.Bytes())
	return hex.EncodeToString(sum[:8])
}

// rebuild answers POST /_control/projections/{name}/rebuild.
func (n *Node) rebuild(w http.ResponseWriter, r *http.Request) error {
	var names []string
	for _, m := range n.models {
		if m.name == r.PathValue("name") {
			out, err := m.rebuild(r.Context())
			if err != nil {
				return err
			}
			return WriteJSON(w, http.StatusOK, out)
		}
		names = append(names, m.name)
	}
	return NewProblem(http.StatusNotFound, "no-projection", "no such projection; there are: "+strings.Join(names, ", "))
}
