package eventfile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// reload builds the index from sidecars when a log is opened. They wait in line
// until something else comes or they are large: then each list gets its room at
// once, from what all of them have for it.
type reload struct {
	log    *Log
	before [3]chain    // names so far
	counts [3][]uint32 // by the number of a name: its events in line
	line   []sidecar
	bytes  int // in line
}

// maxLine bounds the memory that sidecars in line take.
const maxLine = 64 << 20

// sidecar is one in line. Everything but the bytes of positions, addresses and
// ids has been checked, and is in the index.
type sidecar struct {
	segment              wal.Segment
	before, last         uint32 // position before the first event, and of the last
	directory, positions [3]string
	refs, ids            string
}

// segment takes a whole segment from its sidecar, if there is a good one. One
// that is not good is removed, so that it is made anew.
func (r *reload) segment(s wal.Segment) (ok bool, err error) {
	name := r.log.sidecarName(s.First)
	b, err := os.ReadFile(name)
	if err != nil {
		return false, nil // the segment itself will tell what is wrong
	}
	if !r.fits(s, b) {
		_ = os.Remove(name)
		return false, nil
	}
	first, before := binary.LittleEndian.Uint64(b[40:]), r.log.last.Load()
	if first != uint64(before)+1 {
		return false, fmt.Errorf("%w: segment %d begins with event %d after event %d", eventsource.ErrCorrupt, s.First, first, before)
	}
	if !r.queue(s, string(b[:len(b)-4])) {
		return false, r.nonsense(s)
	}
	if r.bytes > maxLine {
		return true, r.fill()
	}
	return true, nil
}

func (r *reload) nonsense(s wal.Segment) error {
	return fmt.Errorf("%w: %s: its checksum is right, its contents are not", eventsource.ErrCorrupt, r.log.sidecarName(s.First))
}

// fits says whether b is a sidecar of this segment and of what came before it.
func (r *reload) fits(s wal.Segment, b []byte) bool {
	if len(b) < sidecarHead+4 {
		return false
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return false
	}
	head := identity(s)
	if string(body[:identitySize]) != string(head) {
		return false
	}
	var before []byte
	for k, names := range kinds(r.log.index) {
		r.before[k].advance(names, uint32(names.Len()))
		before = r.before[k].append(before)
	}
	return string(body[64:sidecarHead]) == string(before)
}

// queue puts a sidecar in line, and its names and sources into the index.
func (r *reload) queue(s wal.Segment, body string) (ok bool) {
	l := r.log
	before, events := l.last.Load(), binary.LittleEndian.Uint64([]byte(body[56:64]))
	if events > maxEvents-uint64(before) {
		return false
	}
	sc := sidecar{segment: s, before: before, last: before + uint32(events)}
	in := scanner[string]{rest: body[sidecarHead:]}
	for k, names := range kinds(l.index) {
		for range in.uvarint() {
			names.Intern(in.text())
		}
		sc.directory[k], sc.positions[k] = in.take(in.uvarint()), in.take(in.uvarint())
		if in.bad || !r.count(k, names, &sc) {
			return false
		}
	}
	for range in.uvarint() {
		source, numbers := in.text(), []byte(in.take(16))
		if in.bad {
			return false
		}
		p, lsn := binary.LittleEndian.Uint64(numbers), binary.LittleEndian.Uint64(numbers[8:])
		l.tracked[strings.Clone(source)] = tracked{eventsource.Position(p), wal.LSN(lsn)}
	}
	if sc.refs = in.take(in.uvarint()); in.bad {
		return false
	}
	sc.ids = in.rest
	l.micros = max(l.micros, int64(binary.LittleEndian.Uint64([]byte(body[48:56]))))
	l.last.Store(sc.last)
	r.line, r.bytes = append(r.line, sc), r.bytes+len(body)
	return true
}

// count adds what a directory says, once it is seen to be possible.
func (r *reload) count(k int, names *index.Names, sc *sidecar) (ok bool) {
	known, left := uint64(names.Len()), uint64(len(sc.positions[k]))
	r.counts[k] = append(r.counts[k], make([]uint32, int(known)+1-len(r.counts[k]))...)
	d := directory{in: scanner[string]{rest: sc.directory[k]}}
	for d.next() {
		if d.name > known || d.events > left {
			return false
		}
		left -= d.events
		r.counts[k][d.name] += uint32(d.events)
	}
	return !d.in.bad
}

