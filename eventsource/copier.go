package eventsource

import (
	"encoding/binary"
	"strings"

	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// sizes add up what the copies of some records need.
type sizes struct{ text, data, tags int }

func (n *sizes) add(r record) {
	n.tags += r.tags()
	kind, stored, rest := r.id()
	if n.text += len(stored); kind != idText {
		n.text += uuidText - len(stored)
	}
	pairs, w := binary.Uvarint(rest)
	rest = rest[w:]
	for range 2 * pairs {
		var text []byte
		text, rest = cut(rest)
		n.text += len(text)
	}
	data, _ := binary.Uvarint(rest)
	n.data += int(data)
}

const uuidText = 36

// copier makes Recorded of records. The texts of all share one string, their
// data one array, their tags another; names are shared with the store, as
// strings do not change.
type copier struct {
	m    *Memory
	text strings.Builder // never grows beyond what newCopier asked for
	data []byte
	tags []string
}

func newCopier(m *Memory, need sizes) *copier {
	c := &copier{m: m, data: make([]byte, 0, need.data), tags: make([]string, 0, need.tags)}
	c.text.Grow(need.text)
	return c
}

func (c *copier) copy(pos uint32, to *Recorded) {
	r := c.m.slabs.at(pos)
	to.Position, to.Version, to.Time = Position(pos), r.version(), r.time()
	to.Stream, to.Type = c.m.index.Streams.Text(r.stream()), c.m.index.Types.Text(r.typ())
	to.Schema = r.schema()
	if n := len(c.tags); r.tags() > 0 {
		for i := range r.tags() {
			c.tags = append(c.tags, c.m.index.Tags.Text(r.tag(i)))
		}
		to.Tags = c.tags[n:len(c.tags):len(c.tags)]
	}
	kind, stored, rest := r.id()
	to.ID = c.id(pos, r, kind, stored)
	pairs, w := binary.Uvarint(rest)
	if rest = rest[w:]; pairs > 0 {
		to.Meta = make(map[string]string, pairs)
	}
	for range pairs {
		var k, v []byte
		k, rest = cut(rest)
		v, rest = cut(rest)
		to.Meta[c.string(k)] = c.string(v)
	}
	if data, _ := cut(rest); len(data) > 0 {
		n := len(c.data)
		c.data = append(c.data, data...)
		to.Data = c.data[n:len(c.data):len(c.data)]
	}
}

func (c *copier) id(pos uint32, r record, kind byte, stored []byte) string {
	var text [uuidText]byte
	switch kind {
	case idMade:
		return c.string(c.m.ids.maker.At(pos, r.time()).Append(text[:0]))
	case idUUID:
		return c.string(id.UUID(stored).Append(text[:0]))
	default:
		return c.string(stored)
	}
}

func (c *copier) string(b []byte) string {
	n := c.text.Len()
	c.text.Write(b)
	return c.text.String()[n:]
}
