package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// recover opens the segments, replays them and repairs the end of the last one.
func (l *Log) recover(replay func(Record) error) error {
	if replay == nil {
		replay = func(Record) error { return nil }
	}
	sizes, err := l.openSegments()
	if err != nil {
		return err
	}
	list := *l.segments.Load()
	if len(list) == 0 {
		l.next = 1
		if err := l.begin(1, 0); err != nil {
			return err
		}
		return l.serve(headerSize)
	}
	for i, s := range list[:len(list)-1] {
		if err := l.checkSealed(s, list[i+1], sizes[i], replay); err != nil {
			return err
		}
	}
	end, err := l.recoverLast(list[len(list)-1], sizes[len(list)-1], replay)
	if err != nil {
		return err
	}
	// The last segment, or the removal of one, may not be on the disk yet.
	if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
		return err
	}
	return l.serve(end)
}

// serve sets where the log goes on: at an offset in the last segment.
func (l *Log) serve(offset int64) error {
	l.base, l.first = l.last().base, l.last().first
	l.end = l.base + Ref(offset)
	l.synced = l.next - 1
	l.durable.Store(uint64(l.synced))
	l.durableEnd.Store(uint64(l.end))
	return nil
}

// openSegments opens the files, reads their headers, and returns their lengths.
func (l *Log) openSegments() (sizes []int64, err error) {
	files, err := l.cfg.FS.List(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var firsts []LSN
	for name := range files {
		if first, ok := parseName(name); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	for i, first := range firsts {
		name := segmentName(first)
		s := &segment{name: name}
		if s.file, err = l.cfg.FS.Open(l.path(name), false); err != nil {
			return nil, err
		}
		l.setSegments(append(*l.segments.Load(), s)) // to be closed, whatever comes
		err := s.readHeader(first, l.cfg.Format)
		if errors.Is(err, errHeader) {
			if i < len(firsts)-1 || files[name] > headerSize || (i == 0 && first != 1) {
				return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, l.path(name), err)
			}
			return sizes, l.discard(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.path(name), err)
		}
		sizes = append(sizes, files[name])
	}
	return sizes, nil
}

func (s *segment) readHeader(first LSN, format uint32) error {
	b := make([]byte, headerSize)
	n, err := s.file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := parseHeader(b[:n])
	if err != nil {
		return err
	}
	if h.format != format {
		return fmt.Errorf("wal: the records have format %d, not %d", h.format, format)
	}
	if h.first != first {
		return fmt.Errorf("%w: the header says %s", ErrCorrupt, segmentName(h.first))
	}
	s.header, s.seed = h, seed(h.salt[:])
	return nil
}

// discard removes the last segment, which never got its header.
func (l *Log) discard(s *segment) error {
	list := *l.segments.Load()
	l.setSegments(list[:len(list)-1])
	if err := errors.Join(s.file.Close(), l.cfg.FS.Remove(l.path(s.name))); err != nil {
		return err
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// checkSealed checks a segment that is not the last, by its successor's header,
// and record by record unless the owner skips it.
func (l *Log) checkSealed(s, next *segment, size int64, replay func(Record) error) error {
	if next.base != s.base+Ref(size) || next.previous != uint64(size) || next.first < s.first {
		return fmt.Errorf("%w: %s does not continue %s of %d bytes", ErrCorrupt, next.name, l.path(s.name), size)
	}
	if l.cfg.Sealed != nil {
		if skip, err := l.cfg.Sealed(s.describe(next.first-1, size)); skip || err != nil {
			return err
		}
	}
	k := newWalker(s, size)
	for k.off < size {
		rec, err := k.record()
		if err != nil {
			return l.damage(k, err)
		}
		if rec.LSN == 0 {
			break
		}
		if err := replay(rec); err != nil {
			return err
		}
	}
	if !k.whole() || k.next != next.first {
		return fmt.Errorf("%w: %s ends before record %d", ErrCorrupt, l.path(s.name), next.first)
	}
	return nil
}

// recoverLast replays the last segment as far as it is intact, makes sure that
// what follows was torn and not damaged, and returns its repaired length.
func (l *Log) recoverLast(s *segment, size int64, replay func(Record) error) (int64, error) {
	k := newWalker(s, size)
	for k.off < size {
		rec, err := k.record()
		if errors.Is(err, errBad) {
			if err := k.provesDamage(size); err != nil {
				return 0, fmt.Errorf("%s at %d: %w", l.path(s.name), k.off, err)
			}
			break
		}
		if err != nil {
			return 0, err
		}
		if rec.LSN == 0 {
			break
		}
		if err := replay(rec); err != nil {
			return 0, err
		}
	}
	l.next = k.next
	return l.repair(k, size)
}

// provesDamage looks for a mark at or behind the first bad frame that calls the
// record which should stand there durable.
func (k *walker) provesDamage(size int64) error {
	const chunk = 1 << 20
	buf := make([]byte, min(chunk+markSize, size-k.off))
	for off := k.off; off < size; off += chunk {
		piece := buf[:min(chunk+markSize-1, size-off, int64(len(buf)))]
		if n, err := k.seg.file.ReadAt(piece, off); n < len(piece) {
			return err
		}
		for i := range len(piece) - markSize + 1 {
			word := binary.LittleEndian.Uint32(piece[i:])
			if word>>lengthBits != kindMark && word>>lengthBits != kindClean {
				continue
			}
			frame := piece[i:][:markSize]
			if _, ok := parseHead(frame); ok && intact(k.seg.seed, frame) && parseMark(frame[frameSize:]).durable >= k.next {
				return fmt.Errorf("%w: record %d, which the mark at %d calls durable", ErrCorrupt, k.next, off+int64(i))
			}
		}
	}
	return nil
}

// repair cuts the torn tail, writes the last batch again and syncs, so that from
// here on the disk holds what was replayed. A batch that lost records gets a mark
// of those that it has.
func (l *Log) repair(k *walker, size int64) (end int64, err error) {
	var b *batch
	end = k.off
	if k.mark > 0 {
		b, err = k.lastBatch()
		if err != nil {
			return 0, err
		}
		if b == nil {
			end = k.mark
		}
	}
	if end < size {
		if err := k.seg.file.Truncate(end); err != nil {
			return 0, err
		}
	}
	if b == nil {
		return end, l.sync(k.seg)
	}
	return end, l.store(b, true)
}

// lastBatch reads the batch, or clean mark, in which the walk ended; nil if no
// record of the batch is left.
func (k *walker) lastBatch() (*batch, error) {
	b := &batch{base: k.seg.base + Ref(k.mark), buf: make([]byte, k.off-k.mark)}
	if n, err := k.seg.file.ReadAt(b.buf, k.mark); n < len(b.buf) {
		return nil, err
	}
	if k.whole() {
		return b, nil
	}
	m := parseMark(b.buf[frameSize:])
	b.count = int(m.count - k.left)
	if b.count == 0 {
		return nil, nil
	}
	b.seal(k.seg, m.durable)
	return b, nil
}
