package eventsource

import (
	"encoding/binary"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/index"
)

// slabs hold the bytes of records, one after the other, in arrays without
// pointers, so that the garbage collector never looks into them. A slab never
// moves and a record never straddles two. One writer at a time; readers may
// look at what was published to them.
//
// Rejected: a slice of Recorded, which costs a quarter of the speed of an
// append and most of the time of every collection, since each event brings
// half a dozen pointers.
type slabs struct {
	where index.Chunks[uint64] // of each position: slab number, offset
	slabs index.Chunks[[]byte]
	n     uint32 // slabs in use, the last of them has room
	used  uint32 // bytes of the last
	size  uint32 // of the last
}

const (
	firstSlab = 4 << 10
	slabSize  = 1 << 20
)

// put makes room for the record of pos.
func (s *slabs) put(pos, size uint32) []byte {
	if s.n == 0 || s.size-s.used < size {
		s.size = max(min(max(2*s.size, firstSlab), slabSize), size)
		s.slabs.Grow(s.n)
		*s.slabs.At(s.n) = make([]byte, s.size)
		s.n++
		s.used = 0
	}
	s.where.Grow(pos)
	*s.where.At(pos) = uint64(s.n-1)<<32 | uint64(s.used)
	b := (*s.slabs.At(s.n - 1))[s.used:][:size:size]
	s.used += size
	return b
}

// at returns the record of pos, and what follows it in the slab.
func (s *slabs) at(pos uint32) record {
	where := *s.where.At(pos)
	return record((*s.slabs.At(uint32(where >> 32)))[uint32(where):])
}

// record is the bytes of one event:
//
//	 0  time, microseconds since 1970
//	 8  version
//	12  number of the stream's name
//	16  number of the type's name
//	20  schema
//	24  kind of id
//	25  number of tags
//	26  each tag: number of its name, 4 bytes
//	    the id: 16 bytes; or a length byte and the text; or nothing
//	    number of pairs of Meta, then each key and value, and then Data: a
//	    uvarint for the length of each, and its bytes
type record []byte

const (
	idMade byte = iota // by the store: it follows from position and time
	idUUID
	idText
)

const recordHead = 26

func (r record) micros() int64    { return int64(binary.LittleEndian.Uint64(r)) }
func (r record) version() uint64  { return uint64(binary.LittleEndian.Uint32(r[8:])) }
func (r record) stream() uint32   { return binary.LittleEndian.Uint32(r[12:]) }
func (r record) typ() uint32      { return binary.LittleEndian.Uint32(r[16:]) }
func (r record) schema() int      { return int(binary.LittleEndian.Uint32(r[20:])) }
func (r record) tags() int        { return int(r[25]) }
func (r record) tag(i int) uint32 { return binary.LittleEndian.Uint32(r[recordHead+4*i:]) }

// id returns the bytes of the id, and what follows.
func (r record) id() (kind byte, id, rest []byte) {
	rest = r[recordHead+4*r.tags():]
	switch r[24] {
	case idUUID:
		return idUUID, rest[:16], rest[16:]
	case idText:
		n := 1 + int(rest[0])
		return idText, rest[1:n], rest[n:]
	default:
		return idMade, nil, rest
	}
}

func (r record) time() time.Time { return time.UnixMicro(r.micros()).UTC() }

// cut returns the text or data at the front of b, and what follows.
func cut(b []byte) (front, rest []byte) {
	n, w := binary.Uvarint(b)
	end := w + int(n)
	return b[w:end:end], b[end:]
}

func uvarintLen(n int) int {
	w := 1
	for ; n >= 1<<7; n >>= 7 {
		w++
	}
	return w
}

// putRecord fills b, which has recordSize bytes, and returns nothing: the
// caller has made sure that it fits.
func putRecord(b []byte, e *Event, version, stream, typ uint32, micros int64, tags []uint32, id storedID) {
	binary.LittleEndian.PutUint64(b, uint64(micros))
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], stream)
	binary.LittleEndian.PutUint32(b[16:], typ)
	binary.LittleEndian.PutUint32(b[20:], uint32(max(1, e.Schema)))
	b[24], b[25] = id.kind, byte(len(tags))
	b = b[:recordHead]
	for _, tag := range tags {
		b = binary.LittleEndian.AppendUint32(b, tag)
	}
	switch id.kind {
	case idUUID:
		b = append(b, id.uuid[:]...)
	case idText:
		b = append(append(b, byte(len(e.ID))), e.ID...)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Meta)))
	if len(e.Meta) > 0 { // ranging over nothing has its price
		for k, v := range e.Meta {
			b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
			b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(e.Data)))
	copy(b[len(b):cap(b)], e.Data)
}

func recordSize(e *Event, tags int, kind byte) uint32 {
	n := recordHead + 4*tags
	switch kind {
	case idUUID:
		n += 16
	case idText:
		n += 1 + len(e.ID)
	}
	n += uvarintLen(len(e.Meta))
	if len(e.Meta) == 0 {
		return uint32(n + uvarintLen(len(e.Data)) + len(e.Data))
	}
	for k, v := range e.Meta {
		n += uvarintLen(len(k)) + len(k) + uvarintLen(len(v)) + len(v)
	}
	return uint32(n + uvarintLen(len(e.Data)) + len(e.Data))
}
