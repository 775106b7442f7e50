package eventfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// A sidecar is what the index holds of one sealed segment, so that Open need not
// read the segment. It is a cache: absent, damaged, of another segment or of
// another layout, the segment is read and the sidecar written anew. Its bytes:
//
//	 0  magic "KEELIDX1"
//	 8  first and last record, length, salt of the segment: u64 each
//	40  position of the first event, or of the next one, u64
//	48  time of the last event, microseconds since 1970, i64
//	56  the names of streams, of types, of tags: each time how many; each: text,
//	    number of events, distance of each one's position from that before
//	    number of sources tracked; each: text; position, record, u64 each
//	    number of events; each: distance of its record from that before; kind
//	    of id, id
//	    CRC-32C of all before, u32
//
// Numbers without a size are uvarints. Events stand by name, not one after the
// other: so that lists are filled one at a time, which takes half as long.
const (
	sidecarMagic = "KEELIDX1"
	sidecarHead  = 56
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l *Log) sidecarName(first wal.LSN) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d.idx", uint64(first)))
}

// loadSidecar adds a segment to the index, if there is a good sidecar.
func (l *Log) loadSidecar(s wal.Segment) (ok bool, err error) {
	b, err := os.ReadFile(l.sidecarName(s.First))
	if err != nil || len(b) < sidecarHead+4 {
		return false, nil // the segment itself will tell what is wrong
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum || string(body[:40]) != string(identity(s)) {
		return false, nil
	}
	if first := binary.LittleEndian.Uint64(body[40:]); first != uint64(l.last.Load())+1 {
		return false, fmt.Errorf("%w: segment %d begins with event %d after event %d", eventsource.ErrCorrupt, s.First, first, l.last.Load())
	}
	r := sidecarReader{log: l, scanner: scanner[string]{rest: string(body[sidecarHead:])}}
	if r.load(s); r.bad {
		return false, fmt.Errorf("%w: %s: its checksum is right, its contents are not", eventsource.ErrCorrupt, l.sidecarName(s.First))
	}
	l.micros = max(l.micros, int64(binary.LittleEndian.Uint64(body[48:])))
	return true, nil
}

// identity is the part of the head that says which segment it is.
func identity(s wal.Segment) []byte {
	b := []byte(sidecarMagic)
	for _, n := range [...]uint64{uint64(s.First), uint64(s.Last), uint64(s.Size), s.Salt} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// sidecarReader adds what it reads to the index.
type sidecarReader struct {
	scanner[string]
	log *Log
}

func (r *sidecarReader) load(s wal.Segment) {
	l := r.log
	for _, names := range [...]*index.Names{&l.index.Streams, &l.index.Types, &l.index.Tags} {
		r.names(names)
	}
	for range r.uvarint() {
		source := r.text()
		numbers := []byte(r.take(16))
		if r.bad {
			return
		}
		p, lsn := binary.LittleEndian.Uint64(numbers), binary.LittleEndian.Uint64(numbers[8:])
		l.tracked[strings.Clone(source)] = tracked{eventsource.Position(p), wal.LSN(lsn)}
	}
	ref, last := s.Base, l.last.Load()
	for range r.uvarint() {
		last++
		ref += wal.Ref(r.number())
		l.place(last, ref)
		kind := r.take(1)
		if r.bad {
			return
		}
		if kind[0] == idMade {
			continue
		}
		l.addID(l.hash(r.id(kind[0])), last)
	}
	l.last.Store(last)
}

// names fills the lists of some names.
func (r *sidecarReader) names(names *index.Names) {
	for range r.uvarint() {
		list := names.List(names.Intern(r.text()))
		pos := r.log.last.Load()
		n := r.uvarint()
		list.Extend(n, func(to []uint32) {
			for i := range to {
				pos += uint32(r.number())
				to[i] = pos
			}
		})
		r.log.bytes += 4 * uint64(n)
	}
}

// writeSidecars writes what is missing whenever a segment has been sealed, until
// Close.
func (l *Log) writeSidecars() {
	done := 0 // segments that have one
	for {
		segments := l.wal.Segments()
		for ; done < len(segments)-1; done++ {
			if !l.hasSidecar(segments[done]) {
				// It costs time at the next Open, and nothing else, if this fails.
				_ = l.writeSidecar(segments[done])
			}
			if stopped(l.stop) {
				return
			}
		}
		select {
		case <-l.sealed:
		case <-l.stop:
			return
		}
	}
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// hasSidecar looks at the head alone: whether the rest is good, Open finds out.
func (l *Log) hasSidecar(s wal.Segment) bool {
	f, err := os.Open(l.sidecarName(s.First))
	if err != nil {
		return false
	}
	head := make([]byte, 40)
	_, err = f.ReadAt(head, 0)
	return errors.Join(err, f.Close()) == nil && string(head) == string(identity(s))
}

// writeSidecar reads a segment again, mostly from the page cache, so that
// appends need not gather anything on the way. It is not synced: after a crash
// the checksum tells.
func (l *Log) writeSidecar(s wal.Segment) error {
	w := newSidecarWriter(s)
	for rec, err := range l.wal.Scan(s.First) {
		if err != nil {
			return err
		}
		if rec.LSN > s.Last {
			break
		}
		if stopped(l.stop) {
			return eventsource.ErrClosed
		}
		if err := w.record(rec); err != nil {
			return err
		}
	}
	name := l.sidecarName(s.First)
	if err := os.WriteFile(name+".tmp", w.finish(), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// sidecarWriter gathers the events of a segment.
type sidecarWriter struct {
	head                 []byte
	streams, types, tags nameTable
	sources              map[string]tracked
	events               []byte
	count                uint64
	before               uint32 // position of the event before the segment
	ref                  wal.Ref
	rec                  stored
	scratch              []string
}

func newSidecarWriter(s wal.Segment) *sidecarWriter {
	return &sidecarWriter{head: identity(s), sources: map[string]tracked{}, ref: s.Base}
}

func (w *sidecarWriter) record(rec wal.Record) error {
	if err := w.rec.parse(rec.Data); err != nil {
		return err
	}
	if len(w.head) == 40 {
		w.head = binary.LittleEndian.AppendUint64(w.head, uint64(w.rec.first))
		w.head = binary.LittleEndian.AppendUint64(w.head, 0) // the time, below
		w.before = w.rec.first - 1
	}
	binary.LittleEndian.PutUint64(w.head[48:], uint64(w.rec.micros))
	w.rec.sources(func(source string, p eventsource.Position) { w.sources[source] = tracked{p, rec.LSN} })
	for i := range w.rec.at {
		n, err := w.rec.names(i, w.scratch[:0])
		if err != nil {
			return err
		}
		w.scratch = n.tags
		w.event(w.rec.first+uint32(i), n, rec.Ref)
	}
	return nil
}

func (w *sidecarWriter) event(pos uint32, n names, ref wal.Ref) {
	pos -= w.before
	w.streams.add(n.stream, pos)
	w.types.add(n.typ, pos)
	for _, tag := range n.tags {
		w.tags.add(tag, pos)
	}
	b := binary.AppendUvarint(w.events, uint64(ref-w.ref))
	w.ref = ref
	w.events = append(append(b, n.kind), n.rawID...)
	w.count++
}

func (w *sidecarWriter) finish() []byte {
	b := w.head
	for _, t := range [...]*nameTable{&w.streams, &w.types, &w.tags} {
		b = binary.AppendUvarint(b, uint64(len(t.list)))
		for _, n := range t.list {
			b = binary.AppendUvarint(appendText(b, n.text), n.count)
			b = append(b, n.positions...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(w.sources)))
	for source, t := range w.sources {
		b = appendText(b, source)
		b = binary.LittleEndian.AppendUint64(b, uint64(t.position))
		b = binary.LittleEndian.AppendUint64(b, uint64(t.lsn))
	}
	b = append(binary.AppendUvarint(b, w.count), w.events...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// nameTable gathers the positions of names. The zero nameTable is empty.
type nameTable struct {
	list   []*gathered
	byName map[string]*gathered
}

// gathered is a name and where it occurs, counted from the segment's first event.
type gathered struct {
	text      string
	count     uint64
	last      uint32
	positions []byte
}

func (t *nameTable) add(text string, pos uint32) {
	g, ok := t.byName[text]
	if !ok {
		if t.byName == nil {
			t.byName = map[string]*gathered{}
		}
		g = &gathered{text: strings.Clone(text)} // not a part of a record
		t.list, t.byName[g.text] = append(t.list, g), g
	}
	g.positions = binary.AppendUvarint(g.positions, uint64(pos-g.last))
	g.count++
	g.last = pos
}
