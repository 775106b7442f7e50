package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// LSN numbers the records of a log: 1, 2, 3 ... without holes.
type LSN uint64

// Ref is the address of a record: the bytes that the log had before it, those of
// dropped segments included. Addresses ascend with numbers and hold for ever.
type Ref uint64

// Errors. Those that come from the disk wrap its error too.
var (
	// ErrCorrupt means damage to records that had been durable.
	ErrCorrupt = errors.New("wal: corrupt")

	// ErrLocked means that a log is open already, here or in another process.
	ErrLocked = errors.New("wal: locked")

	// ErrUncertain means that a record may be durable or not.
	ErrUncertain = errors.New("wal: outcome unknown")

	// ErrPoisoned means that a write or fsync failed earlier, and that this
	// record was not written.
	ErrPoisoned = errors.New("wal: poisoned by a failed write")

	// ErrClosed means that the log was closed, and nothing written.
	ErrClosed = errors.New("wal: closed")
)

// Config are the settings of a [Log].
type Config struct {
	// Dir is the directory, of this log alone. It is created.
	Dir string

	// Format says what the records are; a log of another format is refused.
	Format uint32

	// SegmentSize is the length at which a segment ends and the next one
	// begins; the batch that reaches it still fits. Zero means 64 MiB.
	SegmentSize int64

	// NoSync acknowledges records that were written and not synced: they
	// survive the process, not the machine. Segments are synced when they end.
	NoSync bool

	// MaxPending is how many bytes may be reserved at once, see [Log.Reserve].
	// Zero means 16 MiB.
	MaxPending int

	// FS is the file system. Nil means that of the operating system.
	FS FS

	// Sealed is asked during Open about each segment but the last, oldest
	// first. True skips it: its records are neither replayed nor checked. Nil
	// means none is skipped.
	Sealed func(Segment) (skip bool, err error)

	// OnBatch is called after each batch, before its tickets are served, with
	// the number of the last durable record, and once with the error that
	// poisons the log: on the goroutine that writes, one call at a time, with no
	// lock held. Nil means nobody cares.
	OnBatch func(durable LSN, err error)
}

// Segment describes one file of a log.
type Segment struct {
	First, Last LSN    // Last is First-1 while there is no record
	Base        Ref    // address of its first byte
	Size        int64  // bytes, header included
	Salt        uint64 // random, differs for every file ever made
}

// Stats describes a [Log]. Totals count from Open.
type Stats struct {
	Records  uint64 `json:"records"`  // durable ones
	Batches  uint64 `json:"batches"`  // durable ones
	Syncs    uint64 `json:"syncs"`    // of files, not of directories
	Segments uint64 `json:"segments"` // on disk now
	Bytes    uint64 `json:"bytes"`    // on disk now
	NoSync   bool   `json:"noSync"`
	Poisoned string `json:"poisoned"` // the failed write or fsync
}

// Log is an open log. Safe for concurrent use.
type Log struct {
	cfg  Config
	lock io.Closer
	room room // back-pressure

	segments atomic.Pointer[[]*segment] // ascending; replaced under mu, never changed

	durable    atomic.Uint64 // LSN of the last durable record
	durableEnd atomic.Uint64 // Ref behind it

	mu     sync.Mutex
	wake   sync.Cond // of the committer: something is queued, or closing is set
	queue  []*batch  // to be written; the last one is open to Enqueue
	flight *batch    // being written
	spare  []byte    // memory of a batch that is done
	next   LSN       // of the record to come
	end    Ref       // where the record to come may begin
	base   Ref       // address of the segment that end lies in
	first  LSN       // number of the first record there
	split  bool      // Seal was called: the record to come begins a segment
	closed bool
	dead   *batch // failed or closed: every later record's batch
	stats  Stats

	synced   LSN           // of the committer: what its next mark calls durable
	stopped  chan struct{} // the committer has ended
	dropping sync.Mutex    // one DropBefore at a time
	closing  sync.Once
	closeErr error
}

// Open opens the log in c.Dir, recovers it, and passes every record to replay
// (nil: none), in order, but for segments that c.Sealed skips. The record's data
// belongs to the log and changes after the call. An error of replay ends Open.
func Open(c Config, replay func(Record) error) (*Log, error) {
	if c.FS == nil {
		c.FS = osFS{}
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = 64 << 20
	}
	if c.MaxPending == 0 {
		c.MaxPending = 16 << 20
	}
	if c.SegmentSize < 0 || c.MaxPending < 0 {
		return nil, fmt.Errorf("wal: Config.SegmentSize is %d, Config.MaxPending %d; allowed: 0 or more", c.SegmentSize, c.MaxPending)
	}
	lock, err := c.FS.Lock(filepath.Join(c.Dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: c, lock: lock, room: room{limit: int64(c.MaxPending)}, stopped: make(chan struct{})}
	l.wake.L = &l.mu
	l.segments.Store(new([]*segment))
	if err := l.recover(replay); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	go l.commit()
	return l, nil
}

// Durable returns the number of the last durable record.
func (l *Log) Durable() LSN { return LSN(l.durable.Load()) }

// Stats returns a snapshot.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	s := l.stats
	l.mu.Unlock()
	s.NoSync = l.cfg.NoSync
	segments := *l.segments.Load()
	s.Segments = uint64(len(segments))
	if len(segments) > 0 {
		s.Bytes = l.durableEnd.Load() - uint64(segments[0].base)
	}
	return s
}

// Close writes what is enqueued and a mark of a clean end, and gives the
// directory free. Later calls do nothing and return the same. After a failure it
// only gives free, and returns that failure.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.wake.Signal()
		l.mu.Unlock()
		<-l.stopped
		l.closeErr = errors.Join(l.finish(), l.closeFiles())
	})
	return l.closeErr
}

// finish refuses records from now on and, if all went well, writes the clean
// mark. The committer has ended.
func (l *Log) finish() error {
	l.mu.Lock()
	dead := l.dead
	if dead == nil {
		l.dead = failed(ErrClosed)
	}
	l.mu.Unlock()
	l.room.close(ErrClosed)
	if dead != nil {
		return dead.err
	}
	b := &batch{base: l.end, first: l.next, buf: appendHead(nil, kindClean, markSize-frameSize, l.next)}
	b.buf = append(b.buf, make([]byte, markSize-frameSize)...)
	b.seal(l.last(), l.next-1)
	return l.store(b, true)
}

func (l *Log) closeFiles() error {
	errs := []error{}
	for _, s := range *l.segments.Load() {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(append(errs, l.lock.Close())...)
}
