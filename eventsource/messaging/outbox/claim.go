package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging/internal/consume"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// claim takes lanes that are free and have messages. They are free also if they
// are held by a claim of this relay of which it does not know how it ended.
func (o *Outbox) claim(ctx context.Context, claim, unsettled string) (lanes []int64, err error) {
	if o.dialect == sqldb.SQLite { // a look should not take the write lock
		var any bool
		if err := o.db.QueryRowContext(ctx, o.sql.pending).Scan(&any); err != nil || !any {
			return nil, ended(ctx, err)
		}
	}
	err = sqldb.WhileBusy(ctx, func() (err error) {
		lanes, err = numbers(ctx, o.db, o.sql.claim, claim, o.cfg.Lease.Microseconds(), unsettled)
		return err
	})
	return lanes, ended(ctx, err)
}

// pick reads the messages of the claimed lanes into b, oldest first, without the
// chains whose head waits for its next attempt. Only if some wait, and take the
// places of others, does it ask again.
func (o *Outbox) pick(ctx context.Context, b *batch, limit int, shun []string) error {
	waiting := slices.Clone(shun)
	for {
		rows, err := o.line(ctx, b, limit, waiting)
		if err != nil {
			return ended(ctx, err)
		}
		before := len(waiting)
		for i := range rows {
			if rows[i].waits {
				waiting = append(waiting, chain(&rows[i].Message))
			}
		}
		b.rows = rows
		if len(waiting) == before {
			return nil
		}
		if len(rows) < limit {
			b.rows = slices.DeleteFunc(rows, func(w row) bool { return slices.Contains(waiting, chain(&w.Message)) })
			return nil
		}
	}
}

func (o *Outbox) line(ctx context.Context, b *batch, limit int, waiting []string) (all []row, err error) {
	query, args := o.sql.pick, []any{o.list(b.lanes)}
	if len(waiting) > 0 {
		texts, err := json.Marshal(waiting)
		if err != nil {
			return nil, err
		}
		query, args = query+o.sql.except, append(args, string(texts))
	}
	// The limit is part of the text: a planner that does not know it may sort.
	rows, err := o.db.QueryContext(ctx, query+" ORDER BY seq LIMIT "+strconv.Itoa(limit), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var w row
		var headers sql.NullString
		if err := rows.Scan(&w.seq, &w.lane, &w.ID, &w.Topic, &w.Key, &headers, &w.Body, &w.attempts, &w.waits); err != nil {
			return nil, err
		}
		if w.Headers, err = decodeHeaders(headers); err != nil {
			return nil, fmt.Errorf("outbox: headers of message %q: %w", w.ID, err)
		}
		all = append(all, w)
	}
	return all, rows.Err()
}

// settle deletes what was taken, parks and counts what failed, and lets go of
// the lanes; of lanes that were lost meanwhile it changes nothing.
func (o *Outbox) settle(ctx context.Context, b *batch) error {
	if o.dialect == sqldb.Postgres && len(b.failed) == 0 {
		res, err := o.db.ExecContext(ctx, o.sql.settle, b.claim, o.list(seqs(b.taken)))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n < int64(len(b.taken)) {
			return errors.Join(err, errLost)
		}
		return nil
	}
	var held []int64
	err := o.inTx(ctx, func(q sqldb.Querier) (err error) {
		held, err = o.conclude(ctx, q, b)
		return err
	})
	if err == nil && len(held) < len(b.lanes) {
		err = errLost
	}
	return err
}

func (o *Outbox) conclude(ctx context.Context, q sqldb.Querier, b *batch) (held []int64, err error) {
	if held, err = numbers(ctx, q, o.sql.held, b.claim); err != nil {
		return nil, err
	}
	mine := slices.DeleteFunc(slices.Clone(b.taken), func(w row) bool { return !slices.Contains(held, w.lane) })
	if len(mine) > 0 {
		if _, err := q.ExecContext(ctx, o.sql.remove, o.list(seqs(mine))); err != nil {
			return nil, err
		}
	}
	b.parked = 0
	for _, f := range b.failed {
		if !slices.Contains(held, f.lane) {
			continue
		}
		if err := o.fail(ctx, q, f); err != nil {
			return nil, err
		}
		if f.park {
			b.parked++
		}
	}
	_, err = q.ExecContext(ctx, o.sql.release, b.claim)
	return held, err
}

func (o *Outbox) fail(ctx context.Context, q sqldb.Querier, f failure) error {
	if !f.park {
		_, err := q.ExecContext(ctx, o.sql.fail, int64(f.attempts), f.wait.Microseconds(), f.seq)
		return err
	}
	_, err := q.ExecContext(ctx, o.sql.park, int64(f.attempts), consume.Clip(f.err.Error()), f.seq)
	if err == nil {
		_, err = q.ExecContext(ctx, o.sql.remove, o.list([]int64{f.seq}))
	}
	return err
}

// inTx runs f in a transaction that begins as a writer.
func (o *Outbox) inTx(ctx context.Context, f func(q sqldb.Querier) error) error {
	if o.dialect == sqldb.SQLite {
		_, err := sqldb.Immediate(ctx, o.db, func(conn *sql.Conn) error { return f(conn) })
		return err
	}
	tx, err := o.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// lag is the age of the oldest message, by the database's clock.
func (o *Outbox) lag(ctx context.Context) (time.Duration, error) {
	var micros int64
	err := o.db.QueryRowContext(ctx, o.sql.oldest).Scan(&micros)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return max(0, time.Duration(micros)*time.Microsecond), ended(ctx, err)
}

func seqs(rows []row) []int64 {
	all := make([]int64, len(rows))
	for i := range rows {
		all[i] = rows[i].seq
	}
	return all
}

// list is an array literal of Postgres, or a JSON array: a text, which every
// driver can send.
func (o *Outbox) list(numbers []int64) string {
	begin, end := "[", "]"
	if o.dialect == sqldb.Postgres {
		begin, end = "{", "}"
	}
	var b strings.Builder
	b.WriteString(begin)
	for i, n := range numbers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(n, 10))
	}
	b.WriteString(end)
	return b.String()
}

// numbers runs a query of one number per row.
func numbers(ctx context.Context, q sqldb.Querier, query string, args ...any) (all []int64, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}
