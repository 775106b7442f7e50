package sagasql

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/keelson-go/keelson/saga"
)

// Load implements [saga.Store].
func (s *Store) Load(ctx context.Context, id string) (sum saga.Summary, log, mail []saga.Record, err error) {
	err = s.snapshot(ctx, func(c *conn) error {
		h, err := c.find(ctx, id, false)
		if err != nil {
			return err
		}
		if h == nil {
			return saga.ErrNotFound
		}
		sum = h.Summary
		if log, err = c.records(ctx, h, " FROM keelson_saga_record WHERE id = $1 ORDER BY seq", id); err != nil {
			return err
		}
		mail, err = c.records(ctx, h, " FROM keelson_saga_mail WHERE id = $1 AND seq > $2 ORDER BY seq", id, int64(h.read))
		return err
	})
	if err != nil {
		return saga.Summary{}, nil, nil, fmt.Errorf("sagasql: load %s: %w", id, err)
	}
	return sum, log, mail, nil
}

// listPage is how many sagas one statement of List reads.
const listPage = 500

// List implements [saga.Store], page by page: no statement is open while it yields.
func (s *Store) List(ctx context.Context, f saga.Filter) iter.Seq2[saga.Summary, error] {
	return func(yield func(saga.Summary, error) bool) {
		n := 0
		for {
			var page []header
			err := s.snapshot(ctx, func(c *conn) (err error) {
				page, err = c.page(ctx, f)
				return err
			})
			if err != nil {
				yield(saga.Summary{}, fmt.Errorf("sagasql: list: %w", err))
				return
			}
			for i := range page {
				if ctx.Err() != nil {
					yield(saga.Summary{}, context.Cause(ctx))
					return
				}
				if n++; !yield(page[i].Summary, nil) || n == f.Limit {
					return
				}
			}
			if len(page) < listPage {
				return
			}
			f.After = page[len(page)-1].ID
		}
	}
}

func (c *conn) page(ctx context.Context, f saga.Filter) ([]header, error) {
	var w where
	w.add("id > $?", f.After)
	for column, values := range map[string][]string{"id": f.IDs, "name": f.Names} {
		if len(values) == 0 {
			continue
		}
		list, err := json.Marshal(values)
		if err != nil {
			return nil, err
		}
		w.add(c.among(column, len(w.args)+1), string(list))
	}
	if len(f.States) > 0 {
		states := make([]string, len(f.States))
		for i, state := range f.States {
			states[i] = fmt.Sprint(uint8(state))
		}
		w.add("state IN (" + strings.Join(states, ", ") + ")")
	}
	if f.Idle > 0 {
		w.add("updated <= $?", c.now-f.Idle.Microseconds())
	}
	return c.headers(ctx, "SELECT "+columns+" FROM keelson_saga WHERE "+strings.Join(w.parts, " AND ")+fmt.Sprintf(" ORDER BY id LIMIT %d", listPage), w.args...)
}

// deadFor is how long an owner that was declared dead is told so.
const deadFor = 7 * 24 * time.Hour

// Purge forgets ended sagas whose last commit is at least olderThan ago, at most
// limit of them, and returns how many. Their ids are free again.
func (s *Store) Purge(ctx context.Context, olderThan time.Duration, limit int) (n int, err error) {
	err = s.write(ctx, func(c *conn) error {
		n = 0
		ids, err := c.strings(ctx, "SELECT id FROM keelson_saga WHERE state >= 5 AND ended <= $1 AND owner IS NULL ORDER BY ended LIMIT $2[ FOR UPDATE SKIP LOCKED]",
			c.now-olderThan.Microseconds(), max(limit, 0))
		if err != nil {
			return err
		}
		list, err := json.Marshal(append([]string{}, ids...))
		if err != nil {
			return err
		}
		for _, table := range []string{"keelson_saga_record", "keelson_saga_mail", "keelson_saga"} {
			if _, err := c.exec(ctx, "DELETE FROM "+table+" WHERE "+c.among("id", 1), string(list)); err != nil {
				return err
			}
		}
		n = len(ids)
		_, err = c.exec(ctx, "DELETE FROM keelson_saga_owner WHERE dead = 1 AND until < $1", c.now-deadFor.Microseconds())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sagasql: purge: %w", err)
	}
	return n, nil
}