// directory goes through the directory of a sidecar.
type directory struct {
	in     scanner[string]
	name   uint64 // its number
	events uint64
}

func (d *directory) next() bool {
	if d.in.bad || len(d.in.rest) == 0 {
		return false
	}
	distance := d.in.number()
	d.name += distance
	d.events = d.in.number()
	d.in.bad = d.in.bad || distance == 0
	return !d.in.bad
}

// fill takes what is in line into the index.
func (r *reload) fill() error {
	for k, names := range kinds(r.log.index) {
		for name, events := range r.counts[k] {
			if events > 0 {
				names.List(uint32(name)).Reserve(int(events + events/8)) // the log goes on
				r.log.bytes += 4 * uint64(events)
			}
		}
		clear(r.counts[k])
		for i := range r.line {
			if !r.line[i].lists(k, names) {
				return r.nonsense(r.line[i].segment)
			}
		}
	}
	for i := range r.line {
		if !r.line[i].addresses(r.log) || !r.line[i].callersIDs(r.log) {
			return r.nonsense(r.line[i].segment)
		}
	}
	r.line, r.bytes = nil, 0
	return nil
}

// lists fills the lists of one kind of names.
func (sc *sidecar) lists(k int, names *index.Names) (ok bool) {
	d := directory{in: scanner[string]{rest: sc.directory[k]}}
	positions := sc.positions[k]
	for d.next() {
		pos := uint64(sc.before)
		names.List(uint32(d.name)).Extend(int(d.events), func(to []uint32) {
			pos, positions = ascend(to, pos, positions)
		})
		if pos > uint64(sc.last) {
			return false
		}
	}
	return len(positions) == 0
}

// ascend fills to with numbers of which b has the distances, the first of them
// from pos, and returns the last and what follows in b. What b does not have is
// a number beyond all positions. An index has millions of distances, and nearly
// all of them have one byte or two.
func ascend(to []uint32, pos uint64, b string) (last uint64, rest string) {
	for i := range to {
		switch {
		case len(b) > 0 && b[0] < 0x80:
			pos += uint64(b[0])
			b = b[1:]
		case len(b) > 1 && b[1] < 0x80:
			pos += uint64(b[0]&0x7f) | uint64(b[1])<<7
			b = b[2:]
		default:
			in := scanner[string]{rest: b}
			distance := in.number()
			if in.bad || distance > maxEvents { // no sum of others comes back from there
				return math.MaxUint64, ""
			}
			pos, b = pos+distance, in.rest
		}
		to[i] = uint32(pos)
	}
	return pos, b
}

// addresses says where the record of each event is.
func (sc *sidecar) addresses(l *Log) (ok bool) {
	in := scanner[string]{rest: sc.refs}
	ref, pos := sc.segment.Base, sc.before
	var room []uint64
	for len(in.rest) > 0 && !in.bad {
		n, events := in.number(), uint64(1)
		if ref += wal.Ref(n >> 1); n&1 == 1 {
			events = in.number()
		}
		if events > uint64(sc.last-pos) {
			return false
		}
		for range events {
			if pos++; len(room) == 0 {
				room = l.refs.Room(pos)
			}
			room[0], room = uint64(ref), room[1:]
		}
	}
	l.bytes += 8 * uint64(sc.last-sc.before)
	return !in.bad && pos == sc.last
}

// callersIDs takes in the ids that callers gave.
func (sc *sidecar) callersIDs(l *Log) (ok bool) {
	in := scanner[string]{rest: sc.ids}
	pos := uint64(sc.before)
	for range in.uvarint() {
		distance := in.number()
		kind := in.take(1)
		if in.bad || distance == 0 || distance > uint64(sc.last)-pos {
			return false
		}
		pos += distance
		l.addID(l.hash(in.id(kind[0])), uint32(pos))
	}
	return !in.bad && len(in.rest) == 0
}
