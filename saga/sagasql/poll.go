package sagasql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keelson-go/keelson/saga"
)

const (
	maxForeign = 1000
	maxUnread  = 1000
	unfinished = "state < 5 AND state <> 4" // neither ended nor Stuck
)

// Poll implements [saga.Store], in one transaction.
func (s *Store) Poll(ctx context.Context, l saga.Lease) (w saga.Work, err error) {
	err = s.write(ctx, func(c *conn) error {
		w, err = c.poll(ctx, l)
		return err
	})
	switch {
	case errors.Is(err, saga.ErrFenced):
		return saga.Work{}, saga.ErrFenced
	case err != nil:
		return saga.Work{}, fmt.Errorf("sagasql: poll: %w", err)
	}
	return w, nil
}

func (c *conn) poll(ctx context.Context, l saga.Lease) (w saga.Work, err error) {
	w = saga.Work{Next: -1, Now: timeOf(c.now)}
	var dead int
	err = c.row(ctx, "SELECT dead FROM keelson_saga_owner WHERE owner = $1[ FOR UPDATE]", l.Owner).Scan(&dead)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return w, err
	case dead != 0:
		return w, saga.ErrFenced
	}
	if l.For <= 0 {
		_, err := c.exec(ctx, "DELETE FROM keelson_saga_owner WHERE owner = $1", l.Owner)
		if err != nil {
			return w, err
		}
		return w, c.free(ctx, l.Owner)
	}
	_, err = c.exec(ctx, "INSERT INTO keelson_saga_owner (owner, until, dead) VALUES ($1, $2, 0) ON CONFLICT (owner) DO UPDATE SET until = excluded.until",
		l.Owner, c.now+l.For.Microseconds())
	if err == nil {
		err = c.reap(ctx, l.Owner)
	}
	if err == nil {
		err = c.claim(ctx, &w, l)
	}
	if err == nil {
		w.Mail, err = c.strings(ctx, "SELECT id FROM keelson_saga WHERE owner = $1 AND mail > mail_read", l.Owner)
		slices.Sort(w.Mail) // to have them sorted, the server might walk through all sagas by id
	}
	return w, err
}

// reap marks one owner dead whose lease has run out. One per poll bounds what a
// poll costs; the others are next.
func (c *conn) reap(ctx context.Context, me string) error {
	var name string
	err := c.row(ctx, "SELECT owner FROM keelson_saga_owner WHERE dead = 0 AND until < $1 AND owner <> $2 ORDER BY until LIMIT 1[ FOR UPDATE SKIP LOCKED]", c.now, me).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := c.exec(ctx, "UPDATE keelson_saga_owner SET dead = 1 WHERE owner = $1", name); err != nil {
		return err
	}
	return c.free(ctx, name)
}

// free makes the sagas of an owner that is gone due.
func (c *conn) free(ctx context.Context, name string) error {
	_, err := c.exec(ctx, "UPDATE keelson_saga SET owner = NULL, wake_at = CASE WHEN "+unfinished+" THEN CAST($1 AS bigint) END WHERE owner = $2", c.now, name)
	return err
}

// claim takes one saga, or those that are due, and counts what it leaves.
func (c *conn) claim(ctx context.Context, w *saga.Work, l saga.Lease) error {
	if l.Only != "" {
		all, err := c.headers(ctx, "SELECT "+columns+" FROM keelson_saga WHERE id = $1 AND owner IS NULL[ FOR UPDATE]", l.Only)
		if err != nil {
			return err
		}
		return c.take(ctx, w, l.Owner, all)
	}
	can, err := json.Marshal(append([]string{}, l.Can...))
	if err != nil {
		return err
	}
	mine := func(n int) string { return "(can_exact IN " + c.list(n) + " OR can_any IN " + c.list(n+1) + ")" }
	if l.Limit > 0 {
		all, err := c.headers(ctx, "SELECT "+columns+" FROM keelson_saga WHERE owner IS NULL AND wake_at <= $1 AND "+mine(2)+
			" ORDER BY wake_at, id LIMIT $4[ FOR UPDATE SKIP LOCKED]", c.now, string(can), string(can), l.Limit)
		if err == nil {
			err = c.take(ctx, w, l.Owner, all)
		}
		if err != nil {
			return err
		}
	}
	var next sql.NullInt64
	if err := c.row(ctx, "SELECT min(wake_at) FROM keelson_saga WHERE owner IS NULL AND wake_at IS NOT NULL AND "+mine(1), string(can), string(can)).Scan(&next); err != nil {
		return err
	}
	if next.Valid {
		w.Next = max(time.Duration(next.Int64-c.now)*time.Microsecond, 0)
	}
	return c.row(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM keelson_saga WHERE owner IS NULL AND wake_at <= $1 AND NOT %s LIMIT %d) f", mine(2), maxForeign),
		c.now, string(can), string(can)).Scan(&w.Foreign)
}

func (c *conn) take(ctx context.Context, w *saga.Work, owner string, all []header) error {
	if len(all) == 0 {
		return nil
	}
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	_, err = c.exec(ctx, "UPDATE keelson_saga SET owner = $1, epoch = epoch + 1, claims = claims + 1, wake_at = NULL WHERE "+c.among("id", 2), owner, string(list))
	for _, h := range all {
		h.Owner, h.WakeAt = owner, time.Time{}
		h.Epoch++
		h.Claims++
		w.Claimed = append(w.Claimed, h.Summary)
	}
	return err
}

func (c *conn) strings(ctx context.Context, query string, args ...any) (all []string, err error) {
	rows, err := c.q.QueryContext(ctx, c.sql(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// Post implements [saga.Store].
func (s *Store) Post(ctx context.Context, id string, r saga.Record) error {
	var verdict error
	err := s.write(ctx, func(c *conn) (err error) {
		verdict, err = c.post(ctx, id, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("sagasql: post to %s: %w", id, err)
	}
	return verdict
}

func (c *conn) post(ctx context.Context, id string, r saga.Record) (verdict, err error) {
	h, err := c.find(ctx, id, true)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return saga.ErrNotFound, nil
	}
	if r.Key != "" {
		var n int
		err := c.row(ctx, "SELECT count(*) FROM keelson_saga_mail WHERE id = $1 AND key = $2", id, text(r.Key)).Scan(&n)
		if n > 0 || err != nil {
			return nil, err
		}
	}
	switch {
	case h.State.Ended():
		return saga.ErrTerminal, nil
	case h.unread() >= maxUnread:
		return fmt.Errorf("%w: %s has %d unread messages", saga.ErrConflict, id, h.unread()), nil
	}
	r.Seq = h.Mail + 1
	if err := c.insertRecord(ctx, insertLetter, id, &r); err != nil {
		return nil, err
	}
	query, args := "UPDATE keelson_saga SET mail = $1 WHERE id = $2", []any{int64(r.Seq), id}
	if h.Owner == "" && h.State != saga.Stuck {
		query, args = "UPDATE keelson_saga SET mail = $1, wake_at = $2 WHERE id = $3", []any{int64(r.Seq), c.now, id}
	}
	_, err = c.exec(ctx, query, args...)
	return nil, err
}

// where adds conditions to a query, with parameters counted in order.
type where struct {
	parts []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	for _, arg := range args {
		w.args = append(w.args, arg)
		cond = strings.Replace(cond, "$?", fmt.Sprintf("$%d", len(w.args)), 1)
	}
	w.parts = append(w.parts, cond)
}
