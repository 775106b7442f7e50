package eventsource

import (
	"context"
	"iter"
	"sort"

	"github.com/keelson-go/keelson/eventsource/internal/index"
)

// Read implements [Store]. It makes memory for up to 256 events at a time, by three
// allocations, and two for each Meta, more if that is large.
func (m *Memory) Read(ctx context.Context, q Query, o ReadOptions) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		if err := readable(ctx, q, o); err != nil {
			yield(Recorded{}, err)
			return
		}
		r := m.reader(q, o)
		for r.next() {
			for _, pos := range r.found {
				if ctx.Err() != nil {
					yield(Recorded{}, context.Cause(ctx))
					return
				}
				if !yield(r.take(pos), nil) {
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

// reader finds the events of one read, a batch at a time, and copies them. It
// sees the store as of when it was made.
type reader struct {
	copier
	o      ReadOptions
	cursor *index.Cursor
	left   int      // of Limit
	size   int      // of the next batch
	found  []uint32 // of this batch
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
	r := &reader{copier: copier{m: m}, o: o, left: o.Limit, size: firstBatch, cursor: index.NewCursor(after, upTo, o.Backward)}
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

// next finds the next batch, and makes memory for the copies of it. It returns
// false at the end.
func (r *reader) next() bool {
	r.found = r.found[:0]
	for len(r.found) < min(r.size, r.left) {
		pos, ok := r.cursor.Next()
		if !ok {
			break
		}
		if rec := r.m.slabs.at(pos); r.selects(rec) {
			r.found = append(r.found, pos)
			r.add(rec)
		}
	}
	r.left -= len(r.found)
	r.size = batchSize
	r.allocate()
	return len(r.found) > 0
}

// selects checks the bounds that the cursor does not know.
func (r *reader) selects(rec record) bool {
	if r.o.AfterVersion == 0 && r.o.UpToVersion == 0 {
		return true
	}
	v := rec.version()
	return v > r.o.AfterVersion && (r.o.UpToVersion == 0 || v <= r.o.UpToVersion)
}
