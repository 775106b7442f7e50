package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Store is an event store in a database. It is an [eventsource.Store] and
// [eventsource.Checkpoints], and adds [Store.AppendTx]. Make it with [Open].
//
// Any number of Stores, in any number of processes, may work on the same
// tables. A Store that is neither called nor waited on sends no statements and
// has no goroutines.
type Store struct {
	db      *sql.DB
	dialect sqldb.Dialect
	cfg     Config
	sql     statements
	hash    hasher
	stats   counters
	poller  poller
	group   *group // nil: every append is its own transaction, on its caller's goroutine

	seen   atomic.Uint64 // the greatest Head so far; it never falls
	inTx   atomic.Bool   // the pool's default isolation is not READ COMMITTED
	ctx    context.Context
	cancel context.CancelFunc
	closed atomic.Bool
	work   sync.WaitGroup // poller and group, while they run
}

// Stats are totals since Open. They count what this Store did, not what is in
// the tables.
type Stats struct {
	Dialect    string `json:"dialect"`    // "postgres" or "sqlite"
	Appends    uint64 `json:"appends"`    // that wrote, or tracked, or checked their conditions; those of AppendTx too, whatever became of its transaction
	Events     uint64 `json:"events"`     // that these wrote
	Conflicts  uint64 `json:"conflicts"`  // appends refused by a condition
	Duplicates uint64 `json:"duplicates"` // appends whose ids were known
	Commits    uint64 `json:"commits"`    // transactions of Append that were committed; fewer than Appends with GroupCommit
	Resent     uint64 `json:"resent"`     // appends sent a second time because the connection was lost
	HeadPolls  uint64 `json:"head_polls"` // statements that asked for the head
}

type counters struct {
	appends, events, conflicts, duplicates, commits, resent, headPolls atomic.Uint64
}

func newStore(db *sql.DB, d sqldb.Dialect, cfg Config, mask uint64) *Store {
	s := &Store{db: db, dialect: d, cfg: cfg, sql: newStatements(d, cfg.Prefix), hash: hasher(mask)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.poller.poke = make(chan struct{}, 1)
	if d == sqldb.SQLite || cfg.GroupCommit > 1 {
		s.group = &group{s: s}
	}
	return s
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Dialect: s.dialect.String(), Appends: c.appends.Load(), Events: c.events.Load(),
		Conflicts: c.conflicts.Load(), Duplicates: c.duplicates.Load(), Commits: c.commits.Load(),
		Resent: c.resent.Load(), HeadPolls: c.headPolls.Load(),
	}
}

// closeGrace is how long Close lets a commit in flight finish.
const closeGrace = 5 * time.Second

// Close ends what runs in the background: it refuses what is queued, waits for
// the group of appends in flight, for at most five seconds, and ends every
// Wait. Later calls return [eventsource.ErrClosed]; calls that run on their
// callers' goroutines finish. The *sql.DB stays open. Closing again does
// nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		s.work.Wait()
		return nil
	}
	if s.group != nil {
		s.group.close()
	}
	s.poller.close()
	grace := time.AfterFunc(closeGrace, s.cancel)
	s.work.Wait()
	grace.Stop()
	s.cancel()
	return nil
}

// ready is the beginning of every call.
func (s *Store) ready(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.closed.Load() {
		return fmt.Errorf("%w: eventsql: the Store was closed", eventsource.ErrClosed)
	}
	return nil
}

// ended returns err, with the cause in it if it is ctx that has ended: drivers
// return what they make of it.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
