package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	_ "modernc.org/sqlite"             // registers the driver "sqlite"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// The rows of eventsource/eventsql append events of 256 bytes to 10,000 random
// streams, from c goroutines, and give the time per append: the wall clock
// divided by appends. Postgres runs with fsync and synchronous_commit on,
// SQLite in WAL mode with synchronous=FULL, on the machine's disk.
func eventsqlRows() []row {
	return []row{{
		name:   "eventsql: SQLite, WAL, FULL, c=64",
		ours:   appending(onSQLite, 64),
		peers:  []peer{{"the same, c=1", appending(onSQLite, 1), 0.1}},
		allocs: 400,
	}, {
		name:   "eventsql: Postgres, fsync, c=16",
		ours:   appending(onPostgres("floor_", eventsql.Config{}, 16), 16),
		peers:  []peer{{"plain nextval, which loses events", appending(onPostgres("plain_", eventsql.Config{}, 16), 16), 1.33}},
		allocs: 400,
	}, {
		name:   "eventsql: Postgres, fsync, c=256, GroupCommit 256",
		ours:   appending(onPostgres("group_", eventsql.Config{GroupCommit: 256}, 64), 256),
		peers:  []peer{{"GroupCommit 1", appending(onPostgres("single_", eventsql.Config{}, 64), 256), 0.25}},
		allocs: 400,
	}, {
		name:   "eventsql: Postgres, fsync, c=16, 300,000 events before",
		ours:   appending(preloaded("large_", sized(300_000)), 16),
		peers:  []peer{{"30,000 events before", appending(preloaded("small_", sized(30_000)), 16), 1.5}},
		allocs: 400,
	}, {
		name:   "eventsql: Postgres, fsync, an event into a table by InTx, batches of 512",
		ours:   projecting(projectInTx),
		peers:  []peer{{"a bare loop: SELECT, INSERT, UPDATE, COMMIT", projecting(projectBare), 0}},
		allocs: 400,
	}}
}

