// Package id makes and reads the UUIDs of events (RFC 9562): version 7 for
// events without an id of their own, version 8 for ids that follow from a key.
//
// A store that numbers its events 1, 2, 3 puts the number into the id
// ([Maker]), and so finds an event by such an id without an index. Ids of one
// millisecond then sort as their positions do.
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// UUID is the binary form.
type UUID [16]byte

// New returns a random UUIDv7 for now. Its 74 bits come from the runtime's
// generator, ChaCha8 with a seed of the system's for each thread: they need to be
// unique, not secret, and package crypto/rand takes three times as long, a seventh
// of all that a message costs in memory.
func New() UUID {
	var u UUID
	binary.BigEndian.PutUint64(u[:], mathrand.Uint64()) // its end is kept
	binary.BigEndian.PutUint64(u[8:], mathrand.Uint64())
	u.setTime(time.Now().UnixMilli())
	u.setVersion(7)
	return u
}

// Keyed returns the UUIDv8 of SHA-256 over stream, key and i, each with its
// length before it: the id of the i-th event of a command with that key.
func Keyed(stream, key string, i int) UUID {
	b := make([]byte, 0, len(stream)+len(key)+24)
	for _, s := range [...]string{stream, key} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(i)))
	u := UUID(sum[:16])
	u.setVersion(8)
	return u
}

// Maker makes the ids of one store: a UUIDv7 whose 74 random bits are a
// position (32) and the store's random tag (42). The position comes first, so
// that ids sort as positions do.
type Maker struct{ tag uint64 }

const tagBits = 42

// NewMaker returns a Maker with a fresh random tag.
func NewMaker() Maker {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails, and crashes the program rather than lie
	return MakerOf(binary.BigEndian.Uint64(b[:]))
}

// MakerOf returns the Maker of a tag that Tag returned.
func MakerOf(tag uint64) Maker { return Maker{tag & (1<<tagBits - 1)} }

// Tag is what MakerOf takes.
func (m Maker) Tag() uint64 { return m.tag }

// At returns the id of the event at position pos, appended at ms milliseconds
// since 1970.
func (m Maker) At(pos uint32, ms int64) UUID {
	var u UUID
	u.setTime(ms)
	binary.BigEndian.PutUint16(u[6:], uint16(pos>>20)) // 12 bits beside the version
	binary.BigEndian.PutUint64(u[8:], uint64(pos&(1<<20-1))<<tagBits|m.tag)
	u.setVersion(7)
	return u
}

// Position returns the position within u, and whether u can be an id of this
// Maker. The event there must still be compared with u: others may make ids
// that look so.
func (m Maker) Position(u UUID) (pos uint32, ok bool) {
	low := binary.BigEndian.Uint64(u[8:]) &^ (3 << 62)
	high := binary.BigEndian.Uint16(u[6:])
	if high>>12 != 7 || u[8]>>6 != 2 || low&(1<<tagBits-1) != m.tag {
		return 0, false
	}
	return uint32(high&0xfff)<<20 | uint32(low>>tagBits), true
}

func (u *UUID) setTime(ms int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms)<<16)
	copy(u[:6], b[:6])
}

func (u *UUID) setVersion(v byte) {
	u[6] = u[6]&0x0f | v<<4
	u[8] = u[8]&0x3f | 0x80
}

// TextLen is the length of the canonical text.
const TextLen = 36

// Append appends the canonical text, in lower case.
func (u UUID) Append(b []byte) []byte {
	n := len(b)
	b = slices.Grow(b, TextLen)[:n+TextLen]
	t := b[n:]
	binary.BigEndian.PutUint64(t, hex(u[:]))
	middle := hex(u[4:])
	binary.BigEndian.PutUint32(t[9:], uint32(middle>>32))
	binary.BigEndian.PutUint32(t[14:], uint32(middle))
	middle = hex(u[8:])
	binary.BigEndian.PutUint32(t[19:], uint32(middle>>32))
	binary.BigEndian.PutUint32(t[24:], uint32(middle))
	binary.BigEndian.PutUint64(t[28:], hex(u[12:]))
	t[8], t[13], t[18], t[23] = '-', '-', '-', '-'
	return b
}

// hex returns the eight digits of four bytes, all at once: each of the eight
// bytes of a word holds one.
func hex(b []byte) uint64 {
	const each = 0x0101010101010101
	v := uint64(binary.BigEndian.Uint32(b))
	v = (v | v<<16) & 0x0000ffff0000ffff
	v = (v | v<<8) & 0x00ff00ff00ff00ff
	v = (v | v<<4) & 0x0f0f0f0f0f0f0f0f
	letters := (v + each*6) >> 4 & each // 1 where the digit is above 9
	return v + each*'0' + letters*('a'-10-'0')
}

// hyphens stand before these bytes.
const hyphens = 1<<4 | 1<<6 | 1<<8 | 1<<10

// String returns the canonical text.
func (u UUID) String() string { return string(u.Append(make([]byte, 0, TextLen))) }

// Parse reads the canonical text and nothing else, so that String gives back
// what it accepts: upper case, braces and "urn:uuid:" are other ids.
func Parse(s string) (u UUID, ok bool) {
	if len(s) != TextLen {
		return u, false
	}
	at := 0
	for i := range u {
		if hyphens>>i&1 == 1 {
			if s[at] != '-' {
				return UUID{}, false
			}
			at++
		}
		hi, lo := digit(s[at]), digit(s[at+1])
		if hi > 15 || lo > 15 {
			return UUID{}, false
		}
		u[i] = hi<<4 | lo
		at += 2
	}
	return u, true
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 255
	}
}
