package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segment is one open file of a log. Its fields do not change.
type segment struct {
	header
	seed uint32 // checksum of the salt
	name string
	file File
}

const suffix = ".wal"

func segmentName(first LSN) string { return fmt.Sprintf("%020d%s", uint64(first), suffix) }

// parseName returns the number in a segment's name.
func parseName(name string) (first LSN, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return LSN(n), ok && err == nil && segmentName(LSN(n)) == name
}

func (l *Log) path(name string) string { return filepath.Join(l.cfg.Dir, name) }

// last is the segment that is written to.
func (l *Log) last() *segment {
	segments := *l.segments.Load()
	return segments[len(segments)-1]
}

// begin makes the segment whose header stands at base. The one before it is
// synced first, as only the last segment may have a torn tail, and the header
// before any batch follows, so that a segment without one never held anything.
func (l *Log) begin(first LSN, base Ref) error {
	h := header{format: l.cfg.Format, first: first, base: base}
	if len(*l.segments.Load()) > 0 {
		old := l.last()
		h.previous = uint64(base - old.base)
		if l.cfg.NoSync {
			if err := l.sync(old); err != nil {
				return err
			}
			l.synced = first - 1
		}
	}
	if _, err := rand.Read(h.salt[:]); err != nil {
		return err
	}
	s := &segment{header: h, seed: seed(h.salt[:]), name: segmentName(first)}
	file, err := l.cfg.FS.Open(l.path(s.name), true)
	if err != nil {
		return err
	}
	s.file = file
	l.mu.Lock()
	l.setSegments(append(slices.Clone(*l.segments.Load()), s))
	l.mu.Unlock()
	if err := l.store(&batch{base: base, buf: h.encode()}, true); err != nil {
		return err
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

// setSegments publishes a new list to readers.
func (l *Log) setSegments(list []*segment) { l.segments.Store(&list) }

// Sealed returns how many segments there are before the last one.
func (l *Log) Sealed() int { return len(*l.segments.Load()) - 1 }

// Segments describes the files of the log, oldest first; the last one is written
// to, and described as far as it is durable.
func (l *Log) Segments() []Segment {
	end, durable := Ref(l.durableEnd.Load()), l.Durable()
	list := *l.segments.Load()
	out := make([]Segment, len(list))
	for i, s := range list {
		out[i] = s.describe(durable, int64(max(end, s.base)-s.base))
		if i+1 < len(list) {
			out[i] = s.describe(list[i+1].first-1, int64(list[i+1].previous))
		}
	}
	return out
}

func (s *segment) describe(last LSN, size int64) Segment {
	return Segment{First: s.first, Last: max(last, s.first-1), Base: s.base, Size: size, Salt: binary.LittleEndian.Uint64(s.salt[:])}
}

// DropBefore removes the oldest segments as long as all their records are
// numbered below lsn; the last segment stays. To drop it too, Seal, and enqueue
// again what is still of use. Addresses of dropped records are no longer valid.
func (l *Log) DropBefore(lsn LSN) error {
	l.dropping.Lock()
	defer l.dropping.Unlock()
	for {
		list := *l.segments.Load()
		if len(list) < 2 || list[1].first > lsn {
			return nil
		}
		// One at a time, each made durable: the disk may reorder removals, and
		// a hole in the middle would be damage.
		if err := l.cfg.FS.Remove(l.path(list[0].name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := l.cfg.FS.SyncDir(l.cfg.Dir); err != nil {
			return err
		}
		l.forget(list[0])
	}
}

// forget takes the oldest segment off the list, which may have grown meanwhile.
func (l *Log) forget(oldest *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := *l.segments.Load()
	if len(list) > 0 && list[0] == oldest {
		l.setSegments(list[1:])
		_ = oldest.file.Close() // removed: there is nothing left to lose
	}
}
