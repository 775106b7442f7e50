package eventsource

import (
	"encoding/binary"
	"strings"

	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// copier makes Recorded of records, a batch at a time: all are added, then
// allocate makes memory for them, then each is taken, in the same order. The texts
// of a batch share one string, their data one array, their tags another; names are
// shared with the store, as strings do not change.
//
// Why not a slice of Recorded: it is a third of all that a read would allocate, and
// full of pointers for the garbage collector to follow.
// Why texts are counted first and not gathered in a buffer that grows: with a Meta
// of 2 KB that takes up to four times the memory and the time.
type copier struct {
	m *Memory

	need struct{ text, data, tags int } // of those added

	texts strings.Builder // never grows beyond what allocate asked for
	batch struct {
		data []byte
		tags []string
	}
	taken struct{ data, tags int } // of the batch; numbers, as pointers would cost write barriers
}

func (c *copier) add(r record) {
	c.need.tags += r.tags()
	kind, stored, rest := r.id()
	if c.need.text += len(stored); kind != idText {
		c.need.text += id.TextLen - len(stored)
	}
	pairs, w := binary.Uvarint(rest)
	rest = rest[w:]
	for range 2 * pairs {
		var text []byte
		text, rest = cut(rest)
		c.need.text += len(text)
	}
	data, _ := binary.Uvarint(rest)
	c.need.data += int(data)
}

func (c *copier) allocate() {
	c.texts.Reset() // those who have its strings keep them
	c.texts.Grow(c.need.text)
	c.batch.data, c.batch.tags = make([]byte, c.need.data), make([]string, c.need.tags)
	c.need.text, c.need.data, c.need.tags = 0, 0, 0
	c.taken.data, c.taken.tags = 0, 0
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
	switch kind {
	case idMade:
		to.ID = c.uuid(c.m.ids.made(pos, r))
	case idUUID:
		to.ID = c.uuid(id.UUID(stored))
	default:
		to.ID = c.text(stored)
	}
	pairs, w := binary.Uvarint(rest)
	if rest = rest[w:]; pairs > 0 {
		to.Meta = make(map[string]string, pairs)
	}
	for range pairs {
		var k, v []byte
		k, rest = cut(rest)
		v, rest = cut(rest)
		key := c.text(k)
		to.Meta[key] = c.text(v)
	}
	if data, _ := cut(rest); len(data) > 0 {
		to.Data = c.batch.data[c.taken.data:][:len(data):len(data)]
		c.taken.data += copy(to.Data, data)
	}
	return to
}

func (c *copier) uuid(u id.UUID) string {
	var text [id.TextLen]byte
	return c.text(u.Append(text[:0]))
}

func (c *copier) text(b []byte) string {
	at := c.texts.Len()
	c.texts.Write(b)
	return c.texts.String()[at:]
}
