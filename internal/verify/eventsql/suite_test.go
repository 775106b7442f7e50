package eventsql

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// With GroupCommit on Postgres it runs beside the other stores, in
// internal/verify/eventsource.
func TestStoreKeepsTheContract(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return newStore(t, db, eventsql.Config{}) })
	})
}

func TestCheckpointsKeepTheContract(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		eventtest.TestCheckpoints(t, func(t *testing.T) eventsource.Checkpoints { return newStore(t, db, eventsql.Config{}) })
	})
}

// A pool of one connection serves everything: no call holds one while it takes
// another.
func TestOneConnectionIsEnough(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		db.SetMaxOpenConns(1)
		eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return newStore(t, db, eventsql.Config{}) })
	})
}

// Postgres can be told to begin transactions as SERIALIZABLE, whose older
// snapshots are blind.
func TestStricterDefaultIsolationKeepsTheContract(t *testing.T) {
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL()+"&default_transaction_isolation=serializable")
	for _, group := range []int{1, 16} {
		eventtest.TestStore(t, func(t *testing.T) eventsource.Store {
			return newStore(t, db, eventsql.Config{GroupCommit: group})
		})
	}
}

// T7: hashes order appends and decide nothing: with those of eight bits
// everything collides, and the answers are the same.
func TestHashCollisionsChangeNoAnswer(t *testing.T) {
	db := postgres(t, "pgx")()
	eventtest.TestStore(t, func(t *testing.T) eventsource.Store {
		cfg := eventsql.Config{Prefix: newStorePrefix()}
		require.NoError(t, eventsql.Setup(t.Context(), db, cfg))
		s, err := eventsql.Open(sqldb.WithHashMask(context.Background(), 0xff), db, cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
}
