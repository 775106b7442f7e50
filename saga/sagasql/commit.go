package sagasql

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keelson-go/keelson/internal/sqldb"
	"github.com/keelson-go/keelson/saga"
)

// Commit implements [saga.Store]: on Postgres one statement, and a transaction for
// what it did not accept; on SQLite one transaction.
func (s *Store) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	verdicts := make([]saga.Verdict, len(writes))
	order, twins := byID(writes)
	if s.dialect == sqldb.Postgres && !twins {
		var err error
		if order, err = s.commitBatch(ctx, writes, order, verdicts); err != nil {
			return nil, err
		}
	}
	if len(order) == 0 {
		return verdicts, nil
	}
	err := s.write(ctx, func(c *conn) error {
		for _, i := range order {
			v, err := c.commit(ctx, &writes[i])
			if err != nil {
				return fmt.Errorf("sagasql: commit of %s: %w", writes[i].Summary.ID, err)
			}
			verdicts[i] = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

func (c *conn) commit(ctx context.Context, w *saga.Write) (v saga.Verdict, err error) {
	if w.Summary.Epoch == 0 {
		return c.create(ctx, w)
	}
	v.At = timeOf(c.now)
	h, err := c.find(ctx, w.Summary.ID, true)
	switch {
	case err != nil:
		return v, err
	case h == nil:
		v.Err = saga.ErrNotFound
		return v, nil
	}
	v.Mail = h.Mail
	if h.Epoch == w.Summary.Epoch && (len(w.Records) == 0 || w.Records[0].Seq == h.Seq+1) {
		return v, c.extend(ctx, h, w)
	}
	same, err := c.holds(ctx, h, w.Records)
	if !same {
		v.Err = saga.ErrFenced
	}
	return v, err
}

// create inserts the saga, or finds the one that is there.
func (c *conn) create(ctx context.Context, w *saga.Write) (v saga.Verdict, err error) {
	sum := &w.Summary
	v.At = timeOf(c.now)
	var owner any
	if !w.Release && sum.Owner != "" {
		// Locked, lest the owner be reaped between this look and the commit, when
		// whoever reaps does not see the new row.
		var live string
		err := c.row(ctx, "SELECT owner FROM keelson_saga_owner WHERE owner = $1 AND dead = 0[ FOR SHARE]", sum.Owner).Scan(&live)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return v, err
		}
		if err == nil {
			owner = live
		}
	}
	seq := sum.Seq
	if n := len(w.Records); n > 0 {
		seq = w.Records[n-1].Seq
	}
	anyShape, exact := canNames(sum)
	n, err := c.exec(ctx, "INSERT INTO keelson_saga (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted,"+
		" owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at)"+
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15, 0, 0, 0, $16, $17, $18) ON CONFLICT (id) DO NOTHING",
		sum.ID, sum.Name, sum.Version, sum.Shape, anyShape, exact, sum.Fingerprint, int(sum.State), text(sum.Step), sum.Attempt, text(sum.Code), text(sum.Cause), sum.Pivoted,
		owner, int64(seq), c.now, c.now, c.wakeAt(w, owner != nil, 0))
	if err != nil {
		return v, err
	}
	if n == 0 {
		return c.found(ctx, w)
	}
	return v, c.log(ctx, w)
}

func (c *conn) found(ctx context.Context, w *saga.Write) (v saga.Verdict, err error) {
	h, err := c.find(ctx, w.Summary.ID, false)
	if err != nil {
		return v, err
	}
	if h == nil {
		return v, errors.New("it was purged that moment")
	}
	v = saga.Verdict{At: timeOf(c.now), Mail: h.Mail, Found: &h.Summary}
	if h.Fingerprint != w.Summary.Fingerprint {
		v.Err = saga.ErrConflict
	}
	return v, nil
}

// extend takes over a write that follows. Who holds the saga goes on holding it;
// nobody does if the writer's lease ran out and the saga was not claimed since.
func (c *conn) extend(ctx context.Context, h *header, w *saga.Write) error {
	sum := &w.Summary
	seq, read := h.Seq, max(h.read, w.Read)
	if n := len(w.Records); n > 0 {
		seq = w.Records[n-1].Seq
	}
	var owner any
	if h.Owner != "" && !w.Release {
		owner = h.Owner
	}
	anyShape, exact := canNames(sum)
	_, err := c.exec(ctx, "UPDATE keelson_saga SET name = $1, version = $2, shape = $3, can_any = $4, can_exact = $5, fingerprint = $6, state = $7, step = $8,"+
		" attempt = $9, code = $10, cause = $11, pivoted = $12, owner = $13, seq = $14, mail_read = $15, claims = 0, updated = $16, wake_at = $17 WHERE id = $18",
		sum.Name, sum.Version, sum.Shape, anyShape, exact, sum.Fingerprint, int(sum.State), text(sum.Step),
		sum.Attempt, text(sum.Code), text(sum.Cause), sum.Pivoted, owner, int64(seq), int64(read), c.now, c.wakeAt(w, owner != nil, h.Mail-min(read, h.Mail)), h.ID)
	if err != nil {
		return err
	}
	if read > h.read {
		_, err = c.exec(ctx, "DELETE FROM keelson_saga_mail WHERE id = $1 AND seq <= $2 AND key = ''", h.ID, int64(read))
		if err != nil {
			return err
		}
	}
	return c.log(ctx, w)
}

func (c *conn) log(ctx context.Context, w *saga.Write) error {
	for i := range w.Records {
		if err := c.insertRecord(ctx, "keelson_saga_record", w.Summary.ID, &w.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

// wakeAt is when a saga is due after w; nil: not by time.
func (c *conn) wakeAt(w *saga.Write, owned bool, unread uint64) any {
	switch {
	case owned || w.Summary.State.Ended() || w.Summary.State == saga.Stuck:
		return nil
	case !w.Release || unread > 0:
		return c.now
	case w.WakeIn < 0:
		return nil
	}
	return c.now + w.WakeIn.Microseconds()
}

// holds: these very records are in the log.
func (c *conn) holds(ctx context.Context, h *header, records []saga.Record) (bool, error) {
	if len(records) == 0 {
		return false, nil
	}
	log, err := c.records(ctx, h, " FROM keelson_saga_record WHERE id = $1 AND seq >= $2 ORDER BY seq", h.ID, int64(records[0].Seq))
	if err != nil || len(log) < len(records) {
		return false, err
	}
	for i, r := range records {
		l := log[i]
		if l.Seq != r.Seq || l.Kind != r.Kind || l.Step != text(r.Step) || l.Epoch != r.Epoch || l.Attempt != r.Attempt ||
			l.Error != text(r.Error) || !bytes.Equal(l.Data, []byte(text(string(r.Data)))) {
			return false, nil
		}
	}
	return true, nil
}

// StartTx creates the saga in the caller's transaction: it exists if and only if tx
// commits, as durably as tx, and is due at once. The next look of a coordinator
// finds it, within its Poll. The same id and input again is nil; other input is
// [saga.ErrConflict], which leaves tx usable.
//
// SQLite: the connection must have PRAGMA synchronous=FULL, unless Config.Relaxed.
func StartTx[S any](ctx context.Context, tx *sql.Tx, st *Store, s *saga.Saga[S], id string, in S) error {
	w, err := s.Prepare(id, in)
	if err != nil {
		return err
	}
	return st.startTx(ctx, tx, &w)
}

func (s *Store) startTx(ctx context.Context, tx *sql.Tx, w *saga.Write) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := &conn{s: s, q: tx}
	if s.dialect == sqldb.SQLite && !s.cfg.Relaxed {
		var level int
		if err := tx.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
			return fmt.Errorf("sagasql: start of %s: %w", w.Summary.ID, ended(ctx, err))
		}
		if level < synchronousFull {
			return fmt.Errorf("sagasql: start of %s: the connection of tx has PRAGMA synchronous=%d, at least %d (FULL) is needed: set it in the data source name",
				w.Summary.ID, level, synchronousFull)
		}
	}
	err := c.tick(ctx)
	var v saga.Verdict
	if err == nil {
		v, err = c.create(ctx, w)
	}
	switch {
	case err != nil:
		return fmt.Errorf("sagasql: start of %s: %w", w.Summary.ID, ended(ctx, err))
	case v.Err != nil:
		return fmt.Errorf("%w: %s was started with other input, or as another saga", v.Err, w.Summary.ID)
	}
	return nil
}
