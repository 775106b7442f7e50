package eventfile

import (
	"fmt"
	"hash/maphash"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/internal/wal"
)

// add puts an event into the lists of its names, and returns its version.
func (l *Log) add(pos uint32, stream, typ string, tags []string) (version uint32) {
	s := l.index.Streams.Intern(stream)
	list := l.index.Streams.List(s)
	if stream != "" {
		version = uint32(list.Len()) + 1
	}
	list.Append(pos)
	t := l.index.Types.Intern(typ)
	l.index.Types.List(t).Append(pos)
	for _, tag := range tags {
		if list := l.index.Tags.List(l.index.Tags.Intern(tag)); list.Last() != pos { // not repeated
			list.Append(pos)
			l.bytes += 4
		}
	}
	l.bytes += 8
	return version
}

// place says where the record of an event is.
func (l *Log) place(pos uint32, ref wal.Ref) {
	l.refs.Grow(pos)
	*l.refs.At(pos) = uint64(ref)
	l.bytes += 8
}

func (l *Log) addID(hash uint64, pos uint32) {
	l.ids.Add(hash, pos)
	l.bytes += 16
}

// hash is what ids are found by. It differs from process to process, so that
// nobody can choose ids that collide.
func (l *Log) hash(text string) uint64 { return maphash.String(l.seed, text) & l.set.hashMask }

// find reads the event with an id, among those up to last. A hash, or the
// position that an id of this log's making carries, only says where to look.
func (l *Log) find(at *fetcher, text string, hash uint64, last uint32) (e eventsource.Recorded, ok bool, err error) {
	if u, isUUID := id.Parse(text); isUUID {
		if pos, is := l.maker.Position(u); is && pos > 0 && pos <= last {
			if e, err = at.event(pos); err != nil || e.ID == text {
				return e, err == nil, err
			}
		}
	}
	_, ok = l.ids.Find(hash, func(pos uint32) bool {
		if pos > last || err != nil {
			return false
		}
		e, err = at.event(pos)
		return err == nil && e.ID == text
	})
	return e, ok, err
}

// repeat compares the ids of an append with those recorded up to last. The
// Result is a Duplicate, or zero when no id is known. With ErrInvalid, Last is
// what that rests on.
func (l *Log) repeat(d *draft, events []eventsource.Event, last uint32) (r eventsource.Result, err error) {
	if len(d.ids) == 0 {
		return r, nil
	}
	at := l.fetcher()
	known := 0
	for _, given := range d.ids {
		old, ok, err := l.find(at, given.text, given.hash, last)
		if err != nil {
			return r, err
		}
		if !ok {
			continue
		}
		fits := known == given.event && old.Position > r.Last &&
			old.Stream == events[given.event].Stream && old.Type == events[given.event].Type
		if r.Last, r.Version = max(r.Last, old.Position), old.Version; !fits {
			return r, notTheSame(given.text)
		}
		if known++; known == 1 {
			r.First = old.Position
		}
	}
	if known > 0 && known < len(events) {
		return r, notTheSame(events[0].ID)
	}
	r.Duplicate = known > 0
	return r, nil
}

func notTheSame(id string) error {
	return fmt.Errorf("%w: Event.ID: %q is recorded, a repeat has all ids of the first append, with their streams and types, in order",
		eventsource.ErrInvalid, id)
}

// newer says whether one of the ids may have been recorded after seen. The
// caller has the lock, so no record is read: a hash is enough to look again.
func (l *Log) newer(d *draft, seen uint32) bool {
	if l.last.Load() == seen {
		return false
	}
	for _, given := range d.ids {
		if _, ok := l.ids.Find(given.hash, func(pos uint32) bool { return pos > seen }); ok {
			return true
		}
		if pos, ok := l.maker.Position(given.uuid); ok && given.kind == idUUID && pos > seen && pos <= l.last.Load() {
			return true
		}
	}
	return false
}

// replay builds the index when a log is opened.
type replay struct {
	log      *Log
	rec      stored
	tags     []string
	sidecars reload
}

// record takes one record, in order.
func (r *replay) record(rec wal.Record) error {
	l := r.log
	if err := r.end(); err != nil {
		return err
	}
	if err := r.rec.parse(rec.Data); err != nil {
		return fmt.Errorf("record %d: %w", rec.LSN, err)
	}
	last := l.last.Load()
	if r.rec.first != last+1 {
		return fmt.Errorf("%w: record %d begins with event %d after event %d", eventsource.ErrCorrupt, rec.LSN, r.rec.first, last)
	}
	for i := range r.rec.at {
		n, err := r.rec.names(i, r.tags[:0])
		if err != nil {
			return fmt.Errorf("record %d, event %d: %w", rec.LSN, last+1, err)
		}
		last++
		if version := l.add(last, n.stream, n.typ, n.tags); version != n.version {
			return fmt.Errorf("%w: event %d has version %d, the stream is at %d", eventsource.ErrCorrupt, last, n.version, version)
		}
		l.place(last, rec.Ref)
		if n.id != "" {
			l.addID(l.hash(n.id), last)
		}
		r.tags = n.tags
	}
	r.rec.sources(func(source string, p eventsource.Position) { l.tracked[source] = tracked{p, rec.LSN} })
	l.micros = max(l.micros, r.rec.micros)
	l.last.Store(last)
	return nil
}

// segment takes a whole segment from its sidecar, if there is a good one.
func (r *replay) segment(s wal.Segment) (skip bool, err error) {
	if r.log.cfg.VerifyOnOpen || !r.log.set.sidecars {
		return false, nil
	}
	return r.sidecars.segment(s)
}

// end takes in the sidecars that wait.
func (r *replay) end() error {
	if len(r.sidecars.line) == 0 {
		return nil
	}
	return r.sidecars.fill()
}
