package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// MaxRecord is the most bytes that a record may have: what its length has bits
// for.
const MaxRecord = 1<<lengthBits - 1

const (
	frameSize = 16 // what stands before a payload
	markSize  = frameSize + 24

	kindRecord = 1
	kindMark   = 2
	kindClean  = 3

	lengthBits = 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHead appends the head of a frame; seal fills in its checksum.
func appendHead(dst []byte, kind uint32, length int, lsn LSN) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, kind<<lengthBits|uint32(length))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return binary.LittleEndian.AppendUint64(dst, uint64(lsn))
}

// head is the head of a frame, decoded.
type head struct {
	kind   uint32
	length int
	lsn    LSN
}

// size is how many bytes the whole frame has.
func (h head) size() int { return frameSize + h.length }

// parseHead decodes the first frameSize bytes of frame. ok says that such a head
// can exist, not that the frame is intact.
func parseHead(frame []byte) (h head, ok bool) {
	word := binary.LittleEndian.Uint32(frame)
	h = head{word >> lengthBits, int(word & (1<<lengthBits - 1)), LSN(binary.LittleEndian.Uint64(frame[8:]))}
	switch h.kind {
	case kindRecord:
		return h, true
	case kindMark, kindClean:
		return h, h.length == markSize-frameSize
	}
	return h, false // as in a stretch of zeros
}

// seed is the checksum of a salt, with which that of each frame begins.
func seed(salt []byte) uint32 { return crc32.Checksum(salt, castagnoli) }

func checksum(seed uint32, frame []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, frame[:4]), castagnoli, frame[8:])
}

// seal writes the checksum of a whole frame into it.
func seal(seed uint32, frame []byte) {
	binary.LittleEndian.PutUint32(frame[4:], checksum(seed, frame))
}

// intact says whether the checksum of a whole frame is right.
func intact(seed uint32, frame []byte) bool {
	return binary.LittleEndian.Uint32(frame[4:]) == checksum(seed, frame)
}

// mark is the payload of a mark: what follows it, and what was durable before.
type mark struct {
	count, bytes uint64
	durable      LSN
}

func (m mark) put(payload []byte) {
	binary.LittleEndian.PutUint64(payload, m.count)
	binary.LittleEndian.PutUint64(payload[8:], m.bytes)
	binary.LittleEndian.PutUint64(payload[16:], uint64(m.durable))
}

func parseMark(payload []byte) mark {
	return mark{
		binary.LittleEndian.Uint64(payload),
		binary.LittleEndian.Uint64(payload[8:]),
		LSN(binary.LittleEndian.Uint64(payload[16:])),
	}
}

// header is the header of a segment, decoded.
type header struct {
	format   uint32
	first    LSN    // number of its first record
	base     Ref    // address of the header itself
	previous uint64 // length of the segment before
	salt     [8]byte
}

const (
	headerSize = 64
	magic      = "KEELWAL\n"
	version    = 1
)

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], h.format)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.first))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.base))
	binary.LittleEndian.PutUint64(b[32:], h.previous)
	copy(b[40:48], h.salt[:])
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// errHeader means that the bytes are no header: never written whole, or damaged.
var errHeader = errors.New("no valid header")

func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return header{}, errHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, fmt.Errorf("wal: layout %d is not known; this release writes %d", v, version)
	}
	h = header{
		format:   binary.LittleEndian.Uint32(b[12:]),
		first:    LSN(binary.LittleEndian.Uint64(b[16:])),
		base:     Ref(binary.LittleEndian.Uint64(b[24:])),
		previous: binary.LittleEndian.Uint64(b[32:]),
	}
	copy(h.salt[:], b[40:48])
	return h, nil
}
