package eventsql

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/internal/sqldb"
)

func TestStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	onEachAtOnce(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return newStore(t, db, eventsql.Config{}) })
	})
}

func TestCheckpointsKeepTheContract(t *testing.T) {
	t.Parallel()
	onEachAtOnce(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		eventtest.TestCheckpoints(t, func(t *testing.T) eventsource.Checkpoints { return newStore(t, db, eventsql.Config{}) })
	})
}

// A pool of one connection serves everything: no call holds one while it takes
// another. So do groups of appends, where every caller but one waits for a group.
func TestGroupCommitOnOneConnectionKeepsTheContract(t *testing.T) {
	contract(t, 1, "", func(t *testing.T, db *sql.DB) eventsource.Store {
		return newStore(t, db, eventsql.Config{GroupCommit: 256})
	})
}

// T7: hashes order appends and decide nothing: with those of eight bits
// everything collides, and the answers are the same. And Postgres can be told to
// begin transactions as SERIALIZABLE, whose older snapshots are blind.
func TestCollisionsAndStricterIsolationChangeNoAnswer(t *testing.T) {
	contract(t, 1, serializable, colliding)
}

const serializable = "&default_transaction_isolation=serializable"

func colliding(t *testing.T, db *sql.DB) eventsource.Store {
	cfg := eventsql.Config{Prefix: newStorePrefix()}
	require.NoError(t, eventsql.Setup(t.Context(), db, cfg))
	s, err := eventsql.Open(sqldb.WithHashMask(context.Background(), 0xff), db, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// contract runs the suite on Postgres with a pool of some connections.
func contract(t *testing.T, conns int, parameters string, open func(t *testing.T, db *sql.DB) eventsource.Store) {
	db := openDB(t, "pgx", freshDatabase(t)+parameters)
	db.SetMaxOpenConns(conns)
	t.Parallel()
	eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return open(t, db) })
}

// The long form: what the two tests above have together, one by one, and a single
// connection with every driver.
func TestEachSettingKeepsTheContract(t *testing.T) {
	if !soak {
		t.Log("the long form runs with KEELSON_SOAK")
		return
	}
	group := func(n int) func(t *testing.T, db *sql.DB) eventsource.Store {
		return func(t *testing.T, db *sql.DB) eventsource.Store {
			return newStore(t, db, eventsql.Config{GroupCommit: n})
		}
	}
	t.Run("groups", func(t *testing.T) { contract(t, 20, "", group(256)) })
	t.Run("collisions", func(t *testing.T) { contract(t, 20, "", colliding) })
	t.Run("isolation", func(t *testing.T) { contract(t, 20, serializable, group(1)) })
	t.Run("isolation and groups", func(t *testing.T) { contract(t, 20, serializable, group(16)) })
	onEachAtOnce(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		db.SetMaxOpenConns(1)
		eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return newStore(t, db, eventsql.Config{}) })
	})
}
