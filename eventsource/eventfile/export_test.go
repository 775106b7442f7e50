package eventfile

import (
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// Settings are what tests change: the file system, how many bits of a hash
// count, the clock.
type Settings struct {
	FS       wal.FS
	HashMask uint64
	Now      func() time.Time
}

// OpenWith is Open with other settings.
func OpenWith(dir string, cfg Config, s Settings) (*Log, error) {
	if s.HashMask == 0 {
		s.HashMask = math.MaxUint64
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return open(dir, cfg, settings{fs: s.FS, hashMask: s.HashMask, now: s.Now, sidecars: s.FS == nil})
}

// FormatEvents is the format of the event log.
const FormatEvents = formatEvents

// FinishSidecars returns when every file that is complete by now has its index.
// The goroutine takes the second of three kicks after the pass for the first.
func (l *Log) FinishSidecars() {
	for range 3 {
		l.sealed <- struct{}{}
	}
}

// EncodeRecord is the record of an append.
func EncodeRecord(events ...eventsource.Event) []byte {
	d := &draft{}
	d.encode(events, []eventsource.Condition{eventsource.Track("source", 5)}, func(string) uint64 { return 0 })
	d.place(1, 1_000_000)
	return d.buf
}

// DecodeRecord decodes all that a record can be asked for.
func DecodeRecord(b []byte) (events []eventsource.Recorded, err error) {
	s := &stored{}
	if err := s.parse(b); err != nil {
		return nil, err
	}
	s.sources(func(string, eventsource.Position) {})
	for i := range s.at {
		var e eventsource.Recorded
		if err := s.event(i, id.MakerOf(1), &e); err != nil {
			return nil, err
		}
		if _, err := s.names(i, nil); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// DecodeCheckpoint decodes a record of the checkpoints.
func DecodeCheckpoint(b []byte) { _, _, _, _ = parseCheckpoint(b) }

var fuzzed = wal.Segment{First: 1, Last: 1, Base: 0, Size: 100, Salt: 1}

// EncodeSidecar is the sidecar of a segment with one append.
func EncodeSidecar(events ...eventsource.Event) []byte {
	l := &Log{index: index.New(math.MaxUint64)}
	for i, e := range events {
		l.add(uint32(i+1), e.Stream, e.Type, e.Tags)
	}
	g := newGatherer(fuzzed, l.index)
	if err := g.record(wal.Record{LSN: 1, Ref: 100, Data: EncodeRecord(events...)}); err != nil {
		panic(err)
	}
	b, err := g.finish(&[3]chain{})
	if err != nil {
		panic(err)
	}
	return b
}

// DecodeSidecar adds b, but its checksum, to an index, as if its head were right.
func DecodeSidecar(b []byte) (ok bool) {
	if len(b) < sidecarHead+4 {
		return false
	}
	l := &Log{index: index.New(math.MaxUint64), tracked: map[string]tracked{}, seed: maphash.MakeSeed()}
	r := reload{log: l}
	if !r.queue(fuzzed, string(b[:len(b)-4])) || r.fill() != nil {
		return false
	}
	for _, names := range kinds(l.index) {
		for i := range names.Len() {
			if last := names.List(uint32(i + 1)).Last(); last > l.last.Load() {
				panic(fmt.Sprint("event ", last, " of ", l.last.Load()))
			}
		}
	}
	return true
}
