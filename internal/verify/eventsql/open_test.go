package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	_ "github.com/lib/pq"              // registers the driver "postgres"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// A backend is a database with a driver.
type backend struct {
	name string
	// source makes an empty database, and returns what opens it.
	source func(t *testing.T) (driver, source string)
}

// backends is completed by mattn_test.go where cgo builds.
var backends = []backend{
	{"postgres-pgx", func(t *testing.T) (string, string) { return "pgx", freshDatabase(t) }},
	{"postgres-pq", func(t *testing.T) (string, string) { return "postgres", freshDatabase(t) }},
	{"sqlite-modernc", func(t *testing.T) (string, string) {
		return "sqlite", "file:" + t.TempDir() + "/events.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(0)"
	}},
}

// onEach runs a test on every backend.
func onEach(t *testing.T, test func(t *testing.T, open func() *sql.DB)) {
	on(t, backends, test)
}

func on(t *testing.T, backends []backend, test func(t *testing.T, open func() *sql.DB)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			driver, source := b.source(t)
			test(t, func() *sql.DB { return openDB(t, driver, source) })
		})
	}
}

// onEachAtOnce is onEach for long tests that wait a lot, beside each other.
func onEachAtOnce(t *testing.T, test func(t *testing.T, open func() *sql.DB)) {
	on(t, backends, func(t *testing.T, open func() *sql.DB) {
		t.Parallel()
		test(t, open)
	})
}

// soak asks for the long forms, which make soak runs.
var soak = os.Getenv("KEELSON_SOAK") != ""

// eachDatabase is one driver per database, for what is not the driver's; make soak
// takes every backend. It prefers the SQLite that is compiled from C, where there is one: under
// the race detector it is five times as fast.
func eachDatabase() []backend {
	if soak {
		return backends
	}
	sqlite := "sqlite-modernc"
	if slices.ContainsFunc(backends, func(b backend) bool { return b.name == "sqlite-mattn" }) {
		sqlite = "sqlite-mattn"
	}
	return slices.DeleteFunc(slices.Clone(backends), func(b backend) bool { return b.name != "postgres-pgx" && b.name != sqlite })
}

func postgres(t *testing.T, driver string) func() *sql.DB {
	source := freshDatabase(t)
	return func() *sql.DB { return openDB(t, driver, source) }
}

// shared is the server of all tests that do not stop it. TestMain closes it.
var (
	sharedMu sync.Mutex
	shared   *engine.Server
)

// freshDatabase returns the URL of an empty database on it.
func freshDatabase(t *testing.T) string {
	t.Helper()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil {
		shared = engine.Postgres(keep{t})
	}
	name := "d" + newStorePrefix()
	db := openDB(t, "pgx", shared.URL())
	_, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return sibling(t, shared, name)
}

// keep lets an engine outlive the test that starts it.
type keep struct{ *testing.T }

func (keep) Cleanup(func()) {}

func openDB(t *testing.T, driver, source string) *sql.DB {
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// through is the URL of a server behind a proxy.
func through(t *testing.T, server *engine.Server, proxy *engine.Proxy) string {
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	u.Host = proxy.Addr()
	return u.String()
}

var prefixes atomic.Int64

func newStorePrefix() string { return fmt.Sprintf("t%d_", prefixes.Add(1)) }

// newStore sets up tables of its own.
func newStore(t *testing.T, db *sql.DB, cfg eventsql.Config) *eventsql.Store {
	t.Helper()
	if cfg.Prefix == "" {
		cfg.Prefix = newStorePrefix()
	}
	require.NoError(t, eventsql.Setup(context.Background(), db, cfg))
	return openStore(t, db, cfg)
}

func openStore(t *testing.T, db *sql.DB, cfg eventsql.Config) *eventsql.Store {
	t.Helper()
	s, err := eventsql.Open(context.Background(), db, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
