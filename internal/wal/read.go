package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sort"
)

// Record is a record as it is read. Data belongs to the reader and is valid
// until the next one is read.
type Record struct {
	LSN  LSN
	Ref  Ref
	Data []byte
}

const (
	minAhead = 4 << 10   // a single record
	maxAhead = 256 << 10 // records in a row
)

// errBad means that there is no intact frame.
var errBad = errors.New("no intact frame")

// window is a stretch of a file in memory. The more it is moved by little, the
// further ahead it reads.
type window struct {
	file  File
	start int64
	buf   []byte
	ahead int
}

// bytes returns n bytes at off, which are known to be in the file, as all below
// limit are.
func (w *window) bytes(off int64, n int, limit int64) ([]byte, error) {
	end := w.start + int64(len(w.buf))
	if off >= w.start && off+int64(n) <= end {
		return w.buf[off-w.start:][:n], nil
	}
	switch {
	case end == 0: // the first read
	case off >= w.start && off <= end+int64(w.ahead):
		w.ahead = min(2*w.ahead, maxAhead)
	default:
		w.ahead = minAhead
	}
	size := int(min(int64(max(n, w.ahead)), limit-off))
	w.start, w.buf = off, slices.Grow(w.buf[:0], size)[:size]
	m, err := w.file.ReadAt(w.buf, off)
	w.buf = w.buf[:m]
	if m >= n {
		return w.buf[:n], nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errBad // the file has become shorter
	}
	return nil, err
}

// frame returns the frame at off, or errBad.
func (w *window) frame(off, limit int64, seed uint32) (h head, frame []byte, err error) {
	if limit-off < frameSize {
		return head{}, nil, errBad
	}
	if frame, err = w.bytes(off, frameSize, limit); err != nil {
		return head{}, nil, err
	}
	h, ok := parseHead(frame)
	if !ok || limit-off < int64(h.size()) {
		return head{}, nil, errBad
	}
	if frame, err = w.bytes(off, h.size(), limit); err != nil {
		return head{}, nil, err
	}
	if !intact(seed, frame) {
		return head{}, nil, errBad
	}
	return h, frame, nil
}

// Reader reads records by address. Reading at ascending addresses that lie
// close together takes one read of up to 256 KiB for many. Not safe for
// concurrent use; it holds no file and needs no Close.
type Reader struct {
	log   *Log
	seg   *segment
	limit int64 // bytes of seg that are durable, as far as known
	win   window
}

// Reader returns a new Reader.
func (l *Log) Reader() *Reader { return &Reader{log: l, win: window{ahead: minAhead}} }

// ReadAt reads one record, into buf if it has room.
func (l *Log) ReadAt(ref Ref, buf []byte) (Record, error) {
	r := Reader{log: l, win: window{ahead: minAhead, buf: buf[:0]}}
	return r.At(ref)
}

// At returns the record at ref, checked; one that was enqueued and is not yet
// durable comes from memory. The error is ErrCorrupt if what is there is no
// longer the record, and ErrClosed once the log is closed.
func (r *Reader) At(ref Ref) (Record, error) {
	if uint64(ref) >= r.log.durableEnd.Load() {
		rec, err := r.log.pending(ref)
		if err == nil || uint64(ref) >= r.log.durableEnd.Load() {
			return rec, err
		}
	}
	if r.seg == nil || ref < r.seg.base || int64(ref-r.seg.base) >= r.limit {
		if err := r.locate(ref); err != nil {
			return Record{}, err
		}
	}
	h, frame, err := r.win.frame(int64(ref-r.seg.base), r.limit, r.seg.seed)
	if errors.Is(err, errBad) || (err == nil && h.kind != kindRecord) {
		return Record{}, fmt.Errorf("%w: no record at %d of %s", ErrCorrupt, ref-r.seg.base, r.log.path(r.seg.name))
	}
	if err != nil {
		return Record{}, readError(err)
	}
	return Record{h.lsn, ref, frame[frameSize:]}, nil
}

// readError tells the end of the log from a failure of the disk.
func readError(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("%w, or its segment dropped: %w", ErrClosed, err)
	}
	return err
}

