package sagafile

import (
	"fmt"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// replay does again what a frame of the log has done. Frames of sagas that are not
// here are remains: their beginning was dropped, with a snapshot further on or
// because they were forgotten.
func (s *Store) replay(r wal.Record) error {
	d := &decoder{data: r.Data}
	h := d.head()
	s.clock = max(s.clock, h.at)
	size := int64(len(r.Data))
	switch h.kind {
	case frameWrite:
		s.replayWrite(d, h, r.Ref, size)
	case frameClaim:
		id, epoch, claims := d.text(), d.uvarint(), d.uvarint()
		if e := s.sagas[id]; e != nil {
			e.epoch, e.claims, e.held, e.wakeAt = epoch, int32(claims), true, 0
			e.bytes += size
		}
	case framePost:
		id := d.text()
		letter := d.record(h.at)
		if e := s.sagas[id]; e != nil {
			e.deliver(letter.Seq, letter.Key, r.Ref)
			e.bytes += size
			if !e.held && e.state != saga.Stuck {
				e.wakeAt = h.at
			}
		}
	case framePurge:
		delete(s.sagas, d.text())
	case framePiece, frameLetter:
	case frameSnapshot:
		if e := s.readSnapshot(d, h, r.Ref); e != nil {
			s.sagas[e.id] = e
		}
	default:
		return fmt.Errorf("%w: record %d is of kind %d, which this version does not know", ErrCorrupt, r.LSN, h.kind)
	}
	if d.err != nil {
		return fmt.Errorf("record %d: %w", r.LSN, d.err)
	}
	return nil
}

func (s *Store) replayWrite(d *decoder, h head, ref wal.Ref, size int64) {
	w := d.write(h.flags)
	extends := d.uvarint() > 0
	if d.err != nil {
		return
	}
	e := s.sagas[w.Summary.ID]
	switch {
	case w.Summary.Epoch > 0 && e != nil:
		s.apply(e, &w, extends, h, ref)
	case w.Summary.Epoch == 0 && e == nil && h.flags&hasDefinition != 0:
		e = s.create(&w, extends, h.at, ref)
	case w.Summary.Epoch == 0:
		d.fail() // it was here when it was created
		return
	default:
		return
	}
	e.bytes += size
}
