package eventsql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Append implements [eventsource.Store]. On Postgres it is one round trip and
// one transaction, or its share of one, see [Config].GroupCommit.
//
// A connection that is lost during the commit leaves open whether the events
// are there. Append then sends them once more, with the same ids, and so finds
// out; only if that fails, too, does it return [eventsource.ErrUncertain]. An
// append that only tracks has no ids and is not sent again.
func (s *Store) Append(ctx context.Context, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	r, err := s.request(ctx, events, conds)
	if err != nil {
		return eventsource.Result{}, err
	}
	if s.group != nil {
		return s.group.append(ctx, r)
	}
	return s.send(ctx, r, s.direct)
}

// request checks an append.
func (s *Store) request(ctx context.Context, events []eventsource.Event, conds []eventsource.Condition) (*request, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := eventsource.Validate(events, conds...); err != nil {
		return nil, err
	}
	for _, c := range conds {
		if _, p, ok := c.Track(); ok && clamp(uint64(p)) != int64(p) {
			return nil, fmt.Errorf("%w: Track: position %d, at most 2^63-1", eventsource.ErrInvalid, p)
		}
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return newRequest(events, conds)
}

// attempt carries a request out in a transaction of its own. sent tells, beside
// an error, whether it may have reached the database.
type attempt func(ctx context.Context, r *request) (v verdict, sent bool, err error)

// maxStale is how many dead connections of the pool are passed over. A server
// that was restarted leaves all of them dead.
const maxStale = 100

// send carries r out until there is an answer. What the server has refused can
// be sent again without harm, and is, where that helps: a deadlock, or an id
// that a twin has written in the meantime. What was lost is sent again once.
func (s *Store) send(ctx context.Context, r *request, try attempt) (eventsource.Result, error) {
	for n := 0; ; n++ {
		v, sent, err := try(ctx, r)
		switch {
		case err == nil:
			s.stats.commits.Add(1)
			return s.conclude(ctx, s.db, r, v)
		case !sent && sqldb.NotSent(err) && n < maxStale:
			continue
		case !sent:
			return eventsource.Result{}, s.failed(ctx, r, err)
		case sqldb.RolledBack(err):
			if !sqldb.SerialFailure(err) && sqldb.State(err) != uniqueViolation || n >= maxStale {
				return eventsource.Result{}, s.failed(ctx, r, err)
			}
			r.check = true
		case ctx.Err() != nil || r.lost || !r.harmless():
			r.lost = true
			return eventsource.Result{}, s.failed(ctx, r, err)
		default:
			r.lost, r.check = true, true
			s.stats.resent.Add(1)
		}
	}
}

const uniqueViolation = "23505"

// failed is the error of an append that has no answer.
func (s *Store) failed(ctx context.Context, r *request, err error) error {
	err = ended(ctx, err)
	if r.lost {
		return fmt.Errorf("%w: %w", eventsource.ErrUncertain, err)
	}
	return fmt.Errorf("eventsql: append: %w", err)
}

// direct is the attempt on Postgres. The usual one is a statement that is its
// own transaction; if the pool's default isolation is another than READ
// COMMITTED, that takes two round trips more.
func (s *Store) direct(ctx context.Context, r *request) (v verdict, sent bool, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return v, false, err
	}
	defer conn.Close()
	keys := s.hash.keys(r)
	if !s.inTx.Load() {
		v, err = s.callAppend(ctx, conn, r, keys, false)
		if err != nil || v.kind != isIsolation {
			return v, !sqldb.NotSent(err), err
		}
		s.inTx.Store(true)
	}
	err = s.inReadCommitted(ctx, conn, func(tx *sql.Tx) error {
		v, err = s.callAppend(ctx, tx, r, keys, false)
		return err
	})
	return v, !sqldb.NotSent(err), err
}

