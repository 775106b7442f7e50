package eventsource

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A seat is one Run's place in its group.
type seat struct {
	p      *Projection
	store  Store
	cps    Checkpoints
	id     string
	era    string // what the ids of all members begin with that can be alive; "" is unknown
	heard  map[string]heard
	beat   uint64
	beaten time.Time // when the last beat that arrived was sent
	replay Position
}

// heard is when the beat of another member was last seen to change, on the
// clock of this process: no wall time crosses hosts.
type heard struct {
	beat uint64
	at   time.Time
}

// sit makes one move, and returns the state after it and what it aims at. When
// another member is faster it looks again.
func (s *seat) sit(ctx context.Context, running func(i int) bool, leaving bool) (groupState, []string, error) {
	for {
		record, state, err := s.load(ctx)
		if err != nil {
			return state, nil, err
		}
		now := time.Now()
		next, aim := state.next(move{me: s.id, silent: s.silent(now), running: running, beat: s.beat + 1, leaving: leaving})
		if now.Sub(s.beaten) < s.p.Lease/3 && same(state, next) {
			return next, aim, nil
		}
		s.beat++
		data, err := json.Marshal(next)
		if err != nil {
			return state, nil, err
		}
		err = s.cps.SaveCheckpoint(ctx, s.p.groupName(), record, Checkpoint{Position: s.replay, Epoch: record.Epoch + 1, Data: data}, nil)
		if errors.Is(err, ErrFenced) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			s.beaten = now
			maps.DeleteFunc(s.heard, func(id string, _ heard) bool { return !slices.Contains(next.ids(), id) })
		}
		return next, aim, err
	}
}

// load returns the record, or what the first Run of this Version writes.
func (s *seat) load(ctx context.Context) (Checkpoint, groupState, error) {
	record, err := s.cps.LoadCheckpoint(ctx, s.p.groupName())
	if err != nil {
		return record, groupState{}, err
	}
	if record.Epoch == 0 {
		s.replay, err = s.store.Head(ctx)
		return record, groupState{Partitions: s.p.Partitions, Owners: make([]string, s.p.Partitions)}, err
	}
	s.replay = record.Position
	state, err := decodeGroup(record, s.p.Partitions)
	return record, state, err
}

// eraOf is what the ids of all members begin with that can be alive, if cps knows that;
// see Checkpoints. What speaks for other Checkpoints than cps is not believed.
func eraOf(cps Checkpoints) string {
	alone, ok := cps.(interface{ Incarnation() (string, Checkpoints) })
	if !ok || !reflect.ValueOf(cps).Comparable() {
		return ""
	}
	name, of := alone.Incarnation()
	if of != cps || name == "" {
		return ""
	}
	return name + "-"
}

// silent judges the members of a state that was read now.
func (s *seat) silent(now time.Time) func(member) bool {
	return func(m member) bool {
		if !strings.HasPrefix(m.ID, s.era) {
			return true
		}
		h, known := s.heard[m.ID]
		if !known || h.beat != m.Beat {
			h = heard{beat: m.Beat, at: now}
			s.heard[m.ID] = h
		}
		return now.Sub(h.at) > s.p.Lease
	}
}

// same leaves the beat out.
func same(a, b groupState) bool {
	return slices.Equal(a.ids(), b.ids()) && slices.Equal(a.Owners, b.Owners)
}
