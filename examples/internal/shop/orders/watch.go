package orders

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga"
)

// present is how the sagas of this service stand: what has become of those that have
// ended, and how many there are of the others. The coordinator counts what it has
// done itself; how many wait in the store, only the store knows.
type present struct {
	saga.Stats
	Running      int     `json:"running"`
	Waiting      int     `json:"waiting"`
	Compensating int     `json:"compensating"`
	Stuck        int     `json:"stuck"`
	OldestMs     float64 `json:"oldestMs"` // since the start of the oldest that is neither ended nor stuck
}

// unfinished are the states that need somebody.
var unfinished = []saga.State{saga.Running, saga.Waiting, saga.Compensating, saga.Stuck}

// stand looks into the store; figures that cannot be read are left out of the
// service's statistics, where they show as missing.
func (s *Service) stand() any {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	p := present{Stats: s.coordinator.Stats()}
	for sum, err := range s.coordinator.List(ctx, saga.Filter{States: unfinished}) {
		if err != nil {
			return nil
		}
		switch sum.State {
		case saga.Running:
			p.Running++
		case saga.Waiting:
			p.Waiting++
		case saga.Compensating:
			p.Compensating++
		case saga.Stuck:
			p.Stuck++
			continue // how old it is, is not its fault any more
		}
		s.node.Stir() // it ages
		p.OldestMs = max(p.OldestMs, float64(time.Since(sum.Started))/float64(time.Millisecond))
	}
	return p
}

// watch adds what an operator may see and decide.
func (s *Service) watch(n *wire.Node, mux *http.ServeMux) {
	mux.Handle("GET /_control/sagas", n.ForControl(s.listSagas))
	mux.Handle("GET /_control/sagas/{id}", n.ForControl(s.sagaHistory))
	mux.Handle("POST /_control/sagas/{id}/resolve", n.ForControl(s.resolve))
}

// listSagas answers with those in the given states, the unfinished ones by default.
func (s *Service) listSagas(w http.ResponseWriter, r *http.Request) error {
	limit, err := wire.Number(r, "limit", 50)
	if err != nil {
		return err
	}
	filter := saga.Filter{States: unfinished, Limit: limit}
	if text := r.URL.Query().Get("states"); text != "" {
		filter.States = nil
		for word := range strings.SplitSeq(text, ",") {
			var state saga.State
			if err := state.UnmarshalText([]byte(word)); err != nil {
				return wire.Invalid(err.Error(), "states")
			}
			filter.States = append(filter.States, state)
		}
	}
	found := []listed{}
	for sum, err := range s.coordinator.List(r.Context(), filter) {
		if err != nil {
			return err
		}
		found = append(found, listed{Summary: sum})
	}
	for i := range found {
		if found[i].State == saga.Stuck {
			found[i].Why = s.lastError(r.Context(), found[i].ID)
		}
	}
	return wire.WriteJSON(w, http.StatusOK, found)
}

// listed is a saga with what holds it up. Its Cause is why it is being undone; why the
// undo does not work is another question.
type listed struct {
	saga.Summary
	Why string `json:"why,omitempty"`
}

// lastError is what went wrong last in a saga, in words; "" if that cannot be read.
func (s *Service) lastError(ctx context.Context, id string) (text string) {
	for rec, err := range s.coordinator.History(ctx, id) {
		if err != nil {
			return text
		}
		if rec.Error != "" {
			text = rec.Step + ": " + rec.Error
		}
	}
	return text
}

func (s *Service) sagaHistory(w http.ResponseWriter, r *http.Request) error {
	records := []saga.Record{}
	for rec, err := range s.coordinator.History(r.Context(), r.PathValue("id")) {
		if err != nil {
			return wire.NewProblem(http.StatusNotFound, "no-saga", err.Error())
		}
		records = append(records, rec)
	}
	return wire.WriteJSON(w, http.StatusOK, records)
}

// resolve records what somebody has decided about a saga that is stuck.
func (s *Service) resolve(w http.ResponseWriter, r *http.Request) error {
	body, err := wire.ReadBody(w, r)
	if err != nil {
		return err
	}
	var decision saga.Resolution
	if err := json.Unmarshal(body, &decision); err != nil {
		return wire.NewProblem(http.StatusBadRequest, "malformed", err.Error())
	}
	if err := s.coordinator.Resolve(r.Context(), r.PathValue("id"), decision); err != nil {
		return wire.Invalid(err.Error())
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]string{"saga": r.PathValue("id"), "action": decision.Action})
}
