// Package index finds events by stream, type and tag, for stores that number
// their events 1, 2, 3 ... in 32 bits.
//
//	table.go   a hash table from hashes to numbers
//	names.go   strings to numbers, each number with its list of positions
//	list.go    one list of positions
//	cursor.go  which positions match a query, forwards or backwards
//
// All of it has one writer at a time, which its owner's mutex sees to, and any
// number of readers, which take no lock. A reader first loads the position up
// to which its owner has published, and then looks: what it finds is complete
// up to there, and may hold more, which the bounds of a Cursor cut off.
package index

// Item is eventsource.Item without its name, to which it is assignable.
type Item = struct{ Streams, Types, IDs, Tags []string }

// Index holds the positions of events by name. Use New.
type Index struct{ Streams, Types, Tags Names }

// New returns an empty index. hashMask is ANDed with every hash: ^0, except in
// a test that wants collisions.
func New(hashMask uint64) *Index {
	x := &Index{}
	x.Streams.init(hashMask)
	x.Types.init(hashMask)
	x.Tags.init(hashMask)
	return x
}

// Version returns the version of the last event of a stream, for which the
// owner has added each event once: the length of its list. It is the writer's.
func (x *Index) Version(stream string) uint64 {
	if number := x.Streams.Known(stream); number != 0 {
		return uint64(x.Streams.List(number).Len())
	}
	return 0
}

// Versions narrows the bounds of a read of one stream to those of its versions,
// where 0 is no bound: a version is a place in the stream's list, so that the
// end of a long stream costs no more than a short one.
func (x *Index) Versions(stream string, afterVersion, upToVersion uint64, after, upTo uint32) (low, high uint32) {
	l := x.Streams.Find(stream)
	if l == nil || stream == "" {
		return after, upTo
	}
	positions := l.Positions()
	n := uint64(len(positions))
	switch {
	case afterVersion > n:
		after = upTo
	case afterVersion > 0:
		after = max(after, positions[afterVersion-1])
	}
	if upToVersion > 0 && upToVersion <= n {
		upTo = min(upTo, positions[upToVersion-1])
	}
	return after, upTo
}

// Newest returns the highest position that matches it, above after and up to
// last, or 0. It is what a condition asks, on the writer's side. It looks at
// the names first, so that a tag without a new event costs one lookup. Ids are
// not looked at.
func (x *Index) Newest(it Item, after, last uint32) uint32 {
	for _, tag := range it.Tags {
		if !newer(&x.Tags, tag, after) {
			return 0
		}
	}
	if !anyNewer(&x.Streams, it.Streams, after) || !anyNewer(&x.Types, it.Types, after) {
		return 0
	}
	c := Cursor{after: after, upTo: last, back: true}
	it.IDs = nil
	c.Add(x, it, nil)
	pos, _ := c.Next()
	return pos
}

// newer asks as the writer does: the append that follows mostly has the name.
func newer(n *Names, name string, after uint32) bool {
	number := n.Known(name)
	return number != 0 && n.List(number).newest() > after
}

func anyNewer(n *Names, names []string, after uint32) bool {
	for _, name := range names {
		if newer(n, name, after) {
			return true
		}
	}
	return len(names) == 0
}
