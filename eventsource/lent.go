package eventsource

import "encoding/binary"

// lent is an event of a Memory in the store's own bytes: for a look at one after
// the other, without copies. It has what a Codec needs and what place prints;
// ID, Tags and Meta are empty. Data must not be changed.
type lent struct{ Recorded }

// next takes the next event of a read.
func (l *lent) next(r *reader) bool {
	for r.left > 0 {
		pos, ok := r.cursor.Next()
		if !ok {
			return false
		}
		rec := r.m.slabs.at(pos)
		if !r.selects(rec) {
			continue
		}
		r.left--
		l.Position, l.Version, l.Schema, l.Data = Position(pos), rec.version(), rec.schema(), rec.data()
		l.Stream, l.Type = r.m.index.Streams.Text(rec.stream()), r.m.index.Types.Text(rec.typ())
		return true
	}
	return false
}

// data returns Data in the store's own bytes.
func (r record) data() []byte {
	_, _, rest := r.id()
	pairs, w := binary.Uvarint(rest)
	rest = rest[w:]
	for range 2 * pairs {
		_, rest = cut(rest)
	}
	data, _ := cut(rest)
	return data
}

// recorded returns a copy of the event at pos, the zero Recorded for 0.
func (m *Memory) recorded(pos Position) (r Recorded) {
	if pos > 0 {
		c := copier{m: m}
		c.add(m.slabs.at(uint32(pos)))
		c.allocate()
		r = c.take(uint32(pos))
	}
	return r
}