func (s *Store) inReadCommitted(ctx context.Context, conn *sql.Conn, f func(tx *sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// AppendTx is Append within a transaction of the caller's: the events become
// visible when the caller commits, together with whatever else the transaction
// writes, and not at all if it is rolled back. An inline projection and a
// transactional outbox are made of it. Call [Store.Notify] after the commit for
// waiters to learn at once.
//
// A conflict, a Duplicate and ErrInvalid leave tx usable and have written
// nothing. After other errors roll back.
//
// Postgres: tx must be READ COMMITTED, the default; ErrInvalid otherwise, since
// an older snapshot does not see what others have committed. From here to the
// end of tx other appends to the same streams wait, and Head stands still for
// everybody, so commit soon. Transactions that call AppendTx more than once can
// deadlock with each other, which Postgres resolves by failing one of them
// (SQLSTATE 40P01): run it again.
//
// SQLite: the connection must have PRAGMA synchronous=FULL, ErrInvalid
// otherwise. Begin with a write, or by BEGIN IMMEDIATE, lest somebody else
// writes between a first read and the append, which then fails as busy.
func (s *Store) AppendTx(ctx context.Context, tx *sql.Tx, events []eventsource.Event, conds ...eventsource.Condition) (eventsource.Result, error) {
	r, err := s.request(ctx, events, conds)
	if err != nil {
		return eventsource.Result{}, err
	}
	var v verdict
	if s.dialect == sqldb.SQLite {
		if err := fullySynchronous(ctx, tx); err != nil {
			return eventsource.Result{}, err
		}
		v, err = s.appendSQLite(ctx, tx, r)
	} else {
		v, err = s.callAppend(ctx, tx, r, s.hash.keys(r), false)
	}
	if err != nil {
		return eventsource.Result{}, fmt.Errorf("eventsql: append: %w", ended(ctx, err))
	}
	return s.conclude(ctx, tx, r, v)
}

func fullySynchronous(ctx context.Context, tx *sql.Tx) error {
	durable, level, err := sqldb.Waits(ctx, tx)
	if err != nil {
		return fmt.Errorf("eventsql: append: %w", ended(ctx, err))
	}
	if !durable {
		return fmt.Errorf("%w: the connection of tx has PRAGMA synchronous=%d, at least 2 (FULL) is needed: set it in the data source name",
			eventsource.ErrInvalid, level)
	}
	return nil
}

// conclude turns a verdict into what Append returns, and counts.
func (s *Store) conclude(ctx context.Context, q querier, r *request, v verdict) (eventsource.Result, error) {
	switch v.kind {
	case isWritten:
		s.stats.appends.Add(1)
		s.stats.events.Add(uint64(len(r.rows)))
		return s.written(ctx, q, r, v)
	case isConflict:
		s.stats.conflicts.Add(1)
		return eventsource.Result{}, conflict(r, v.failed[0])
	case isKnown:
		return s.duplicate(ctx, q, r)
	default:
		return eventsource.Result{}, fmt.Errorf("%w: the isolation level of tx; it must be READ COMMITTED", eventsource.ErrInvalid)
	}
}

// written wakes waiters, except for a transaction that is still open.
func (s *Store) written(ctx context.Context, q querier, r *request, v verdict) (eventsource.Result, error) {
	n := len(r.rows)
	if n == 0 {
		head, err := s.head(ctx, q)
		return eventsource.Result{First: head, Last: head}, err
	}
	if _, open := q.(*sql.Tx); !open {
		s.Notify()
	}
	res := eventsource.Result{First: eventsource.Position(v.positions[0]), Last: eventsource.Position(v.positions[n-1])}
	if last := &r.rows[n-1]; last.owner > 0 {
		res.Version = v.versions[last.owner-1] + uint64(last.nth)
	}
	return res, nil
}

func conflict(r *request, f failure) error {
	c := r.conds[f.index]
	e := &eventsource.ConflictError{Condition: c, Index: f.index}
	_, _, since := c.NoneSince()
	_, _, tracks := c.Track()
	if since || tracks {
		e.Position = eventsource.Position(f.found)
	} else {
		e.Version = f.found
	}
	return e
}
