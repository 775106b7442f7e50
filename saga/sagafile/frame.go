package sagafile

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// formatSagas tells the log what its records are.
const formatSagas = 0x53414731 // "SAG1"

// Frames, one per record of the log. Numbers are varints and texts have their
// length before them, but for the head, which is written under the lock when the
// rest is encoded already:
//
//	kind u8, flags u8, address of the saga's frame before u64, time in ns i64
const (
	frameWrite    = iota + 1 // a saga.Write; creates if its epoch is 0
	frameClaim               // owned from here on, at an epoch
	framePost                // a message
	framePurge               // forgotten
	framePiece               // records written again; nothing until a snapshot links to it
	frameLetter              // a message written again, likewise
	frameSnapshot            // the saga as it is, in place of all its frames before
)

const headSize = 1 + 1 + 8 + 8

// hasDefinition: name, version, shape and fingerprint follow the head of a write.
// Most writes leave them as they are.
const hasDefinition = 1

type head struct {
	kind, flags byte
	prev        wal.Ref
	at          int64
}

func (h head) append(b []byte) []byte {
	b = append(b, h.kind, h.flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.prev))
	return binary.LittleEndian.AppendUint64(b, uint64(h.at))
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDefinition(b []byte, s *saga.Summary) []byte {
	b = appendText(b, s.Name)
	b = binary.AppendUvarint(b, uint64(s.Version))
	b = appendText(b, s.Shape)
	return appendText(b, s.Fingerprint)
}

// appendState encodes what every write may change of a header.
func appendState(b []byte, s *saga.Summary) []byte {
	pivoted := byte(0)
	if s.Pivoted {
		pivoted = 1
	}
	b = append(b, byte(s.State), pivoted)
	b = appendText(b, s.Step)
	b = binary.AppendUvarint(b, uint64(s.Attempt))
	b = appendText(b, s.Code)
	b = appendText(b, s.Cause)
	b = binary.AppendUvarint(b, s.Epoch)
	return binary.AppendUvarint(b, s.Seq)
}

func appendWrite(b []byte, w *saga.Write) []byte {
	b = appendText(b, w.Summary.ID)
	b = appendState(b, &w.Summary)
	b = binary.AppendUvarint(b, w.Read)
	release := byte(0)
	if w.Release {
		release = 1
	}
	b = append(b, release)
	b = binary.AppendVarint(b, int64(w.WakeIn))
	b = binary.AppendUvarint(b, uint64(len(w.Records)))
	for i := range w.Records {
		b = appendRecord(b, &w.Records[i], 0)
	}
	return b
}

// appendRecord encodes a record; at is zero where it is the frame's time.
func appendRecord(b []byte, r *saga.Record, at int64) []byte {
	b = appendText(b, r.Kind)
	b = appendText(b, r.Step)
	b = appendText(b, r.Code)
	b = appendText(b, r.Error)
	b = appendText(b, r.Key)
	b = binary.AppendUvarint(b, uint64(r.Attempt))
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, r.Epoch)
	b = append(b, byte(r.State))
	b = binary.AppendVarint(b, at)
	return appendText(b, []byte(r.Data))
}

// decoder reads a frame. After the first thing that is not there, err is set and
// everything reads as zero.
type decoder struct {
	data []byte
	err  error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("%w: a frame does not decode", ErrCorrupt)
	}
	d.data = nil
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.fail()
		return 0
	}
	v := d.data[0]
	d.data = d.data[1:]
	return v
}

func (d *decoder) fixed() (v uint64) {
	if len(d.data) < 8 {
		d.fail()
		return 0
	}
	v = binary.LittleEndian.Uint64(d.data)
	d.data = d.data[8:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	v := d.data[:n]
	d.data = d.data[n:]
	return v
}

func (d *decoder) text() string { return string(d.bytes()) }

// count reads how many things follow, of at least one byte each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) head() head {
	return head{kind: d.byte(), flags: d.byte(), prev: wal.Ref(d.fixed()), at: int64(d.fixed())}
}

func (d *decoder) definition(s *saga.Summary) {
	s.Name, s.Version, s.Shape, s.Fingerprint = d.text(), int(d.uvarint()), d.text(), d.text()
}

func (d *decoder) state(s *saga.Summary) {
	s.State, s.Pivoted = saga.State(d.byte()), d.byte() == 1
	s.Step, s.Attempt, s.Code, s.Cause = d.text(), int(d.uvarint()), d.text(), d.text()
	s.Epoch, s.Seq = d.uvarint(), d.uvarint()
}

// write reads a write without its records, which follow.
func (d *decoder) write(flags byte) (w saga.Write) {
	if flags&hasDefinition != 0 {
		d.definition(&w.Summary)
	}
	w.Summary.ID = d.text()
	d.state(&w.Summary)
	w.Read, w.Release, w.WakeIn = d.uvarint(), d.byte() == 1, time.Duration(d.varint())
	return w
}

func (d *decoder) records(at int64) []saga.Record {
	all := make([]saga.Record, d.count())
	for i := range all {
		all[i] = d.record(at)
	}
	return all
}

func (d *decoder) record(frameAt int64) (r saga.Record) {
	r.Kind, r.Step, r.Code, r.Error, r.Key = d.text(), d.text(), d.text(), d.text(), d.text()
	r.Attempt, r.Seq, r.Epoch, r.State = int(d.uvarint()), d.uvarint(), d.uvarint(), saga.State(d.byte())
	at := d.varint()
	if at == 0 {
		at = frameAt
	}
	r.At = timeOf(at)
	if data := d.bytes(); len(data) > 0 {
		r.Data = append([]byte(nil), data...)
	}
	return r
}

// timeOf is the time of an int64, zero of zero.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
