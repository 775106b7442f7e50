package eventfile

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/id"
)

// One append is one record of the log, so that it is there whole or not at all.
// Its bytes, numbers little-endian:
//
//	 0  1, the kind of record; 3 bytes zero
//	 4  number of events, u32
//	 8  number of sources tracked, u32
//	12  position of the first event, or of the next one if there is none, u64
//	20  time, microseconds since 1970, i64
//	28  each source: length byte, text; position, u64
//	    each event:
//
//	 0  length of what follows, u32
//	 4  version, u32
//	 8  schema, u32
//	12  kind of id: 0 made by this log, 1 UUID, 2 text
//	13  number of tags
//	14  stream, type, tags: length byte, text
//	    the id: nothing, 16 bytes, or length byte and text
//	    Meta: number of pairs, uvarint; each key: length byte, text; each
//	    value: length, uvarint, text
//	    Data: the rest
//
// An id made by the log follows from position, time and the salt of the first
// segment.
const (
	formatEvents = 'E' | 'V'<<8 | 'T'<<16 | '1'<<24

	recordHead = 28
	eventHead  = 14
	kindAppend = 1

	idMade = 0
	idUUID = 1
	idText = 2
)

// errRecord means that an intact record is none of those that are written here.
var errRecord = errors.New("a record that this release cannot read")

// draft is a record to be. Everything is encoded before the lock is taken, but
// what the lock is there for: positions, versions, time.
type draft struct {
	buf []byte
	at  []int    // where each event begins
	ids []callID // of the events that have one already
}

// callID is an id that the caller gave.
type callID struct {
	event int
	text  string
	uuid  id.UUID
	kind  byte
	hash  uint64
}

// encode makes the draft of an append.
func (d *draft) encode(events []eventsource.Event, conds []eventsource.Condition, hash func(string) uint64) {
	d.buf = append(d.buf[:0], make([]byte, recordHead)...)
	d.at, d.ids = d.at[:0], d.ids[:0]
	tracked := uint32(0)
	for i := range conds {
		if source, p, ok := conds[i].Track(); ok {
			tracked++
			d.buf = appendText(d.buf, source)
			d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(p))
		}
	}
	d.buf[0] = kindAppend
	binary.LittleEndian.PutUint32(d.buf[4:], uint32(len(events)))
	binary.LittleEndian.PutUint32(d.buf[8:], tracked)
	for i := range events {
		d.event(i, &events[i], hash)
	}
}

func (d *draft) event(i int, e *eventsource.Event, hash func(string) uint64) {
	given := callID{event: i, text: e.ID}
	if e.ID != "" {
		given.kind = idText
		if u, ok := id.Parse(e.ID); ok {
			given.kind, given.uuid = idUUID, u
		}
		given.hash = hash(e.ID)
		d.ids = append(d.ids, given)
	}
	start := len(d.buf)
	d.at = append(d.at, start)
	b := append(d.buf, make([]byte, eventHead)...)
	b = appendText(appendText(b, e.Stream), e.Type)
	tags := 0
	for k, tag := range e.Tags {
		if !slices.Contains(e.Tags[:k], tag) {
			b = appendText(b, tag)
			tags++
		}
	}
	switch given.kind {
	case idUUID:
		b = append(b, given.uuid[:]...)
	case idText:
		b = appendText(b, e.ID)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Meta)))
	for k, v := range e.Meta {
		b = appendText(b, k)
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	b = append(b, e.Data...)
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	binary.LittleEndian.PutUint32(b[start+8:], uint32(max(1, e.Schema)))
	b[start+12], b[start+13] = given.kind, byte(tags)
	d.buf = b
}

// place fills in what the lock decides.
func (d *draft) place(first uint32, micros int64) {
	binary.LittleEndian.PutUint64(d.buf[12:], uint64(first))
	binary.LittleEndian.PutUint64(d.buf[20:], uint64(micros))
}

