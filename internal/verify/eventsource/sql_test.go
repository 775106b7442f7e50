package eventsource_test

import (
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

func init() {
	stores["sqlite"] = func(t *testing.T) eventsource.Store {
		return openSQL(t, "sqlite", "file:"+t.TempDir()+"/events.db?_pragma=journal_mode(WAL)", eventsql.Config{})
	}
	stores["postgres"] = onPostgres(eventsql.Config{})
	stores["postgres, grouped"] = onPostgres(eventsql.Config{GroupCommit: 256})
}

var prefixes atomic.Int64

// onPostgres opens each store in tables of its own, on a server per test of the
// package.
func onPostgres(cfg eventsql.Config) func(t *testing.T) eventsource.Store {
	return func(t *testing.T) eventsource.Store {
		cfg := cfg
		cfg.Prefix = fmt.Sprintf("t%d_", prefixes.Add(1))
		return openSQL(t, "pgx", server(t).URL(), cfg)
	}
}

var shared atomic.Pointer[engine.Server]

// server starts one for all tests, which TestMain closes.
func server(t *testing.T) *engine.Server {
	t.Helper()
	if s := shared.Load(); s != nil {
		return s
	}
	s := engine.Postgres(keep{t})
	shared.Store(s)
	return s
}

// keep lets an engine outlive the test that starts it.
type keep struct{ *testing.T }

func (keep) Cleanup(func()) {}

func TestMain(m *testing.M) {
	m.Run()
	if s := shared.Load(); s != nil {
		if err := s.Close(); err != nil {
			panic(err)
		}
	}
}

func openSQL(t *testing.T, driver, source string, cfg eventsql.Config) eventsource.Store {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	require.NoError(t, eventsql.Setup(t.Context(), db, cfg))
	s, err := eventsql.Open(t.Context(), db, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
