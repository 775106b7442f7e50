package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // lets dbos take SQLite

	"github.com/keelson-go/keelson/internal/wal"
)

// sagaRecord is about what an append of W2 takes in the file log, by
// TestSagaRecordIsOfTheSizeOfAnAppend.
const sagaRecord = 130

// bareWal makes durable what a saga of four steps writes, without knowing what it
// is: five records, each after the one before.
func bareWal(c int) func(b *testing.B) {
	return func(b *testing.B) {
		l, err := wal.Open(wal.Config{Dir: b.TempDir()}, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		ctx := context.Background()
		b.ResetTimer()
		concurrently(b, c, func() error {
			var record [sagaRecord]byte
			for range 5 {
				if err := l.Reserve(ctx, len(record)); err != nil {
					return err
				}
				if err := l.Enqueue(record[:]).Wait(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		b.StopTimer()
	}
}

// Bare statements write the rows of a saga of four steps, a header and five records,
// for 64 sagas at a time, and check nothing.
const bareBatch = 64

const bareData = `{"set":{"stock":"step-1","n":1}}`

func barePostgres(b *testing.B) {
	db := opened(b, "pgx", startedPostgres(b).URL(), 1)
	ctx := context.Background()
	run := func(query string, args ...any) {
		if _, err := db.ExecContext(ctx, query, args...); err != nil {
			b.Fatal(err)
		}
	}
	run(`CREATE TABLE IF NOT EXISTS bare_saga (id text COLLATE "C" PRIMARY KEY, state integer NOT NULL, step text NOT NULL,
		seq bigint NOT NULL, updated bigint NOT NULL) WITH (fillfactor = 70)`)
	run(`CREATE TABLE IF NOT EXISTS bare_record (id text COLLATE "C" NOT NULL, seq bigint NOT NULL, kind text NOT NULL, step text NOT NULL,
		state integer NOT NULL, at bigint NOT NULL, data text NOT NULL, PRIMARY KEY (id, seq))`)
	b.ResetTimer()
	for n := 0; n < b.N; n += bareBatch {
		ids := bareIDs(min(bareBatch, b.N-n))
		for seq := range 5 {
			header := `UPDATE bare_saga SET state = 1, step = $2, seq = $3, updated = 1700000000000000 WHERE id = ANY($1::text[])`
			if seq == 0 {
				header = `INSERT INTO bare_saga SELECT unnest($1::text[]), 1, $2::text, $3::bigint, 1700000000000000`
			}
			run(`WITH h AS (`+header+` RETURNING id)
				INSERT INTO bare_record SELECT id, $3::bigint, 'done', $2::text, 1, 1700000000000000, $4::text FROM h`,
				"{"+strings.Join(ids, ",")+"}", "step-"+strconv.Itoa(seq), seq+1, bareData)
		}
	}
	b.StopTimer()
}

func bareIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = sagaID()
	}
	return ids
}

func bareSQLite(b *testing.B) {
	db := sqliteFull(b, 1)
	ctx := context.Background()
	for _, query := range []string{
		`CREATE TABLE saga (id text PRIMARY KEY, state integer NOT NULL, step text NOT NULL, seq integer NOT NULL, updated integer NOT NULL)`,
		`CREATE TABLE record (id text NOT NULL, seq integer NOT NULL, kind text NOT NULL, step text NOT NULL,
			state integer NOT NULL, at integer NOT NULL, data text NOT NULL, PRIMARY KEY (id, seq)) WITHOUT ROWID`,
	} {
		if _, err := db.ExecContext(ctx, query); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += bareBatch {
		ids := bareIDs(min(bareBatch, b.N-n))
		for seq := range 5 {
			if err := bareTx(ctx, db, ids, seq); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
}

func bareTx(ctx context.Context, db *sql.DB, ids []string, seq int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	query := `UPDATE saga SET state = 1, step = ?2, seq = ?3, updated = 1700000000000000 WHERE id = ?1`
	if seq == 0 {
		query = `INSERT INTO saga VALUES (?1, 1, ?2, ?3, 1700000000000000)`
	}
	header, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer header.Close()
	record, err := tx.PrepareContext(ctx, `INSERT INTO record VALUES (?1, ?2, 'done', ?3, 1, 1700000000000000, ?4)`)
	if err != nil {
		return err
	}
	defer record.Close()
	step := "step-" + strconv.Itoa(seq)
	for _, id := range ids {
		if _, err := header.ExecContext(ctx, id, step, seq+1); err != nil {
			return err
		}
		if _, err := record.ExecContext(ctx, id, seq+1, step, bareData); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// dbosWorkflows runs workflows of four steps with as many results to keep. It has
// no compensation: its workflows are measured by what they have in common with
// sagas.
func dbosWorkflows(config func(b *testing.B) dbos.Config, c int) func(b *testing.B) {
	return func(b *testing.B) {
		cfg := config(b)
		cfg.AppName, cfg.Logger = "bench", slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
		ctx, err := dbos.NewContext(context.Background(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		dbos.RegisterWorkflow(ctx, dbosOrder)
		if err := dbos.Launch(ctx); err != nil {
			b.Fatal(err)
		}
		defer func() {
			if err := dbos.Shutdown(ctx, 10*time.Second); err != nil {
				b.Log(err)
			}
		}()
		b.ResetTimer()
		concurrently(b, c, func() error {
			h, err := dbos.RunWorkflow(ctx, dbosOrder, sagaOrder{User: "ada", Parcel: "none"}, dbos.WithWorkflowID(sagaID()))
			if err != nil {
				return err
			}
			o, err := h.GetResult()
			if err == nil && o.N != 4 {
				err = fmt.Errorf("%d steps were run", o.N)
			}
			return err
		})
		b.StopTimer()
	}
}

func dbosOrder(ctx dbos.Context, o sagaOrder) (sagaOrder, error) {
	for i := range 4 {
		name := "step-" + strconv.Itoa(i+1)
		stock, err := dbos.RunAsStep(ctx, func(context.Context) (string, error) { return name, nil }, dbos.WithStepName(name))
		if err != nil {
			return o, err
		}
		o.Stock = stock
		o.N++
	}
	return o, nil
}

// dbosOnPostgres has its default pool, of 20 connections, and its own schema.
func dbosOnPostgres(b *testing.B) dbos.Config {
	return dbos.Config{DatabaseURL: startedPostgres(b).URL()}
}

// dbosOnSQLite has its default pool, of 8 connections, with FULL in place of its
// NORMAL.
func dbosOnSQLite(b *testing.B) dbos.Config {
	return dbos.Config{SQLiteSystemDB: sqliteFull(b, 8)}
}
