package eventsource

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource/internal/index"
)

// Memory is a [Store] and [Checkpoints] in the memory of the process: for
// tests, for development, and for what may be lost with the process. Positions
// are 1, 2, 3 ... without holes, Head is the last one, and Time never decreases
// at all. Make one with [NewMemory].
//
// An append costs a quarter to half a microsecond and allocates nothing but its
// share of a slab of 1 MiB, whatever the store holds; the garbage collector has
// nothing to scan in the events. Readers take no lock. It holds 4 billion
// events.
type Memory struct {
	index *index.Index
	now   func() time.Time
	ids   ids

	// What every append writes is side by side, and away from what it reads
	// before the lock.
	mu     sync.Mutex    // the writer's: guards what follows, and writing to index and ids
	head   atomic.Uint32 // published: records, lists and ids up to it are final
	micros int64         // the last event's time
	slabs  slabs
	signal signal
	tags   []uint32 // scratch

	records records // checkpoints, and what is tracked
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return newMemory(math.MaxUint64, time.Now) }

// newMemory is NewMemory with a mask for every hash, and with a clock.
func newMemory(hashMask uint64, now func() time.Time) *Memory {
	return &Memory{ids: newIDs(hashMask), index: index.New(hashMask), now: now}
}

// Append implements [Store].
func (m *Memory) Append(ctx context.Context, events []Event, conds ...Condition) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	// Before the lock, which others wait for; and before Validate, which runs while
	// memory answers.
	now, stream := m.now().UnixMicro(), m.streamOf(events)
	if err := Validate(events, conds...); err != nil {
		return Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Streams.Expect(stream)
	if r, err := m.repeat(events); err != nil || r.Duplicate {
		return r, err
	}
	if err := m.check(conds); err != nil {
		return Result{}, err
	}
	last := m.head.Load()
	if uint64(last)+uint64(len(events)) >= math.MaxUint32 {
		return Result{}, invalid("append", fmt.Sprintf("%d events after %d", len(events), last), "a Memory holds less than 2^32")
	}
	m.track(conds)
	if len(events) == 0 {
		return Result{First: Position(last), Last: Position(last)}, nil
	}
	return m.write(last, now, events), nil
}

// streamOf looks for the first event's stream, 0 if there is none yet: most
// appends write to one stream that is known.
func (m *Memory) streamOf(events []Event) (number uint32) {
	if len(events) == 0 {
		return 0
	}
	return m.index.Streams.Number(events[0].Stream)
}

// repeat compares the ids with those recorded. The Result is a Duplicate, or
// zero when no id is known.
func (m *Memory) repeat(events []Event) (r Result, err error) {
	known, after, last := 0, uint32(0), m.head.Load()
	for i := range events {
		e := &events[i]
		if e.ID == "" {
			continue
		}
		pos, ok := m.ids.find(&m.slabs, e.ID, last)
		if !ok {
			continue
		}
		old := m.slabs.at(pos)
		if known != i || pos < after || m.index.Streams.Text(old.stream()) != e.Stream || m.index.Types.Text(old.typ()) != e.Type {
			return Result{}, notTheSame(e.ID)
		}
		if known++; known == 1 {
			r.First = Position(pos)
		}
		r.Last, r.Version, after = Position(pos), old.version(), pos
	}
	if known == 0 {
		return Result{}, nil
	}
	if known < len(events) {
		return Result{}, notTheSame(events[0].ID)
	}
	r.Duplicate = true
	return r, nil
}

func notTheSame(id string) error {
	return invalid("Event.ID", fmt.Sprintf("%q is recorded", id), "a repeat has all ids of the first append, with their streams and types, in order")
}

// check returns nil if all conditions hold.
func (m *Memory) check(conds []Condition) error {
	for i := range conds {
		if version, pos, ok := m.holds(&conds[i]); !ok {
			return &ConflictError{Condition: conds[i], Index: i, Version: version, Position: pos}
		}
	}
	return nil
}

// holds also returns what a ConflictError says.
func (m *Memory) holds(c *Condition) (version uint64, pos Position, ok bool) {
	switch c.kind {
	case kindVersion:
		version = m.index.Version(c.name)
		return version, 0, version == c.num
	case kindExists:
		return 0, 0, m.index.Version(c.name) > 0
	case kindTrack:
		pos = m.records.tracked(c.name)
		return 0, pos, pos < Position(c.num)
	default: // NoneSince
		last := m.head.Load()
		if c.num >= uint64(last) {
			return 0, 0, true
		}
		for _, it := range c.query {
			pos = max(pos, Position(m.index.Newest(it, uint32(c.num), last)))
		}
		return 0, pos, pos == 0
	}
}

func (m *Memory) track(conds []Condition) {
	for i := range conds {
		if c := &conds[i]; c.kind == kindTrack {
			m.records.track(c.name, Position(c.num))
		}
	}
}

// write cannot fail any more. It publishes all events at once.
func (m *Memory) write(last uint32, now int64, events []Event) Result {
	m.micros = max(m.micros, now)
	pos, version := last, uint32(0)
	for i := range events {
		pos++
		version = m.record(pos, &events[i])
	}
	m.head.Store(pos)
	m.signal.raise()
	return Result{First: Position(last) + 1, Last: Position(pos), Version: uint64(version)}
}

// record writes to memory that no cache has. It starts with what is farthest, and
// publishes at the end, where it must wait for all of it once.
func (m *Memory) record(pos uint32, e *Event) (version uint32) {
	stream, typ := m.index.Streams.Intern(e.Stream), m.index.Types.Intern(e.Type)
	ofStream, ofType := m.index.Streams.List(stream), m.index.Types.List(typ)
	if e.Stream != "" {
		version = uint32(ofStream.Len()) + 1
	}
	ofStream.Put(pos)
	ofType.Put(pos)
	m.tags = m.tags[:0]
	for _, text := range e.Tags {
		tag := m.index.Tags.Intern(text)
		if list := m.index.Tags.List(tag); list.Last() != pos { // not repeated
			list.Append(pos)
			m.tags = append(m.tags, tag)
		}
	}
	id := kindOf(e.ID)
	putRecord(m.slabs.put(pos, recordSize(e, len(m.tags), id.kind)), e, version, stream, typ, m.micros, m.tags, id)
	ofStream.Publish()
	ofType.Publish()
	if id.kind != idMade {
		m.ids.table.Add(m.ids.hash(e.ID), pos)
	}
	return version
}

// Head implements [Store]: the last position.
func (m *Memory) Head(ctx context.Context) (Position, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return Position(m.head.Load()), nil
}

// Wait implements [Store].
func (m *Memory) Wait(ctx context.Context, after Position) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if Position(m.head.Load()) > after {
			return nil
		}
		raised := m.signal.next()
		if Position(m.head.Load()) > after { // it came before next looked
			return nil
		}
		select {
		case <-raised:
		case <-ctx.Done():
		}
	}
}

// signal wakes whoever waits. The zero signal is ready.
type signal struct {
	waiting atomic.Bool // so that an append with nobody waiting takes no lock

	mu     sync.Mutex
	raised chan struct{} // nil while nobody waits
}

// next returns a channel that the next raise closes.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised == nil {
		s.raised = make(chan struct{})
		s.waiting.Store(true)
	}
	return s.raised
}

func (s *signal) raise() {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised != nil {
		close(s.raised)
		s.raised = nil
		s.waiting.Store(false)
	}
}
