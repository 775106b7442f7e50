package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// LoadCheckpoint implements [eventsource.Checkpoints].
func (s *Store) LoadCheckpoint(ctx context.Context, name string) (c eventsource.Checkpoint, err error) {
	if err := s.ready(ctx); err != nil {
		return c, err
	}
	var position, epoch int64
	err = s.db.QueryRowContext(ctx, s.sql.load, name).Scan(&position, &epoch, &c.Data)
	if errors.Is(err, sql.ErrNoRows) {
		return eventsource.Checkpoint{}, nil
	}
	if err != nil {
		return eventsource.Checkpoint{}, fmt.Errorf("eventsql: checkpoint %q: %w", name, ended(ctx, err))
	}
	c.Position, c.Epoch = eventsource.Position(position), uint64(epoch)
	return c, nil
}

// SaveCheckpoint implements [eventsource.Checkpoints]. What apply writes
// through [InTx] commits together with the checkpoint, or not at all. Whatever
// else apply does happens without a transaction.
func (s *Store) SaveCheckpoint(ctx context.Context, name string, old, new eventsource.Checkpoint, apply func(context.Context) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := new.Validate(name); err != nil {
		return err
	}
	c := &saving{s: s, name: name, old: old, new: new}
	err := c.save(ctx, apply)
	if err == nil || c.own(err) || errors.Is(err, eventsource.ErrFenced) {
		return err
	}
	if c.committing && !sqldb.RolledBack(err) {
		err = fmt.Errorf("%w: %w", eventsource.ErrUncertain, err)
	}
	return fmt.Errorf("eventsql: checkpoint %q: %w", name, ended(ctx, err))
}

// saving is one SaveCheckpoint. It travels to InTx in apply's context, which
// begins the transaction: an Apply without InTx holds none open.
type saving struct {
	s          *Store
	name       string
	old, new   eventsource.Checkpoint
	applyErr   error
	committing bool
	done       bool // InTx has done it
}

type savingKey struct{}

// own tells apply's error, which comes back as it is.
func (c *saving) own(err error) bool { return c.applyErr != nil && errors.Is(err, c.applyErr) }

// applied is how long saving may go on after the context has ended, when apply
// has succeeded: what it did should not be done again.
const applied = 5 * time.Second

func (c *saving) save(ctx context.Context, apply func(context.Context) error) error {
	if apply != nil {
		if err := apply(context.WithValue(ctx, savingKey{}, c)); err != nil {
			if c.applyErr == nil {
				c.applyErr = err
			}
			return err
		}
		if c.done {
			return nil
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), applied)
		defer cancel()
	}
	if c.s.dialect == sqldb.SQLite {
		return c.s.writer(ctx, func(conn *sql.Conn) (err error) {
			c.committing, err = immediate(ctx, conn, func() error { return c.replace(ctx, conn) })
			return err
		})
	}
	for n := 0; ; n++ {
		err := c.replace(ctx, c.s.db)
		if !sqldb.SerialFailure(err) || n >= maxStale { // of a stricter default isolation
			c.committing = err != nil
			return err
		}
	}
}

// replace is the compare-and-set.
func (c *saving) replace(ctx context.Context, q querier) (err error) {
	absent := isZero(c.old)
	position, epoch := int64(c.old.Position), int64(c.old.Epoch)
	var res sql.Result
	switch st := &c.s.sql; {
	case absent && isZero(c.new):
		err = q.QueryRowContext(ctx, st.load, c.name).Scan(new(int64), new(int64), new([]byte))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			err = c.fenced()
		}
		return err
	case absent:
		res, err = q.ExecContext(ctx, st.insertCheckpoint, c.name, int64(c.new.Position), int64(c.new.Epoch), bytesOf(c.new.Data))
	case isZero(c.new):
		res, err = q.ExecContext(ctx, st.deleteCheckpoint, c.name, position, epoch)
	default:
		res, err = q.ExecContext(ctx, st.updateCheckpoint, int64(c.new.Position), int64(c.new.Epoch), bytesOf(c.new.Data), c.name, position, epoch)
	}
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = c.fenced()
	}
	return err
}

func (c *saving) fenced() error {
	return fmt.Errorf("%w: eventsql: checkpoint %q is not at position %d, epoch %d any more", eventsource.ErrFenced, c.name, c.old.Position, c.old.Epoch)
}

func isZero(c eventsource.Checkpoint) bool {
	return c.Position == 0 && c.Epoch == 0 && len(c.Data) == 0
}

// bytesOf is nil for NULL.
func bytesOf(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	return data
}

// InTx makes an Apply for [eventsource.Projection] whose writes commit together
// with the projection's checkpoint: each event counts exactly once in what
// apply writes through tx, whatever crashes. Run must get the *Store of that
// database as Checkpoints, else Apply returns [eventsource.ErrInvalid].
//
// apply must neither commit nor roll back tx. Its error, a panic, and the loss
// of the partition to another process undo what it wrote. tx is READ COMMITTED
// on Postgres, so that apply may call [Store.AppendTx]; on SQLite it holds the
// write lock, so keep it short.
func InTx(apply func(ctx context.Context, tx *sql.Tx, b eventsource.Batch) error) func(context.Context, eventsource.Batch) error {
	return func(ctx context.Context, b eventsource.Batch) error {
		c, ok := ctx.Value(savingKey{}).(*saving)
		if !ok {
			return fmt.Errorf("%w: eventsql.InTx: Run needs an *eventsql.Store as Checkpoints", eventsource.ErrInvalid)
		}
		if c.done {
			return fmt.Errorf("%w: eventsql.InTx: once in an Apply", eventsource.ErrInvalid)
		}
		return c.inTx(ctx, func(tx *sql.Tx) error {
			err := apply(ctx, tx, b)
			c.applyErr = err
			return err
		})
	}
}

// inTx runs apply and the compare-and-set in one transaction. On SQLite the
// checkpoint comes first, so that the transaction starts as a writer and cannot
// find, after its reads, that somebody else has written. On Postgres it comes
// last: a process that hangs in apply holds no lock that the next owner needs.
func (c *saving) inTx(ctx context.Context, apply func(tx *sql.Tx) error) error {
	// Not ctx: when that ends, database/sql rolls back, although apply may
	// have returned nil.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if c.s.dialect == sqldb.Postgres {
		tx, err := c.s.db.BeginTx(life, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		return c.within(life, tx, apply, func(after context.Context) error { return c.replace(after, tx) })
	}
	return c.s.writer(ctx, func(conn *sql.Conn) error {
		var tx *sql.Tx
		err := sqldb.WhileBusy(ctx, func() (err error) {
			if tx, err = conn.BeginTx(life, nil); err != nil {
				return err
			}
			if err = c.replace(life, tx); err != nil {
				tx.Rollback() //nolint:errcheck // the first error says more
			}
			return err
		})
		if err != nil {
			return err
		}
		err = c.within(life, tx, apply, func(context.Context) error { return nil })
		if err != nil { // a COMMIT that failed, on a constraint say, can leave it open
			conn.ExecContext(life, "ROLLBACK") //nolint:errcheck // most often there is nothing to roll back
		}
		return err
	})
}

func (c *saving) within(life context.Context, tx *sql.Tx, apply func(*sql.Tx) error, last func(context.Context) error) error {
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if err := apply(tx); err != nil {
		return err
	}
	life, cancel := context.WithTimeout(life, applied)
	defer cancel()
	if err := last(life); err != nil {
		return err
	}
	c.committing = true
	if err := tx.Commit(); err != nil {
		return err
	}
	c.done, c.committing = true, false
	return nil
}