// appending measures n appends from c goroutines.
func appending(open func(b *testing.B) *eventsql.Store, c int) func(b *testing.B) {
	return func(b *testing.B) {
		s := open(b)
		payload := make([]byte, 256)
		var next atomic.Int64
		var wg sync.WaitGroup
		b.ResetTimer()
		for i := range c {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
				for next.Add(1) <= int64(b.N) {
					stream := fmt.Sprintf("account-%d", r.IntN(10_000))
					if _, err := s.Append(context.Background(), []eventsource.Event{{Stream: stream, Type: "account.deposited", Data: payload}}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		b.StopTimer()
	}
}

func openSQL(b *testing.B, driver, source string, conns int, cfg eventsql.Config) (*sql.DB, *eventsql.Store) {
	db, err := sql.Open(driver, source)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := eventsql.Setup(context.Background(), db, cfg); err != nil {
		b.Fatal(err)
	}
	s, err := eventsql.Open(context.Background(), db, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return db, s
}

func onSQLite(b *testing.B) *eventsql.Store {
	_, s := openSQL(b, "sqlite", "file:"+b.TempDir()+"/events.db?_pragma=journal_mode(WAL)", 4, eventsql.Config{})
	return s
}

// started is the server that all rows share; closeEngines ends it.
var started atomic.Pointer[engine.Server]

var postgresOnce = sync.OnceValues(func() (*engine.Server, error) {
	server, err := engine.StartPostgres(context.Background(), "")
	started.Store(server)
	return server, err
})

// startedPostgres skips the row where Postgres is not installed.
func startedPostgres(b *testing.B) *engine.Server {
	server, err := postgresOnce()
	if _, absent := errors.AsType[*engine.NotInstalledError](err); absent {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return server
}

func closeEngines() error {
	if rabbitStarted.Load() {
		if server, err := rabbit(); err == nil {
			defer server.Close()
		}
	}
	if server := started.Load(); server != nil {
		return server.Close()
	}
	return nil
}

// onPostgres opens tables that all rounds of a row share. Those of "plain_"
// have an append without the floor lock.
func onPostgres(prefix string, cfg eventsql.Config, conns int) func(b *testing.B) *eventsql.Store {
	cfg.Prefix = prefix
	return func(b *testing.B) *eventsql.Store {
		db, s := openSQL(b, "pgx", startedPostgres(b).URL(), conns, cfg)
		if prefix == "plain_" {
			if err := withoutFloor(db, prefix); err != nil {
				b.Fatal(err)
			}
		}
		return s
	}
}

func withoutFloor(db *sql.DB, prefix string) error {
	var source string
	err := db.QueryRowContext(context.Background(), "SELECT pg_get_functiondef($1::regproc)", prefix+"append").Scan(&source)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(source, "PERFORM pg_advisory_xact_lock_shared("+prefix+"space(0)")
	if !found {
		if strings.Contains(source, "without the floor") {
			return nil
		}
		return errors.New("the floor lock is not where it was")
	}
	_, after, _ := strings.Cut(rest, "\n")
	_, err = db.ExecContext(context.Background(), before+"-- without the floor\n"+after)
	return err
}

// preloaded tables have n events, made by one statement.
func preloaded(prefix string, n int) func(b *testing.B) *eventsql.Store {
	return func(b *testing.B) *eventsql.Store {
		s := onPostgres(prefix, eventsql.Config{}, 16)(b)
		db, err := sql.Open("pgx", startedPostgres(b).URL())
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		var have int
		if err := db.QueryRowContext(context.Background(), "SELECT count(*) FROM (SELECT FROM "+prefix+"events LIMIT 1) one").Scan(&have); err != nil {
			b.Fatal(err)
		}
		if have == 0 {
			_, err := db.ExecContext(context.Background(), fmt.Sprintf(`INSERT INTO %[1]sevents (position, id, stream, version, type, schema, data, at)
				SELECT nextval('%[1]sposition'), gen_random_uuid(), 'account-' || n %% 10000, n / 10000 + 1, 'account.deposited', 1, decode(repeat('00', 256), 'hex'), now()
				FROM generate_series(0, %[2]d - 1) AS n`, prefix, n))
			if err == nil {
				_, err = db.ExecContext(context.Background(), "VACUUM ANALYZE "+prefix+"events")
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ResetTimer()
		return s
	}
}

// projecting measures b.N events on their way from the log into a table.
func projecting(project func(b *testing.B, db *sql.DB, s *eventsql.Store) error) func(b *testing.B) {
	return func(b *testing.B) {
		prefix := fmt.Sprintf("p%d_", prefixes.Add(1))
		db, s := openSQL(b, "pgx", startedPostgres(b).URL(), 8, eventsql.Config{Prefix: prefix, GroupCommit: 256})
		_, err := db.ExecContext(context.Background(), fmt.Sprintf(`
			INSERT INTO %[1]sevents (position, id, stream, version, type, schema, data, at)
				SELECT nextval('%[1]sposition'), gen_random_uuid(), 'account-' || n, 1, 'account.deposited', 1, decode(repeat('00', 256), 'hex'), now()
				FROM generate_series(1, %[2]d) AS n;
			CREATE TABLE %[1]smodel (stream text PRIMARY KEY, events bigint);
			CREATE TABLE %[1]sdone (position bigint);
			INSERT INTO %[1]sdone VALUES (0)`, prefix, b.N))
		if err != nil {
			b.Fatal(err)
		}
		modelPrefix = prefix
		b.ResetTimer()
		if err := project(b, db, s); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		var rows int
		if err := db.QueryRowContext(context.Background(), "SELECT count(*) FROM "+prefix+"model").Scan(&rows); err != nil || rows != b.N {
			b.Fatalf("%d rows, %v, want %d", rows, err, b.N)
		}
		_, err = db.ExecContext(context.Background(), fmt.Sprintf("DROP TABLE %[1]sevents, %[1]smodel, %[1]sdone", prefix))
		if err != nil {
			b.Fatal(err)
		}
	}
}

var (
	prefixes    atomic.Int64
	modelPrefix string
)

// model writes a batch by one statement.
func model(ctx context.Context, tx *sql.Tx, events []eventsource.Recorded) error {
	var streams strings.Builder
	streams.WriteByte('{')
	for i := range events {
		if i > 0 {
			streams.WriteByte(',')
		}
		streams.WriteString(events[i].Stream)
	}
	streams.WriteByte('}')
	_, err := tx.ExecContext(ctx, "INSERT INTO "+modelPrefix+"model AS m SELECT unnest($1::text[]), 1 ON CONFLICT (stream) DO UPDATE SET events = m.events + 1", streams.String())
	return err
}

func projectInTx(b *testing.B, _ *sql.DB, s *eventsql.Store) error {
	ctx, done := context.WithCancel(context.Background())
	defer done()
	p := eventsource.Projection{
		Name: "model", Query: eventsource.All(),
		Apply: eventsql.InTx(func(ctx context.Context, tx *sql.Tx, batch eventsource.Batch) error {
			return model(ctx, tx, batch.Events)
		}),
		OnEvent: func(e eventsource.Progress) {
			if e.Through >= eventsource.Position(b.N) {
				done()
			}
		},
	}
	if err := p.Run(ctx, s, s); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func projectBare(b *testing.B, db *sql.DB, s *eventsql.Store) error {
	ctx := context.Background()
	for after := eventsource.Position(0); after < eventsource.Position(b.N); {
		var events []eventsource.Recorded
		for e, err := range s.Read(ctx, eventsource.All(), eventsource.ReadOptions{After: after, Limit: 512}) {
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		after = events[len(events)-1].Position
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err = model(ctx, tx, events); err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE "+modelPrefix+"done SET position = $1", int64(after))
		}
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
