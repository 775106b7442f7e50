package eventsource

import "context"

// Checkpoints are small named records with compare-and-set. Every store of
// this module has them; projections keep their progress there, deciders their
// snapshots. Its methods are safe for concurrent use.
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
