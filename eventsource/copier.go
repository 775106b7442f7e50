package eventsource

import (
	"encoding/binary"

	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// copier makes Recorded of records, a batch at a time: all are added, then
// allocate makes memory for them, then each is taken, in the same order. The texts
// of a batch share one string, their data one array, their tags another; names are
// shared with the store, as strings do not change.
//
// Why not a slice of Recorded: it is a third of all that a read would allocate, and
// full of pointers for the garbage collector to follow.
type copier struct {
	m *Memory

	texts      []byte // of those added; used again for each batch
	data, tags int    // of those added, how much

	batch struct {
		texts string
		data  []byte
		tags  []string
	}
	taken struct{ text, data, tags int } // of the batch; numbers, as pointers would cost write barriers
}

func (c *copier) add(pos uint32, r record) {
	c.tags += r.tags()
	kind, stored, rest := r.id()
	switch kind {
	case idMade:
		c.texts = c.m.ids.made(pos, r).Append(c.texts)
	case idUUID:
		c.texts = id.UUID(stored).Append(c.texts)
	default:
		c.texts = append(c.texts, stored...)
	}
	pairs, w := binary.Uvarint(rest)
	rest = rest[w:]
	for range 2 * pairs {
		var text []byte
		text, rest = cut(rest)
		c.texts = append(c.texts, text...)
	}
	data, _ := binary.Uvarint(rest)
	c.data += int(data)
}

func (c *copier) allocate() {
	c.batch.texts, c.batch.data, c.batch.tags = string(c.texts), make([]byte, c.data), make([]string, c.tags)
	c.texts, c.data, c.tags = c.texts[:0], 0, 0
	c.taken.text, c.taken.data, c.taken.tags = 0, 0, 0
}

func (c *copier) take(pos uint32) (to Recorded) {
	r := c.m.slabs.at(pos)
	to.Position, to.Version, to.Time = Position(pos), r.version(), r.time()
	to.Stream, to.Type = c.m.index.Streams.Text(r.stream()), c.m.index.Types.Text(r.typ())
	to.Schema = r.schema()
	if n := r.tags(); n > 0 {
		to.Tags = c.batch.tags[c.taken.tags:][:n:n]
		c.taken.tags += n
		for i := range n {
			to.Tags[i] = c.m.index.Tags.Text(r.tag(i))
		}
	}
	kind, stored, rest := r.id()
	if kind == idText {
		to.ID = c.takeText(len(stored))
	} else {
		to.ID = c.takeText(id.TextLen)
	}
	pairs, w := binary.Uvarint(rest)
	if rest = rest[w:]; pairs > 0 {
		to.Meta = make(map[string]string, pairs)
	}
	for range pairs {
		var k, v []byte
		k, rest = cut(rest)
		v, rest = cut(rest)
		key := c.takeText(len(k))
		to.Meta[key] = c.takeText(len(v))
	}
	if data, _ := cut(rest); len(data) > 0 {
		to.Data = c.batch.data[c.taken.data:][:len(data):len(data)]
		c.taken.data += copy(to.Data, data)
	}
	return to
}

func (c *copier) takeText(n int) string {
	at := c.taken.text
	c.taken.text += n
	return c.batch.texts[at:c.taken.text]
}