// locate finds the segment of a durable record.
func (r *Reader) locate(ref Ref) error {
	list := *r.log.segments.Load()
	end := Ref(r.log.durableEnd.Load())
	i := sort.Search(len(list), func(i int) bool { return list[i].base > ref }) - 1
	if i < 0 {
		return fmt.Errorf("wal: no record at %d: dropped", ref)
	}
	if i+1 < len(list) {
		end = min(end, list[i+1].base)
	}
	if s := list[i]; r.seg != s {
		r.seg, r.win = s, window{file: s.file, ahead: r.win.ahead, buf: r.win.buf[:0]}
	}
	r.limit = int64(end - r.seg.base)
	return nil
}

// pending returns a copy of a record that is not yet durable.
func (l *Log) pending(ref Ref) (Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rec, ok := l.flight.record(ref); ok {
		return rec, nil
	}
	for _, b := range l.queue {
		if rec, ok := b.record(ref); ok {
			return rec, nil
		}
	}
	if l.dead != nil {
		return Record{}, l.dead.err
	}
	return Record{}, fmt.Errorf("wal: no record at %d", ref)
}

// record returns a copy of the record at ref if it is in the batch.
func (b *batch) record(ref Ref) (Record, bool) {
	if b == nil || ref <= b.base || ref >= b.end() {
		return Record{}, false
	}
	frame := b.buf[ref-b.base:]
	h, _ := parseHead(frame)
	return Record{h.lsn, ref, slices.Clone(frame[frameSize:h.size()])}, true
}

// Scan reads the durable records from a number on, oldest first, up to what is
// durable when the loop starts. It holds no lock, and ends after one error.
func (l *Log) Scan(from LSN) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		end, last := Ref(l.durableEnd.Load()), l.Durable()
		list := *l.segments.Load()
		for i, s := range list {
			limit := int64(end - s.base)
			if i+1 < len(list) {
				limit = int64(list[i+1].previous)
			}
			if s.first > last || (i+1 < len(list) && list[i+1].first <= from) {
				continue
			}
			k := newWalker(s, limit)
			for k.off < limit {
				rec, err := k.record()
				if err != nil {
					yield(Record{}, l.damage(k, err))
					return
				}
				if rec.LSN >= from && !yield(rec, nil) {
					return
				}
			}
		}
	}
}

// damage is the error of a walk through what must be intact.
func (l *Log) damage(k *walker, err error) error {
	if errors.Is(err, errBad) {
		return fmt.Errorf("%w: %s at %d", ErrCorrupt, l.path(k.seg.name), k.off)
	}
	return readError(err)
}

// walker goes through a segment frame by frame.
type walker struct {
	seg   *segment
	limit int64 // where to stop
	win   window

	off   int64 // of the next frame
	next  LSN   // of the next record
	mark  int64 // offset of the latest mark, 0 before the first
	left  uint64
	until int64 // where the batch of that mark ends
}

func newWalker(s *segment, limit int64) *walker {
	return &walker{
		seg: s, limit: limit, win: window{file: s.file, ahead: maxAhead},
		off: headerSize, next: s.first, until: headerSize,
	}
}

// record goes to the next record, or to the limit, where the zero Record comes
// back. After errBad, off is where the intact frames end.
func (k *walker) record() (Record, error) {
	for k.off < k.limit {
		h, frame, err := k.win.frame(k.off, k.limit, k.seg.seed)
		if err != nil {
			return Record{}, err
		}
		if h.lsn != k.next || (h.kind == kindRecord) != (k.left > 0) || (k.left == 0 && k.off != k.until) {
			return Record{}, errBad
		}
		at := k.off
		k.off += int64(h.size())
		if h.kind == kindRecord {
			k.left--
			k.next++
			return Record{h.lsn, k.seg.base + Ref(at), frame[frameSize:]}, nil
		}
		m := parseMark(frame[frameSize:])
		k.mark, k.left, k.until = at, m.count, k.off+int64(m.bytes)
	}
	return Record{}, nil
}

// whole says whether the walk ended where a batch ends.
func (k *walker) whole() bool { return k.left == 0 && k.off == k.until }
