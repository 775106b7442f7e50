package eventsource

import (
	"context"
	"iter"
	"sort"

	"github.com/keelson-go/keelson/eventsource/internal/index"
)

// Read implements [Store]. It copies up to 256 events at a time, for three
// allocations and one for each Meta.
func (m *Memory) Read(ctx context.Context, q Query, o ReadOptions) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		if err := readable(ctx, q, o); err != nil {
			yield(Recorded{}, err)
			return
		}
		r := m.reader(q, o)
		for batch := r.next(); len(batch) > 0; batch = r.next() {
			for i := range batch {
				if ctx.Err() != nil {
					yield(Recorded{}, context.Cause(ctx))
					return
				}
				if !yield(batch[i], nil) {
					return
				}
			}
		}
	}
}

func readable(ctx context.Context, q Query, o ReadOptions) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return firstOf(q.Validate(), o.Validate())
}

// reader yields batches of one read. It sees the store as of when it was made.
type reader struct {
	m      *Memory
	o      ReadOptions
	cursor *index.Cursor
	left   int // of Limit
	size   int // of the next batch
	found  []uint32
}

const (
	firstBatch = 16 // many a read wants a few
	batchSize  = 256
)

func (m *Memory) reader(q Query, o ReadOptions) *reader {
	head := m.head.Load()
	after, upTo := uint32(min(o.After, Position(head))), head
	if o.UpTo > 0 {
		upTo = uint32(min(Position(upTo), o.UpTo))
	}
	if !o.AsOf.IsZero() {
		upTo = min(upTo, m.asOf(o.AsOf.UnixMicro(), head))
	}
	if len(q) == 1 && len(q[0].Streams) == 1 {
		after, upTo = m.index.Versions(q[0].Streams[0], o.AfterVersion, o.UpToVersion, after, upTo)
	}
	r := &reader{m: m, o: o, left: o.Limit, size: firstBatch, cursor: index.NewCursor(after, upTo, o.Backward)}
	if o.Limit == 0 {
		r.left = int(head)
	}
	byID := func(id string) (uint32, bool) { return m.ids.find(&m.slabs, id, head) }
	for _, it := range q {
		r.cursor.Add(m.index, it, byID)
	}
	return r
}

// asOf returns the last position at a time, found by halving since time does
// not decrease.
func (m *Memory) asOf(micros int64, head uint32) uint32 {
	return uint32(sort.Search(int(head), func(i int) bool { return m.slabs.at(uint32(i)+1).micros() > micros }))
}

// next returns the next batch, empty at the end. First it finds the events and
// how much memory their copies need, then it copies them.
func (r *reader) next() []Recorded {
	r.found = r.found[:0]
	var need sizes
	for len(r.found) < min(r.size, r.left) {
		pos, ok := r.cursor.Next()
		if !ok {
			break
		}
		if rec := r.m.slabs.at(pos); r.selects(rec) {
			r.found = append(r.found, pos)
			need.add(rec)
		}
	}
	r.left -= len(r.found)
	r.size = batchSize
	c := newCopier(r.m, need)
	batch := make([]Recorded, len(r.found))
	for i, pos := range r.found {
		c.copy(pos, &batch[i])
	}
	return batch
}

// selects checks the bounds that the cursor does not know.
func (r *reader) selects(rec record) bool {
	if r.o.AfterVersion == 0 && r.o.UpToVersion == 0 {
		return true
	}
	v := rec.version()
	return v > r.o.AfterVersion && (r.o.UpToVersion == 0 || v <= r.o.UpToVersion)
}
