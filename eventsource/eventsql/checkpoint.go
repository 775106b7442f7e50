package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/internal/wiring"
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
	if apply != nil {
		defer c.end()
		if err := apply(context.WithValue(ctx, savingKey{}, c)); err != nil {
			return err
		}
		// What apply did should not be done again, even if ctx has ended by now.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), applied)
		defer cancel()
	}
	err := c.save(ctx)
	if err == nil || errors.Is(err, eventsource.ErrFenced) {
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
	committing bool

	tx      *sql.Tx // of InTx, if that was called
	conn    *sql.Conn
	release func()
}

type savingKey struct{}

// applied is how long saving may take when apply has succeeded.
const applied = 5 * time.Second

func (c *saving) save(ctx context.Context) (err error) {
	switch {
	case c.tx != nil:
		return c.commit(ctx)
	case c.s.dialect == sqldb.SQLite:
		c.committing, err = c.s.immediate(ctx, func(conn *sql.Conn) error { return c.replace(ctx, conn) })
		return err
	}
	for n := 0; ; n++ {
		err := c.replace(ctx, c.s.db)
		if !sqldb.SerialFailure(err) || n >= maxStale { // of a stricter default isolation
			c.committing = err != nil
			return err
		}
	}
}

// begin starts the transaction of InTx. On SQLite the checkpoint comes first,
// so that the transaction starts as a writer and cannot find, after its reads,
// that somebody else has written. On Postgres it comes last: a process that
// hangs in apply holds no lock that the next owner needs.
func (c *saving) begin(ctx context.Context) (err error) {
	// Not ctx: when that ends, database/sql rolls back, although apply may
	// have returned nil.
	life := context.WithoutCancel(ctx)
	if c.s.dialect == sqldb.Postgres {
		if c.conn, err = c.s.db.Conn(ctx); err != nil {
			return err
		}
		c.release = func() { c.conn.Close() }
		c.tx, err = c.conn.BeginTx(life, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		return err
	}
	if c.conn, c.release, err = c.s.writer(ctx); err != nil {
		return err
	}
	return sqldb.WhileBusy(ctx, func() error {
		tx, err := c.conn.BeginTx(life, nil)
		if err != nil {
			return err
		}
		if err := c.replace(ctx, tx); err != nil {
			tx.Rollback() //nolint:errcheck // the first error says more
			return err
		}
		c.tx = tx
		return nil
	})
}

func (c *saving) commit(ctx context.Context) error {
	if c.s.dialect == sqldb.Postgres {
		if err := c.replace(ctx, c.tx); err != nil {
			return err
		}
	}
	c.committing = true
	err := c.tx.Commit()
	c.committing = err != nil
	return err
}

// end rolls back what was not committed and gives the connection back.
func (c *saving) end() {
	if c.tx != nil {
		c.tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	}
	if c.committing && c.s.dialect == sqldb.SQLite {
		// A COMMIT that failed, on a constraint say, can leave it open.
		c.conn.ExecContext(context.Background(), "ROLLBACK") //nolint:errcheck // most often there is nothing to roll back
	}
	if c.release != nil {
		c.release()
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
// database as Checkpoints, else it ends with [eventsource.ErrInvalid], whatever
// MaxAttempts and Park are.
//
// apply must neither commit nor roll back tx; that is done when the Apply around
// it has returned. Its error, a panic, and the loss of the partition to another
// process undo what it wrote. tx is READ COMMITTED on Postgres, so that apply
// may call [Store.AppendTx]; on SQLite it holds the write lock, so keep it
// short.
func InTx(apply func(ctx context.Context, tx *sql.Tx, b eventsource.Batch) error) func(context.Context, eventsource.Batch) error {
	return func(ctx context.Context, b eventsource.Batch) error {
		c, ok := ctx.Value(savingKey{}).(*saving)
		if !ok {
			return &wiring.Error{Err: fmt.Errorf("%w: eventsql.InTx: Run needs an *eventsql.Store as Checkpoints", eventsource.ErrInvalid)}
		}
		if c.tx == nil {
			if err := c.begin(ctx); err != nil {
				return ended(ctx, err)
			}
		}
		return apply(ctx, c.tx, b)
	}
}
