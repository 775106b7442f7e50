package barrier

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-go/keelson/internal/sqldb"
)

// In returns the guard of a transaction on Postgres or SQLite whose database
// [Setup] has prepared. It is cheap: make one per transaction. A call costs two
// statements.
func In(tx *sql.Tx) *Guard { return &Guard{rows: inTx{tx}} }

type inTx struct{ tx *sql.Tx }

// The statements suit both databases, and bind each parameter once, in order of
// its number, since some drivers count appearances.
const (
	insertRow = `INSERT INTO keelson_barrier (saga, step, kind, late) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	selectRow = `SELECT late, answer FROM keelson_barrier WHERE saga = $1 AND step = $2 AND kind = $3`
	updateRow = `UPDATE keelson_barrier SET answer = $1 WHERE saga = $2 AND step = $3 AND kind = $4`
	deleteRow = `DELETE FROM keelson_barrier WHERE saga = $1 AND step = $2 AND kind = $3`
)

// enter waits, in INSERT, for a transaction that has inserted the row and not ended.
func (t inTx) enter(ctx context.Context, k key, late bool) (*row, error) {
	mark := 0
	if late && k.kind == kindDo {
		mark = 1
	}
	result, err := t.tx.ExecContext(ctx, insertRow, k.saga, k.step, k.kind, mark)
	if err != nil {
		return nil, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return nil, err
	}
	var isLate int
	var answer sql.NullString
	err = t.tx.QueryRowContext(ctx, selectRow, k.saga, k.step, k.kind).Scan(&isLate, &answer)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("the row of a concurrent call is not visible: want READ COMMITTED, or another attempt: %w", err)
	}
	if err != nil {
		return nil, err
	}
	found := &row{late: isLate != 0}
	if answer.Valid {
		found.answer = []byte(answer.String)
	}
	return found, nil
}

func (t inTx) answer(ctx context.Context, k key, answer []byte) error {
	if answer == nil {
		return nil
	}
	_, err := t.tx.ExecContext(ctx, updateRow, string(answer), k.saga, k.step, k.kind)
	return err
}

func (t inTx) leave(ctx context.Context, k key) error {
	_, err := t.tx.ExecContext(ctx, deleteRow, k.saga, k.step, k.kind)
	return err
}

//go:embed schema_postgres.sql
var postgresSchema string

//go:embed schema_sqlite.sql
var sqliteSchema string

// Setup creates the table keelson_barrier, or migrates it. It is idempotent.
func Setup(ctx context.Context, db *sql.DB) error {
	d, err := sqldb.Recognise(ctx, db, true)
	if err == nil {
		script := postgresSchema
		if d == sqldb.SQLite {
			script = sqliteSchema
		}
		err = sqldb.Schema{Part: "barrier", Prefix: sqldb.DefaultPrefix, Scripts: []string{script}}.Setup(ctx, db, d)
	}
	if err != nil {
		return fmt.Errorf("barrier: setup: %w", err)
	}
	return nil
}

// Purge deletes rows older than olderThan, by the database's clock, at most limit,
// and returns how many. Choose a time longer than any message can be late: what is
// forgotten runs again.
func Purge(ctx context.Context, db *sql.DB, olderThan time.Duration, limit int) (int, error) {
	if olderThan < 0 || limit < 1 {
		return 0, fmt.Errorf("barrier: purge of what is older than %v, at most %d: want a time of zero or more, and a limit of one or more", olderThan, limit)
	}
	d, err := sqldb.Recognise(ctx, db, true)
	if err != nil {
		return 0, fmt.Errorf("barrier: purge: %w", err)
	}
	statement := `DELETE FROM keelson_barrier WHERE (saga, step, kind) IN (SELECT saga, step, kind FROM keelson_barrier
		WHERE at <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 ORDER BY at LIMIT $2)`
	if d == sqldb.SQLite {
		statement = `DELETE FROM keelson_barrier WHERE rowid IN (SELECT rowid FROM keelson_barrier
			WHERE at <= CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - $1 ORDER BY at LIMIT $2)`
	}
	result, err := db.ExecContext(ctx, statement, olderThan.Milliseconds(), limit)
	if err != nil {
		return 0, fmt.Errorf("barrier: purge: %w", err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}
