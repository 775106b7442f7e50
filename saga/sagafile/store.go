package sagafile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/internal/wal"
	"github.com/keelson-go/keelson/saga"
)

// ErrCorrupt means damage to what had been durable. The file named in the error is
// left as it is.
var ErrCorrupt error = &failed{errors.New("sagafile: corrupt")}

// errClosed is what calls after Close return. It matches [fs.ErrClosed].
var errClosed error = &failed{fmt.Errorf("sagafile: the store was closed: %w", fs.ErrClosed)}

// failed is an error after which the same call fails again.
type failed struct{ error }

func (e *failed) Unwrap() error   { return e.error }
func (e *failed) Retryable() bool { return false }

// Config are the settings of a [Store]. The zero Config is the safe one.
type Config struct {
	// SegmentSize is the length in bytes at which a file of the log ends and the
	// next one begins. Zero means 64 MiB.
	SegmentSize int64

	// NoSync acknowledges commits that were written and not synced: they survive
	// the process, not the machine. Zero means fsync before acknowledge.
	NoSync bool
}

// Store is a [saga.Store] in a directory. It also has Purge and Durability. It is
// safe for concurrent use. Open it with [Open].
type Store struct {
	cfg    Config
	log    *wal.Log
	closed atomic.Bool
	poison atomic.Pointer[error] // set by the first failed write
	bufs   sync.Pool             // of *[]byte

	purging sync.Mutex // one Purge at a time

	mu     sync.Mutex // guards what follows
	sagas  map[string]*entry
	defs   map[defKey]*definition
	queues map[*definition]*dueQueue
	owners map[string]*owner
	dead   map[string]struct{} // owners whose lease ran out
	ended  []ending            // sagas in the order in which they ended
	tail   wal.Ticket          // of the newest frame
	clock  int64               // the newest time given out
}

type defKey struct {
	name, shape string
	version     int
}

// owner is who has a lease. Leases live in memory: with the process, all end.
type owner struct {
	name  string
	until time.Time // by the monotonic clock
	sagas map[*entry]struct{}
	mail  map[*entry]struct{} // of its sagas those with unread messages
}

// ending notes that a saga ended then; it may have been reversed since.
type ending struct {
	e  *entry
	at int64
}

// Open opens the store in dir, and makes the directory if there is none. It
// refuses one that is open already, here or in another process; after a kill -9 it
// is free at once. A torn end, which nobody was told to be durable, is cut off;
// any other damage is [ErrCorrupt], and nothing is changed.
//
// It reads the whole log. Everything that the process before held is due.
func Open(dir string, cfg Config) (*Store, error) {
	return open(dir, cfg, nil)
}

func open(dir string, cfg Config, files wal.FS) (*Store, error) {
	if cfg.SegmentSize < 0 {
		return nil, fmt.Errorf("sagafile: Config.SegmentSize is %d; allowed: 0 or more", cfg.SegmentSize)
	}
	s := &Store{
		cfg: cfg, bufs: sync.Pool{New: func() any { return new([]byte) }},
		sagas: map[string]*entry{}, defs: map[defKey]*definition{}, queues: map[*definition]*dueQueue{},
		owners: map[string]*owner{}, dead: map[string]struct{}{},
	}
	log, err := wal.Open(wal.Config{
		Dir: dir, Format: formatSagas, SegmentSize: cfg.SegmentSize, NoSync: cfg.NoSync, FS: files,
		OnBatch: func(_ wal.LSN, err error) {
			if err != nil {
				s.poison.CompareAndSwap(nil, &err)
			}
		},
	}, s.replay)
	if err != nil {
		return nil, fmt.Errorf("sagafile: open: %w", translate(err))
	}
	s.log = log
	s.recovered()
	return s, nil
}

// recovered makes due what the process before held, and lines up the rest.
func (s *Store) recovered() {
	now := s.now()
	for _, e := range s.sagas {
		if e.held {
			e.held = false
			e.wakeAt = dueAfter(e.state, now)
		}
		if e.state.Ended() {
			s.ended = append(s.ended, ending{e, e.updated})
		}
		s.place(e)
	}
	slices.SortFunc(s.ended, func(a, b ending) int { return int(a.at - b.at) })
}

// dueAfter is when a saga that somebody let go of is due: at now, or never.
func dueAfter(state saga.State, now int64) int64 {
	if state.Ended() || state == saga.Stuck {
		return 0
	}
	return now
}

// Durability returns "fsync", or "relaxed" with Config.NoSync.
func (s *Store) Durability() string {
	if s.cfg.NoSync {
		return "relaxed"
	}
	return "fsync"
}

// Close writes what is under way and gives the directory free. Later calls do
// nothing; those of other methods match [fs.ErrClosed].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.log.Close(); err != nil {
		return fmt.Errorf("sagafile: close: %w", err)
	}
	return nil
}

// now is the time, which never goes back. The lock is held.
func (s *Store) now() int64 {
	s.clock = max(s.clock, time.Now().UnixNano())
	return s.clock
}

// ready is the beginning of every call.
func (s *Store) ready(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.closed.Load():
		return errClosed
	}
	if err := s.poison.Load(); err != nil {
		return translate(*err)
	}
	return nil
}

// wait returns when everything up to t is durable. The order of the log is the
// order of changes, so that nobody is told what a crash might take back.
func (s *Store) wait(ctx context.Context, t wal.Ticket) error {
	if t.LSN != 0 && t.LSN <= s.log.Durable() {
		return nil
	}
	return translate(t.Wait(ctx))
}

// translate gives errors of the log the names and the behaviour of this package.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wal.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, wal.ErrClosed):
		return errClosed
	case errors.Is(err, wal.ErrPoisoned):
		return &failed{fmt.Errorf("sagafile: open the store anew: %w", err)}
	}
	return err
}

// definition returns the one of a header.
func (s *Store) definition(sum *saga.Summary) *definition {
	key := defKey{sum.Name, sum.Shape, sum.Version}
	d := s.defs[key]
	if d == nil {
		name := fmt.Sprintf("%s@%d", sum.Name, sum.Version)
		d = &definition{
			name: sum.Name, shape: sum.Shape, version: sum.Version,
			any: name, exact: name + "/" + sum.Shape, steps: map[string]string{},
		}
		s.defs[key] = d
	}
	return d
}

// enqueue puts a frame at the end of the log. The lock is held and there is room.
func (s *Store) enqueue(parts ...[]byte) wal.Ticket {
	s.tail = s.log.Enqueue(parts...)
	return s.tail
}

// ids returns the ids, ascending.
func ids(of map[*entry]struct{}) []string {
	out := make([]string, 0, len(of))
	for e := range maps.Keys(of) {
		out = append(out, e.id)
	}
	slices.Sort(out)
	return out
}
