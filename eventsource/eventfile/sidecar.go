package eventfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// A sidecar is what the index holds of one sealed segment, so that Open need not
// read the segment. It is a cache: absent, damaged, of another segment, behind
// other segments or of another layout, the segment is read and the sidecar
// written anew. Its bytes:
//
//	 0  magic "KEELIDX2"
//	 8  first and last record, length, salt of the segment: u64 each
//	40  position of the first event, or of the next one, u64
//	48  time of the last event, microseconds since 1970, i64
//	56  number of events, u64
//	64  of streams, of types, of tags: number of the names that came before,
//	    CRC-32C of their texts, u32 each
//	88  of streams, of types, of tags:
//	      number of the names that come here first; the text of each
//	      length of a directory; for each name that occurs, in the order of their
//	      numbers: distance to the number before, how many events it has
//	      length of positions; for each of these names, the distance of each of
//	      its events from the one before
//	    number of sources tracked; each: text; position, record, u64 each
//	    length of addresses; for each record with events: twice its distance from
//	    the one before, and, if that is odd because of one more, how many events
//	    number of ids; each: distance of its event from that before; kind; id
//	    CRC-32C of all before, u32
//
// Numbers without a size are uvarints. A name's number is its place in the order
// in which names have come in the whole log, which an index that is filled in the
// log's order gives it again. So Open looks up, by its text, no name twice,
// knows how long each list will be before it fills any, and goes through them
// in the order in which they stand in memory. Names by text in each sidecar, and
// lists that grow with each, took twice as long.
const (
	sidecarMagic = "KEELIDX2"
	sidecarHead  = 88
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l *Log) sidecarName(first wal.LSN) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d.idx", uint64(first)))
}

// identity is the part of the head that says which segment it is.
func identity(s wal.Segment) []byte {
	b := []byte(sidecarMagic)
	for _, n := range [...]uint64{uint64(s.First), uint64(s.Last), uint64(s.Size), s.Salt} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

const identitySize = 40

// kinds are the kinds of names, as sidecars order them.
func kinds(x *index.Index) [3]*index.Names {
	return [...]*index.Names{&x.Streams, &x.Types, &x.Tags}
}

// chain sums up the first names of a kind: a sidecar that calls them by their
// numbers is good behind these alone.
type chain struct {
	count, sum uint32
	scratch    []byte
}

// advance takes in the names up to a number.
func (c *chain) advance(names *index.Names, to uint32) {
	for c.count < to {
		c.count++
		c.scratch = appendText(c.scratch, names.Text(c.count))
		if len(c.scratch) >= 4096 || c.count == to {
			c.sum = crc32.Update(c.sum, castagnoli, c.scratch)
			c.scratch = c.scratch[:0]
		}
	}
}

func (c *chain) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, c.count), c.sum)
}

// writeSidecars writes what is missing whenever a segment has been sealed, until
// Close.
func (l *Log) writeSidecars() {
	var before [3]chain
	done := 0 // segments that have one
	for {
		segments := l.wal.Segments()
		for ; done < len(segments)-1; done++ {
			if !l.hasSidecar(segments[done]) {
				// It costs time at the next Open, and nothing else, if this fails.
				_ = l.writeSidecar(segments[done], &before)
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

// dropLastSidecar removes what a last file has beside it that is not complete yet:
// one that an older copy of the log was put back under. Grown again to the same
// length, the file would be taken for the one that the sidecar is of.
func (l *Log) dropLastSidecar() {
	if segments := l.wal.Segments(); l.set.sidecars {
		_ = os.Remove(l.sidecarName(segments[len(segments)-1].First)) // mostly there is none
	}
}

// hasSidecar looks at the head alone: whether the rest is good, an Open that reads
// sidecars finds out, and removes what is not.
func (l *Log) hasSidecar(s wal.Segment) bool {
	f, err := os.Open(l.sidecarName(s.First))
	if err != nil {
		return false
	}
	head := make([]byte, identitySize)
	_, err = f.ReadAt(head, 0)
	return errors.Join(err, f.Close()) == nil && string(head) == string(identity(s))
}

// writeSidecar reads a segment again, mostly from the page cache, so that
// appends need not gather anything on the way. It is not synced: after a crash
// the checksum tells.
func (l *Log) writeSidecar(s wal.Segment, before *[3]chain) error {
	w := newGatherer(s, l.index)
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
	b, err := w.finish(before)
	if err != nil {
		return err
	}
	name := l.sidecarName(s.First)
	if err := os.WriteFile(name+".tmp", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