func (d *draft) setVersion(i int, version uint32) {
	binary.LittleEndian.PutUint32(d.buf[d.at[i]+4:], version)
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// stored is a record as it is read: parse checks its frame, event decodes.
type stored struct {
	payload []byte
	first   uint32
	micros  int64
	tracked int
	at      []int // where each event begins
}

// parse finds the parts of a record. It keeps payload.
func (s *stored) parse(payload []byte) error {
	*s = stored{payload: payload, at: s.at[:0]}
	if len(payload) < recordHead || payload[0] != kindAppend {
		return errRecord
	}
	events := binary.LittleEndian.Uint32(payload[4:])
	tracked := binary.LittleEndian.Uint32(payload[8:])
	first := binary.LittleEndian.Uint64(payload[12:])
	if first == 0 || first+uint64(events) > maxEvents {
		return errRecord
	}
	s.first, s.micros = uint32(first), int64(binary.LittleEndian.Uint64(payload[20:]))
	rest := scanner[[]byte]{rest: payload[recordHead:]}
	for range tracked {
		rest.text()
		if rest.take(8); rest.bad {
			return errRecord
		}
	}
	s.tracked = int(tracked)
	for range events {
		s.at = append(s.at, len(payload)-len(rest.rest))
		size := rest.take(4)
		if rest.bad {
			return errRecord
		}
		if rest.take(int(binary.LittleEndian.Uint32(size))); rest.bad {
			return errRecord
		}
	}
	if len(rest.rest) > 0 {
		return errRecord
	}
	return nil
}

// sources calls fn for each source that the record tracks.
func (s *stored) sources(fn func(source string, p eventsource.Position)) {
	rest := scanner[[]byte]{rest: s.payload[recordHead:]}
	for range s.tracked {
		source := string(rest.text())
		fn(source, eventsource.Position(binary.LittleEndian.Uint64(rest.take(8))))
	}
}

func (s *stored) time() time.Time { return time.UnixMicro(s.micros).UTC() }

// body returns the bytes of event i.
func (s *stored) body(i int) []byte {
	start := s.at[i]
	return s.payload[start:][:4+binary.LittleEndian.Uint32(s.payload[start:])]
}

// event decodes event i into to, whose memory is its own. It takes an
// allocation for all texts, and one each for Tags, Meta and Data if there are
// any. maker is that of the log.
func (s *stored) event(i int, maker id.Maker, to *eventsource.Recorded) error {
	body := s.body(i)
	if len(body) < eventHead {
		return errRecord
	}
	kind, tags := body[12], int(body[13])
	texts, data, ok := split(body[eventHead:], kind, tags)
	if !ok {
		return errRecord
	}
	pos := s.first + uint32(i)
	*to = eventsource.Recorded{
		Position: eventsource.Position(pos),
		Version:  uint64(binary.LittleEndian.Uint32(body[4:])),
		Time:     s.time(),
	}
	to.Schema = int(binary.LittleEndian.Uint32(body[8:]))
	rest := scanner[string]{rest: string(texts)}
	to.Stream, to.Type = rest.text(), rest.text()
	for range tags {
		to.Tags = append(grown(to.Tags, tags), rest.text())
	}
	if to.ID = rest.id(kind); kind == idMade {
		to.ID = maker.At(pos, to.Time.UnixMilli()).String()
	}
	if pairs := rest.uvarint(); pairs > 0 {
		to.Meta = make(map[string]string, pairs)
		for range pairs {
			key := rest.text()
			to.Meta[key] = rest.take(rest.uvarint())
		}
	}
	if len(data) > 0 {
		to.Data = append(make([]byte, 0, len(data)), data...)
	}
	return nil
}

// names are the parts of an event that the index knows.
type names struct {
	version     uint32
	stream, typ string
	tags        []string
	kind        byte
	rawID       string // as it is stored
	id          string // "" if this log made it
}

// names decodes them, with an allocation for all texts; tags is memory to use.
func (s *stored) names(i int, tags []string) (n names, err error) {
	body := s.body(i)
	if len(body) < eventHead {
		return n, errRecord
	}
	texts, _, ok := split(body[eventHead:], body[12], int(body[13]))
	if !ok {
		return n, errRecord
	}
	rest := scanner[string]{rest: string(texts)}
	n = names{version: binary.LittleEndian.Uint32(body[4:]), stream: rest.text(), typ: rest.text()}
	for range body[13] {
		tags = append(tags, rest.text())
	}
	n.tags, n.kind = tags, body[12]
	before := rest.rest
	n.id = rest.id(n.kind)
	n.rawID = before[:len(before)-len(rest.rest)]
	return n, nil
}

func grown(tags []string, n int) []string {
	if tags == nil {
		return make([]string, 0, n)
	}
	return tags
}

// split checks what follows the head of an event, and finds where Data begins.
func split(body []byte, kind byte, tags int) (texts, data []byte, ok bool) {
	rest := scanner[[]byte]{rest: body}
	for range 2 + tags {
		rest.text()
	}
	switch kind {
	case idMade:
	case idUUID:
		rest.take(16)
	case idText:
		rest.text()
	default:
		return nil, nil, false
	}
	for range rest.uvarint() {
		rest.text()
		if rest.take(rest.uvarint()); rest.bad {
			break
		}
	}
	n := len(body) - len(rest.rest)
	return body[:n], body[n:], !rest.bad
}

// scanner takes pieces off the front. Once there was not enough, it is bad and
// yields nothing.
type scanner[T string | []byte] struct {
	rest T
	bad  bool
}

func (s *scanner[T]) take(n int) (piece T) {
	if s.bad || n < 0 || n > len(s.rest) {
		s.bad = true
		return piece
	}
	piece, s.rest = s.rest[:n], s.rest[n:]
	return piece
}

func (s *scanner[T]) text() T {
	if n := s.take(1); len(n) == 1 {
		return s.take(int(n[0]))
	}
	var none T
	return none
}

// id takes an id that the caller gave, "" if none did.
func (s *scanner[T]) id(kind byte) string {
	switch kind {
	case idUUID:
		if raw := s.take(16); len(raw) == 16 {
			return id.UUID([]byte(raw)).String()
		}
		return ""
	case idText:
		return string(s.text())
	default:
		return ""
	}
}

// number takes a uvarint.
func (s *scanner[T]) number() (n uint64) {
	if !s.bad && len(s.rest) > 0 && s.rest[0] < 0x80 { // most are small, and an index has millions
		n, s.rest = uint64(s.rest[0]), s.rest[1:]
		return n
	}
	for shift := 0; shift < 64; shift += 7 {
		b := s.take(1)
		if len(b) == 0 {
			return 0
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return n
		}
	}
	s.bad = true
	return 0
}

// uvarint takes a number that fits the rest, as counts and lengths do.
func (s *scanner[T]) uvarint() int {
	n := s.number()
	if n > uint64(len(s.rest)) {
		s.bad = true
		return 0
	}
	return int(n)
}
