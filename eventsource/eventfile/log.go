package eventfile

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/id"
	"github.com/keelson-go/keelson/eventsource/internal/index"
	"github.com/keelson-go/keelson/internal/wal"
)

// Config are the settings of a [Log]. The zero Config is the safe one.
type Config struct {
	// SegmentSize is the length in bytes at which a file of the log ends and
	// the next one begins. Zero means 64 MiB.
	SegmentSize int64

	// NoSync acknowledges appends that were written and not synced: they
	// survive the process, not the machine, and what the machine loses is the
	// end of the log. Zero means fsync before acknowledge.
	NoSync bool

	// VerifyOnOpen reads every record and checks it in Open, a few seconds per
	// gigabyte. Zero means that a file which is complete, and has its index
	// beside it, is checked when it is read.
	VerifyOnOpen bool
}

// Log is a store in a directory. It implements [eventsource.Store] and
// [eventsource.Checkpoints], and is safe for concurrent use. Open it with
// [Open].
type Log struct {
	cfg   Config
	dir   string
	set   settings
	wal   *wal.Log
	maker id.Maker
	era   string       // see Incarnation; "" is unknown
	seed  maphash.Seed // of the hashes of ids

	drafts sync.Pool // of *draft

	index *index.Index
	ids   index.Table          // hashes of callers' ids
	refs  index.Chunks[uint64] // where the record of each position is
	last  atomic.Uint32        // enqueued: index, ids and refs are complete up to here
	head  atomic.Uint32        // durable: what Head, Read and Wait see

	mu      sync.Mutex // guards what follows, and writing to the index
	micros  int64      // the last event's time
	pending []pending  // enqueued and not yet durable
	tracked map[string]tracked
	failed  error // why nothing will become durable any more
	appends uint64
	bytes   uint64 // of the index, about

	checkpoints *checkpoints
	signal      signal
	closed      atomic.Bool
	closing     sync.Once
	closeErr    error
	sealed      chan struct{} // kicks the goroutine that writes sidecars
	stop        chan struct{}
	background  sync.WaitGroup
}

// settings are what tests change.
type settings struct {
	fs       wal.FS
	hashMask uint64
	now      func() time.Time
	sidecars bool // off: the file system is no real one; then there is no incarnation either
}

// pending is a record that was enqueued.
type pending struct {
	ticket wal.Ticket
	last   uint32 // position of the last event by then
}

// tracked is what Track recorded for a source.
type tracked struct {
	position eventsource.Position
	lsn      wal.LSN
}

// maxEvents is how many a log holds: positions have 32 bits in memory.
const maxEvents = math.MaxUint32 - 1

// Open opens the log in dir, and makes the directory if there is none. It
// refuses a directory that another Log has open ("locked"); after a kill -9 it is
// free at once. A torn end, which nobody was told to be durable, is cut off;
// any other damage that Open sees is [eventsource.ErrCorrupt], and nothing is
// changed, but that an index that does not fit its file is removed.
//
// It reads the last file, and of each file before it the small index beside
// it, or the whole file where that is missing: see the benchmarks for the cost.
func Open(dir string, cfg Config) (*Log, error) {
	return open(dir, cfg, settings{hashMask: math.MaxUint64, now: time.Now, sidecars: true})
}

func open(dir string, cfg Config, set settings) (*Log, error) {
	if cfg.SegmentSize < 0 {
		return nil, fmt.Errorf("%w: Config.SegmentSize: %d, zero or more", eventsource.ErrInvalid, cfg.SegmentSize)
	}
	l := &Log{
		cfg: cfg, dir: dir, set: set, seed: maphash.MakeSeed(), index: index.New(set.hashMask),
		tracked: map[string]tracked{}, sealed: make(chan struct{}, 1), stop: make(chan struct{}),
		drafts: sync.Pool{New: func() any { return &draft{} }},
	}
	r := &replay{log: l, sidecars: reload{log: l}}
	var err error
	l.wal, err = wal.Open(wal.Config{
		Dir: dir, Format: formatEvents, SegmentSize: cfg.SegmentSize, NoSync: cfg.NoSync, FS: set.fs,
		Sealed: r.segment, OnBatch: l.onBatch,
	}, r.record)
	if err != nil {
		return nil, translate(err)
	}
	first := l.wal.Segments()[0]
	if first.First != 1 {
		return nil, errors.Join(fmt.Errorf("%w: %s: the first file is missing", eventsource.ErrCorrupt, dir), l.wal.Close())
	}
	if err := r.end(); err != nil {
		return nil, errors.Join(err, l.wal.Close())
	}
	l.dropLastSidecar()
	l.maker = id.MakerOf(first.Salt)
	l.head.Store(l.last.Load())
	l.checkpoints, err = openCheckpoints(filepath.Join(dir, "checkpoints"), cfg, set)
	if err != nil {
		return nil, errors.Join(translate(err), l.wal.Close())
	}
	if set.sidecars {
		if l.era, err = enterEra(dir); err != nil {
			return nil, errors.Join(err, l.checkpoints.close(), l.wal.Close())
		}
		l.background.Go(l.writeSidecars)
	}
	return l, nil
}

