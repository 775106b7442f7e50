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
	extended, err := c.extend(ctx, w, &v)
	if extended || err != nil {
		return v, err
	}
	h, err := c.find(ctx, w.Summary.ID, true)
	switch {
	case err != nil:
		return v, err
	case h == nil:
		v.Err = saga.ErrNotFound
		return v, nil
	}
	v.Mail = h.Mail
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
		live, err := c.lives(ctx, sum.Owner)
		if err != nil {
			return v, err
		}
		if live {
			owner = sum.Owner
		}
	}
	seq := sum.Seq
	if n := len(w.Records); n > 0 {
		seq = w.Records[n-1].Seq
	}
	anyShape, exact := canNames(sum)
	n, err := c.exec(ctx, "INSERT INTO keelson_saga (id, name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted,"+
		" owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at, ended)"+
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15, 0, 0, 0, $16, $17, $18, $19) ON CONFLICT (id) DO NOTHING",
		sum.ID, sum.Name, sum.Version, sum.Shape, anyShape, exact, sum.Fingerprint, int(sum.State), text(sum.Step), sum.Attempt, text(sum.Code), text(sum.Cause), sum.Pivoted,
		owner, int64(seq), c.now, c.now, c.wakeAt(w, owner != nil), c.ended(w))
	if err != nil {
		return v, err
	}
	if n == 0 {
		return c.found(ctx, w)
	}
	return v, c.log(ctx, w)
}

// lives tells whether an owner does, and locks it, lest it be reaped between this look
// and the commit, when whoever reaps does not see the new row.
func (c *conn) lives(ctx context.Context, owner string) (bool, error) {
	if c.live != "" && c.live == owner {
		return true, nil
	}
	err := c.row(ctx, "SELECT owner FROM keelson_saga_owner WHERE owner = $1 AND dead = 0[ FOR SHARE]", owner).Scan(&c.live)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
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
//
// One statement looks and changes. Mostly the definition stays, which then need not
// be written.
func (c *conn) extend(ctx context.Context, w *saga.Write, v *saga.Verdict) (ok bool, err error) {
	if c.s.dialect == sqldb.SQLite && goesOn(w) {
		if ok, err := c.advance(ctx, w); ok || err != nil {
			return ok, err
		}
	}
	for _, redefines := range []bool{false, true} {
		query, args := c.extension(w, redefines)
		err := c.row(ctx, query, args...).Scan(&v.Mail)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil && w.Read > 0 {
			_, err = c.exec(ctx, "DELETE FROM keelson_saga_mail WHERE id = $1 AND seq <= $2 AND key = ''", w.Summary.ID, int64(w.Read))
		}
		if err == nil {
			err = c.log(ctx, w)
		}
		return err == nil, err
	}
	return false, nil
}

// goesOn: a step of the saga is done, and the next one begins.
func goesOn(w *saga.Write) bool {
	return len(w.Records) > 0 && w.Read == 0 && !w.Release && !w.Summary.State.Ended()
}

// advance is extend for a saga that goes on, is held, and never got a message, as most
// are. It says so in its condition, so that it sets no column that an index is on, and
// returns no row, which takes SQLite and database/sql as long again. Of other sagas it
// changes none. Who is held is not due: its wake_at is null.
func (c *conn) advance(ctx context.Context, w *saga.Write) (ok bool, err error) {
	sum := &w.Summary
	_, exact := canNames(sum)
	n, err := c.exec(ctx, "UPDATE keelson_saga SET claims = 0, state = $1, step = $2, attempt = $3, code = $4, cause = $5, pivoted = $6, updated = $7, seq = $8"+
		" WHERE id = $9 AND epoch = $10 AND seq = $11 AND can_exact = $12 AND mail = 0 AND owner IS NOT NULL AND ended IS NULL",
		int(sum.State), text(sum.Step), sum.Attempt, text(sum.Code), text(sum.Cause), sum.Pivoted, c.now, int64(w.Records[len(w.Records)-1].Seq),
		sum.ID, int64(sum.Epoch), int64(w.Records[0].Seq)-1, exact)
	if n == 0 || err != nil {
		return false, err
	}
	return true, c.log(ctx, w)
}

// extension is that statement, with parameters in the order of their places.
func (c *conn) extension(w *saga.Write, redefines bool) (query string, args []any) {
	sum := &w.Summary
	anyShape, exact := canNames(sum)
	query = "UPDATE keelson_saga SET claims = 0, state = $?, step = $?, attempt = $?, code = $?, cause = $?, pivoted = $?, updated = $?, ended = $?"
	args = append(make([]any, 0, 24), int(sum.State), text(sum.Step), sum.Attempt, text(sum.Code), text(sum.Cause), sum.Pivoted, c.now, c.ended(w))
	add := func(part string, more ...any) {
		query += part
		args = append(args, more...)
	}
	if redefines {
		add(", name = $?, version = $?, shape = $?, can_any = $?, can_exact = $?, fingerprint = $?", sum.Name, sum.Version, sum.Shape, anyShape, exact, sum.Fingerprint)
	}
	if n := len(w.Records); n > 0 {
		add(", seq = $?", int64(w.Records[n-1].Seq))
	}
	unread, read := "mail > mail_read", []any{}
	if w.Read > 0 {
		add(", mail_read = CASE WHEN mail_read < $? THEN $? ELSE mail_read END", int64(w.Read), int64(w.Read))
		unread, read = "mail > mail_read AND mail > $?", append(read, int64(w.Read))
	}
	if w.Release {
		add(", owner = NULL")
	}
	const due = "CAST($? AS bigint)"
	switch {
	case sum.State.Ended() || sum.State == saga.Stuck:
		add(", wake_at = NULL")
	case !w.Release:
		add(", wake_at = CASE WHEN owner IS NULL THEN "+due+" END", c.now)
	case w.WakeIn < 0:
		add(", wake_at = CASE WHEN "+unread+" THEN "+due+" END", append(read, c.now)...)
	default:
		add(", wake_at = CASE WHEN "+unread+" THEN "+due+" ELSE "+due+" END", append(read, c.now, c.now+w.WakeIn.Microseconds())...)
	}
	add(" WHERE id = $? AND epoch = $?", sum.ID, int64(sum.Epoch))
	if len(w.Records) > 0 {
		add(" AND seq = $?", int64(w.Records[0].Seq)-1)
	}
	if !redefines {
		add(" AND can_exact = $?", exact)
	}
	add(" RETURNING mail")
	return query, args
}

func (c *conn) log(ctx context.Context, w *saga.Write) error {
	for i := range w.Records {
		r := &w.Records[i]
		var err error
		if r.Code == "" && r.Error == "" && r.Key == "" {
			_, err = c.exec(ctx, insertPlain, w.Summary.ID, int64(r.Seq), r.Kind, text(r.Step), r.Attempt, int64(r.Epoch), int(r.State), c.now, text(string(r.Data)))
		} else {
			err = c.insertRecord(ctx, insertRecord, w.Summary.ID, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wakeAt is when a new saga is due; nil: not by time.
func (c *conn) wakeAt(w *saga.Write, owned bool) any {
	switch {
	case owned || w.Summary.State.Ended() || w.Summary.State == saga.Stuck:
		return nil
	case !w.Release:
		return c.now
	case w.WakeIn < 0:
		return nil
	}
	return c.now + w.WakeIn.Microseconds()
}

// ended is when the saga has, nil if it has not.
func (c *conn) ended(w *saga.Write) any {
	if w.Summary.State.Ended() {
		return c.now
	}
	return nil
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
