package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// Parked is a message that [Outbox.Relay] took out of line.
type Parked struct {
	messaging.Message
	Attempts int       // failures that counted
	Err      string    // the last failure, at most 1 KiB
	Since    time.Time // when it was parked, by the database's clock, UTC
}

// Parked returns what was taken out of line, oldest first. A limit of zero means
// all, a negative one is refused.
func (o *Outbox) Parked(ctx context.Context, limit int) ([]Parked, error) {
	if limit < 0 {
		return nil, fmt.Errorf("outbox: parked: %w: limit is %d: want zero, which means all, or more", messaging.ErrInvalid, limit)
	}
	query := o.sql.parked
	if limit > 0 {
		query += " LIMIT " + strconv.Itoa(limit)
	}
	var all []Parked
	err := sqldb.WhileBusy(ctx, func() error {
		rows, err := o.db.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		all, err = scanParked(rows)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: parked: %w", ended(ctx, err))
	}
	return all, nil
}

func scanParked(rows *sql.Rows) (all []Parked, err error) {
	defer rows.Close()
	for rows.Next() {
		var p Parked
		var headers sql.NullString
		var since int64
		if err := rows.Scan(&p.ID, &p.Topic, &p.Key, &headers, &p.Body, &p.Attempts, &p.Err, &since); err != nil {
			return nil, err
		}
		if p.Headers, err = decodeHeaders(headers); err != nil {
			return nil, err
		}
		p.Since = time.UnixMicro(since).UTC()
		all = append(all, p)
	}
	return all, rows.Err()
}

// Unpark puts parked messages back in line, with no failures counted, and returns
// how many: those with these IDs, or all without ids. They go in the order in
// which they were put, before what has been put since.
func (o *Outbox) Unpark(ctx context.Context, ids ...string) (int, error) {
	if ids == nil {
		ids = []string{}
	}
	texts, err := json.Marshal(ids)
	if err != nil {
		return 0, fmt.Errorf("outbox: unpark: %w", err)
	}
	args := []any{len(ids) == 0, string(texts)}
	var n int64
	err = o.inTx(ctx, func(q sqldb.Querier) error {
		res, err := q.ExecContext(ctx, o.sql.unpark, args...)
		if err != nil {
			return err
		}
		if o.dialect == sqldb.SQLite {
			if res, err = q.ExecContext(ctx, o.sql.unparked, args...); err != nil {
				return err
			}
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("outbox: unpark: %w", ended(ctx, err))
	}
	o.Wake()
	return int(n), nil
}