// Close finishes the appends in flight, marks a clean end, and gives the
// directory free. Later calls of it return the same, of everything else
// [eventsource.ErrClosed]. After a failed write it returns that failure.
//
// End every [eventsource.Projection.Run] on the log before, and wait until it has
// returned. One that finds the log closed ends too, but cannot give its partitions back:
// whoever opens the log next waits for its Lease.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.closed.Store(true)
		close(l.stop)
		l.background.Wait()
		if l.set.sidecars { // while the directory is locked
			l.closeErr = leaveEra(l.dir)
		}
		l.closeErr = errors.Join(l.closeErr, translate(l.wal.Close()), l.checkpoints.close())
		l.signal.raise()
	})
	return l.closeErr
}

// usable returns nil, or why not.
func (l *Log) usable(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if l.closed.Load() {
		return eventsource.ErrClosed
	}
	return nil
}

// Head implements [eventsource.Store]: the position of the last event that is
// durable.
func (l *Log) Head(ctx context.Context) (eventsource.Position, error) {
	if err := l.usable(ctx); err != nil {
		return 0, err
	}
	return eventsource.Position(l.head.Load()), nil
}

// Wait implements [eventsource.Store]. It returns [eventsource.ErrClosed] when
// nothing will come any more.
func (l *Log) Wait(ctx context.Context, after eventsource.Position) error {
	for {
		raised := l.signal.next()
		if err := l.usable(ctx); err != nil {
			return err
		}
		if eventsource.Position(l.head.Load()) > after {
			return nil
		}
		if err := l.failure(); err != nil {
			return err
		}
		select {
		case <-raised:
		case <-ctx.Done():
		}
	}
}

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// onBatch publishes what has become durable.
func (l *Log) onBatch(durable wal.LSN, err error) {
	l.mu.Lock()
	n := 0
	for n < len(l.pending) && l.pending[n].ticket.LSN <= durable {
		l.head.Store(l.pending[n].last)
		n++
	}
	l.pending = append(l.pending[:0], l.pending[n:]...)
	l.appends += uint64(n)
	if err != nil {
		l.failed = translate(err)
	}
	l.mu.Unlock()
	l.signal.raise()
	select {
	case l.sealed <- struct{}{}:
	default:
	}
}

// translate gives an error of the wal the sentinel of this package's contract.
func translate(err error) error {
	for _, pair := range [...]struct{ from, to error }{
		{wal.ErrUncertain, eventsource.ErrUncertain},
		{wal.ErrCorrupt, eventsource.ErrCorrupt},
		{wal.ErrClosed, eventsource.ErrClosed},
		{wal.ErrPoisoned, eventsource.ErrClosed},
		{errRecord, eventsource.ErrCorrupt},
	} {
		if errors.Is(err, pair.from) {
			return fmt.Errorf("%w: %w", pair.to, err)
		}
	}
	return err
}

// Stats describes a [Log]. Totals count from Open.
type Stats struct {
	Events     uint64 `json:"events"`     // in the log
	Appends    uint64 `json:"appends"`    // that became durable
	Syncs      uint64 `json:"syncs"`      // fsyncs of the event log; checkpoints have their own
	Segments   uint64 `json:"segments"`   // files of the event log
	Bytes      uint64 `json:"bytes"`      // their length
	IndexBytes uint64 `json:"indexBytes"` // memory of the index, about
	NoSync     bool   `json:"noSync"`
	Poisoned   string `json:"poisoned"` // the write or fsync that failed; "" while all is well
}

// Stats returns a snapshot, also of a closed log.
func (l *Log) Stats() Stats {
	w := l.wal.Stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Events: uint64(l.head.Load()), Appends: l.appends, IndexBytes: l.bytes,
		Syncs: w.Syncs, Segments: w.Segments, Bytes: w.Bytes, NoSync: w.NoSync, Poisoned: w.Poisoned,
	}
	if s.Poisoned == "" {
		s.Poisoned = l.checkpoints.log.Stats().Poisoned
	}
	return s
}

// signal wakes whoever waits. The zero signal is ready.
type signal struct {
	mu     sync.Mutex
	raised chan struct{} // nil while nobody waits
}

// next returns a channel that the next raise closes.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised == nil {
		s.raised = make(chan struct{})
	}
	return s.raised
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised != nil {
		close(s.raised)
		s.raised = nil
	}
}
