package eventsource

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// Checkpoints are small named records with compare-and-set. Every store of
// this module has them; projections keep their progress there, deciders their
// snapshots. Its methods are safe for concurrent use.
//
// Checkpoints that one process at a time has open may have one more method,
//
//	Incarnation() (name string, of Checkpoints)
//
// by which they promise: whoever called Run on them under another name was in a process
// that is dead, and does nothing any more. A [Projection] takes such a member's partitions
// at once, where it waits for the Lease of all others. The name must not change between
// two openings unless no Run of the first can still be in an Apply, so an opening
// after an orderly close keeps it. "" promises nothing.
//
// of is what the promise is made for, the receiver itself: it counts if it is the very
// value that Run was given, so that a type which embeds such Checkpoints makes no promise
// that its author does not know of.
type Checkpoints interface {
	// LoadCheckpoint returns the record, the zero Checkpoint when absent. The
	// name "track/<source>" gives what [Track] recorded for the source.
	LoadCheckpoint(ctx context.Context, name string) (Checkpoint, error)

	// SaveCheckpoint runs apply, which may be nil, and then replaces old by new
	// if Position and Epoch of the record still are old's, else it returns
	// ErrFenced. apply's error comes back as it is and nothing is replaced. On a
	// store with transactions both are one: apply is undone when fenced.
	//
	// A zero old says that the record must be absent, a zero new deletes it.
	// Names that begin with "track/" are refused with ErrInvalid.
	SaveCheckpoint(ctx context.Context, name string, old, new Checkpoint, apply func(context.Context) error) error
}

// Checkpoint is one record. The zero value stands for none.
type Checkpoint struct {
	Position Position // how far its owner has come
	Epoch    uint64   // grows with every owner: the fence against former ones
	Data     []byte   // the owner's: state of a group, a snapshot
}

func (c Checkpoint) isZero() bool { return c.Position == 0 && c.Epoch == 0 && len(c.Data) == 0 }

// records are the checkpoints of a Memory. The zero records are ready.
type records struct {
	saved signal // a record has changed

	mu     sync.Mutex
	byName map[string]Checkpoint
}

// LoadCheckpoint implements [Checkpoints].
func (m *Memory) LoadCheckpoint(ctx context.Context, name string) (Checkpoint, error) {
	if ctx.Err() != nil {
		return Checkpoint{}, context.Cause(ctx)
	}
	c, _ := m.records.load(name)
	c.Data = bytes.Clone(c.Data)
	return c, nil
}

// SaveCheckpoint implements [Checkpoints]. It has no transactions: what apply
// did stays done when the checkpoint is fenced.
func (m *Memory) SaveCheckpoint(ctx context.Context, name string, old, new Checkpoint, apply func(context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := new.Validate(name); err != nil {
		return err
	}
	if apply != nil {
		if err := apply(ctx); err != nil {
			return err
		}
	}
	if err := m.records.replace(name, old, new); err != nil {
		return err
	}
	m.records.saved.raise()
	return nil
}

// savedNext lets WaitFor sleep until a record has changed.
func (m *Memory) savedNext() <-chan struct{} { return m.records.saved.next() }

func (r *records) load(name string) (c Checkpoint, present bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, present = r.byName[name]
	return c, present
}

func (r *records) replace(name string, old, new Checkpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, present := r.byName[name]
	if present == old.isZero() || c.Position != old.Position || c.Epoch != old.Epoch {
		return fmt.Errorf("%w: checkpoint %q is at position %d, epoch %d", ErrFenced, name, c.Position, c.Epoch)
	}
	if new.isZero() {
		delete(r.byName, name)
		return nil
	}
	new.Data = bytes.Clone(new.Data)
	r.set(name, new)
	return nil
}

func (r *records) set(name string, c Checkpoint) {
	if r.byName == nil {
		r.byName = make(map[string]Checkpoint)
	}
	r.byName[name] = c
}

func (r *records) tracked(source string) Position {
	c, _ := r.load(trackPrefix + source)
	return c.Position
}

func (r *records) track(source string, p Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(trackPrefix+source, Checkpoint{Position: p})
}

// trackPrefix is that of the records that Track writes.
const trackPrefix = "track/"
