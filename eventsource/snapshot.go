package eventsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
//
// The snapshot of a Within is named by a hash of the query. It ends at or below
// Head, before the events of the command that writes it: above Head a slower
// transaction may still commit what the snapshot would then lack for ever.
type snapshot struct {
	Type    string          `json:"type"`    // of S: two deciders may share a version
	Version uint64          `json:"version"` // of the event ID; in a Within how many events led to State
	ID      string          `json:"id"`
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

// snapshotName is the checkpoint of the history's snapshots.
func (t *try[C, E, S]) snapshotName() string {
	name := t.in.Stream
	if len(t.in.Within) > 0 {
		query, err := json.Marshal(t.in.Within)
		if err != nil {
			panic("eventsource: " + err.Error()) // a Query is slices of strings
		}
		sum := sha256.Sum256(query)
		name = "/" + hex.EncodeToString(sum[:])
	}
	return "snapshot/" + t.d.Version + "/" + name
}

// begin sets state to that of the snapshot, if there is a usable one. A
// snapshot that cannot be loaded makes the fold longer and nothing else.
func (t *try[C, E, S]) begin(ctx context.Context) {
	t.state = t.d.initial()
	if t.d.SnapshotEvery == 0 {
		return
	}
	b := &t.base
	b.name = t.snapshotName()
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
	t.state, t.last = state, b.stored.Position
	if len(t.in.Within) == 0 {
		t.version = snap.Version
	}
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

// foldWithin folds the history of a Within scope, up to a Head taken before: the
// last position read would be no substitute, since a slower transaction may commit
// below it.
func (t *try[C, E, S]) foldWithin(ctx context.Context) (repeat bool, err error) {
	t.state = t.d.initial()
	head, err := t.store.Head(ctx)
	t.own = NoneSince(t.in.Within, head)
	if err != nil || head == 0 { // UpTo 0 would be no bound
		return false, err
	}
	t.begin(ctx)
	if t.base.version > 0 && t.last > 0 && t.last <= head {
		repeat, err = t.fold(ctx, t.in.Within, ReadOptions{After: t.last - 1, UpTo: head})
		if err != nil || t.base.id == "" {
			return repeat, err
		}
	}
	if t.base.version > 0 {
		t.base.unfit, t.base.version, t.base.id = true, 0, ""
		t.state, t.version, t.last, t.folded = t.d.initial(), 0, 0, 0
	}
	return t.fold(ctx, t.in.Within, ReadOptions{UpTo: head})
}

// prepare encodes the snapshot of a Within, if one is due: now, as Evolve may change
// the state in place when the new events come.
func (t *try[C, E, S]) prepare() {
	every := t.d.SnapshotEvery
	if every == 0 || len(t.in.Within) == 0 || t.folded == 0 || t.folded < every && !t.base.unfit {
		return
	}
	data, err := encodeState(t.state)
	if err == nil {
		t.ready, err = json.Marshal(snapshot{typeName[S](), t.base.version + uint64(t.folded), t.lastID, data})
	}
	t.unready = err
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
	switch {
	case t.ready != nil || t.unready != nil:
		return t.save(ctx, t.last, t.ready, t.unready)
	case !t.due(len(events)):
		return nil
	}
	data, err := encodeState(state)
	if err == nil {
		data, err = json.Marshal(snapshot{typeName[S](), r.Version, events[len(events)-1].ID, data})
	}
	return t.save(ctx, r.Last, data, err)
}

// save replaces the snapshot by one that ends at last, unless err says that it
// could not be made.
func (t *try[C, E, S]) save(ctx context.Context, last Position, data []byte, err error) error {
	if t.base.err != nil {
		return fmt.Errorf("eventsource: load snapshot: %w", t.base.err)
	}
	if err != nil {
		return fmt.Errorf("eventsource: snapshot of %q: %w", t.in.Stream, err)
	}
	next := Checkpoint{Position: last, Epoch: t.base.stored.Epoch + 1, Data: data}
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
