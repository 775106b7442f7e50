package eventsource

import "fmt"

// Assign and Partition show what the group rests on.
var (
	Assign    = assign
	Partition = partition
)

// Ring is the ring of a Run, for its reference model.
type Ring struct{ ring }

// NewRing begins after a position.
func NewRing(at Position) *Ring { return &Ring{ring{low: at, high: at}} }

// Push adds an event of a partition, and says that all up to high are there.
func (r *Ring) Push(e Recorded, part int) {
	r.push(ringed{e, part, false})
	r.high = e.Position
}

// Collect takes events of a partition.
func (r *Ring) Collect(part int, after, bound Position, limit int) (Batch, bool) {
	return r.collect(part, after, bound, limit)
}

// Size is the number of events and of bytes of Data.
func (r *Ring) Size() (events, bytes int) { return r.n, r.bytes }

// Check finds a broken invariant.
func (r *Ring) Check() error {
	bytes := 0
	for i := range r.n {
		e := r.at(i)
		bytes += len(e.Data)
		if e.Position <= r.low || e.Position > r.high || i > 0 && r.at(i-1).Position >= e.Position {
			return fmt.Errorf("slot %d has position %d, ring (%d, %d]", i, e.Position, r.low, r.high)
		}
	}
	if bytes != r.bytes {
		return fmt.Errorf("%d bytes counted, %d there", r.bytes, bytes)
	}
	return nil
}
