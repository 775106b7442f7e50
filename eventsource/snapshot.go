package eventsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// A snapshot is the Data of checkpoint "snapshot/<Decider.Version>/<stream>",
// whose Position is that of the last event in it. It only saves reading: it
// counts if the stream still has that event at that version, so one from a
// store that was wiped, or of another type of state, is ignored and replaced.
type snapshot struct {
	Type    string          `json:"type"` // of S: two deciders may share a version
	Version uint64          `json:"version"`
	ID      string          `json:"id"` // of the event at Version
	State   json.RawMessage `json:"state"`
}

// A base is what a fold of a stream begins with.
type base[S any] struct {
	name    string
	stored  Checkpoint // what a new snapshot replaces
	version uint64     // 0: the fold begins with Initial
	id      string     // of the event at version
	unfit   bool       // stored is a snapshot that cannot be used
	err     error      // stored is not known
}

// begin sets state to that of the snapshot, if there is a usable one. A
// snapshot that cannot be loaded makes the fold longer and nothing else.
func (t *try[C, E, S]) begin(ctx context.Context) {
	t.state = t.d.initial()
	if t.d.SnapshotEvery == 0 {
		return
	}
	b := &t.base
	b.name = "snapshot/" + t.d.Version + "/" + t.in.Stream
	if b.stored, b.err = t.store.(Checkpoints).LoadCheckpoint(ctx, b.name); b.err != nil || b.stored.Epoch == 0 {
		return
	}
	var snap snapshot
	var state S
	if json.Unmarshal(b.stored.Data, &snap) != nil || snap.Type != typeName[S]() || snap.Version == 0 || snap.ID == "" ||
		json.Unmarshal(snap.State, &state) != nil {
		b.unfit = true
		return
	}
	t.state, t.version, t.last = state, snap.Version, b.stored.Position
	b.version, b.id = snap.Version, snap.ID
}

// foldStream folds the history of a Stream scope, from the snapshot or, if the
// stream does not hold the snapshot's last event, from the beginning.
func (t *try[C, E, S]) foldStream(ctx context.Context) (repeat bool, err error) {
	t.begin(ctx)
	if t.base.version > 0 {
		repeat, err = t.fold(ctx, Stream(t.in.Stream), ReadOptions{AfterVersion: t.base.version - 1})
		if err != nil || t.base.id == "" {
			return repeat, err
		}
		t.base.unfit, t.base.version = true, 0
		t.state, t.version, t.last = t.d.initial(), 0, 0
	}
	t.base.id = ""
	return t.fold(ctx, Stream(t.in.Stream), ReadOptions{})
}

// due tells whether an append of n events calls for a snapshot.
func (t *try[C, E, S]) due(n int) bool {
	if t.d.SnapshotEvery == 0 || len(t.in.Within) > 0 || n == 0 {
		return false
	}
	return t.base.unfit || t.version+uint64(n)-t.base.version >= uint64(t.d.SnapshotEvery)
}

// sign gives the last event an id that the snapshot can name. The store's own
// ids are cheaper, but an append does not tell them.
func (t *try[C, E, S]) sign(events []Event) {
	if last := len(events) - 1; t.due(len(events)) && events[last].ID == "" {
		events[last].ID = id.New().String()
	}
}

func (t *try[C, E, S]) snapshot(ctx context.Context, r Result, events []Event, state S) error {
	if !t.due(len(events)) {
		return nil
	}
	if t.base.err != nil {
		return fmt.Errorf("eventsource: load snapshot: %w", t.base.err)
	}
	data, err := encodeState(state)
	if err == nil {
		data, err = json.Marshal(snapshot{typeName[S](), r.Version, events[len(events)-1].ID, data})
	}
	if err != nil {
		return fmt.Errorf("eventsource: snapshot of %q: %w", t.in.Stream, err)
	}
	next := Checkpoint{Position: r.Last, Epoch: t.base.stored.Epoch + 1, Data: data}
	err = t.store.(Checkpoints).SaveCheckpoint(ctx, t.base.name, t.base.stored, next, nil)
	if err == nil || errors.Is(err, ErrFenced) { // fenced: somebody else has just written one
		return nil
	}
	return fmt.Errorf("eventsource: save snapshot of %q: %w", t.in.Stream, err)
}

// encodeState refuses what JSON would not bring back as it was, such as a
// struct with unexported fields: the next command would decide on less.
func encodeState[S any](state S) ([]byte, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	var back S
	if err := json.Unmarshal(data, &back); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(state, back) {
		return nil, fmt.Errorf("%w: %T does not survive JSON: it has unexported fields, or needs a MarshalJSON", ErrInvalid, state)
	}
	return data, nil
}

func typeName[S any]() string { return reflect.TypeFor[S]().String() }
