package barrier

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// rows is the backend within a transaction. Rows lock each other out by themselves:
// inserting one that another transaction has inserted waits for its end.
type rows struct {
	tx      *sql.Tx
	dialect sqldb.Dialect // zero: not asked yet
}

// lock is where the guard learns which database it is on: by a query that both
// answer, since one that Postgres does not know would end the transaction. Postgres
// cuts the text, SQLite ignores the length.
func (b *rows) lock(ctx context.Context, _ row) (func(), error) {
	if b.dialect == 0 {
		var text string
		if err := b.tx.QueryRowContext(ctx, "SELECT CAST('ab' AS varchar(1))").Scan(&text); err != nil {
			return nil, err
		}
		b.dialect = sqldb.SQLite
		if text == "a" {
			b.dialect = sqldb.Postgres
		}
	}
	return func() {}, nil
}

// sql puts placeholders in place. SQLite's drivers bind ?N by number, and $N by
// name or by order of appearance.
func (b *rows) sql(query string) string {
	if b.dialect == sqldb.SQLite {
		return strings.ReplaceAll(query, "$", "?")
	}
	return query
}

func (r row) verb() string {
	if r.undo {
		return "undo"
	}
	return "do"
}

func (b *rows) insert(ctx context.Context, r row) (added bool, err error) {
	n, err := b.exec(ctx, "INSERT INTO keelson_barrier (saga, step, verb, mark) VALUES ($1, $2, $3, '') ON CONFLICT DO NOTHING", r.saga, r.step, r.verb())
	return n == 1, err
}

func (b *rows) answer(ctx context.Context, r row) (mark string, data []byte, err error) {
	var text sql.NullString
	err = b.tx.QueryRowContext(ctx, b.sql("SELECT mark, answer FROM keelson_barrier WHERE saga = $1 AND step = $2 AND verb = $3"), r.saga, r.step, r.verb()).Scan(&mark, &text)
	if text.Valid {
		data = []byte(text.String)
	}
	return mark, data, err
}

func (b *rows) finish(ctx context.Context, r row, mark string, data []byte) error {
	var answer any
	if data != nil {
		answer = string(data)
	}
	_, err := b.exec(ctx, "UPDATE keelson_barrier SET mark = $1, answer = $2 WHERE saga = $3 AND step = $4 AND verb = $5", mark, answer, r.saga, r.step, r.verb())
	return err
}

func (b *rows) remove(ctx context.Context, r row) error {
	_, err := b.exec(ctx, "DELETE FROM keelson_barrier WHERE saga = $1 AND step = $2 AND verb = $3", r.saga, r.step, r.verb())
	return err
}

func (b *rows) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := b.tx.ExecContext(ctx, b.sql(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// schema is the same on both, but for the type of a time, which comes first.
const schema = `CREATE TABLE keelson_barrier (
    saga text NOT NULL,
    step text NOT NULL,
    verb text NOT NULL, -- do, undo
    mark text NOT NULL, -- ran, empty: an undo came first; '' while it runs
    answer text, -- JSON of what ran
    at %s NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (saga, step, verb)
);

CREATE INDEX keelson_barrier_at ON keelson_barrier (at);
`

// Setup creates table keelson_barrier, in one transaction under a lock. It is
// idempotent: call it at every start.
func Setup(ctx context.Context, db *sql.DB) error {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		at := "timestamp with time zone"
		if d == sqldb.SQLite {
			at = "text" // UTC
		}
		err = sqldb.Schema{Part: "barrier", Prefix: sqldb.DefaultPrefix, Scripts: []string{fmt.Sprintf(schema, at)}}.Setup(ctx, db, d)
	}
	if err != nil {
		return fmt.Errorf("barrier: setup: %w", err)
	}
	return nil
}

// Purge forgets calls that are at least olderThan ago, by the database's clock, at
// most limit of them, and returns how many. Choose olderThan longer than any message
// can be late: a call that is forgotten can run again.
func Purge(ctx context.Context, db *sql.DB, olderThan time.Duration, limit int) (int, error) {
	d, err := sqldb.Recognise(ctx, db, true)
	if err != nil {
		return 0, fmt.Errorf("barrier: purge: %w", err)
	}
	seconds := int64((olderThan + time.Second - 1) / time.Second)
	query := fmt.Sprintf(`DELETE FROM keelson_barrier WHERE (saga, step, verb) IN
		(SELECT saga, step, verb FROM keelson_barrier WHERE at <= datetime('now', '-%d seconds') ORDER BY at LIMIT %d)`, seconds, max(limit, 0))
	if d == sqldb.Postgres {
		query = fmt.Sprintf(`DELETE FROM keelson_barrier WHERE (saga, step, verb) IN
		(SELECT saga, step, verb FROM keelson_barrier WHERE at <= CURRENT_TIMESTAMP - %d * interval '1 second' ORDER BY at LIMIT %d FOR UPDATE SKIP LOCKED)`, seconds, max(limit, 0))
	}
	var n int64
	err = sqldb.WhileBusy(ctx, func() error {
		res, err := db.ExecContext(ctx, query)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("barrier: purge: %w", err)
	}
	return int(n), nil
}
