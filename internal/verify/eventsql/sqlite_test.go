package eventsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
)

// watched wraps a driver, and notes the synchronous level at each COMMIT.
type watched struct {
	of     driver.Driver
	source string

	mu     sync.Mutex
	levels []int64
}

func (w *watched) Connect(context.Context) (driver.Conn, error) {
	conn, err := w.of.Open(w.source)
	return &watchedConn{conn, w}, err
}

func (w *watched) Driver() driver.Driver { return w.of }

type watchedConn struct {
	driver.Conn
	w *watched
}

func (c *watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if strings.HasPrefix(query, "COMMIT") {
		rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, "PRAGMA synchronous", nil)
		if err != nil {
			return nil, err
		}
		values := make([]driver.Value, 1)
		if err := rows.Next(values); err != nil {
			return nil, err
		}
		if err := rows.Close(); err != nil {
			return nil, err
		}
		c.w.mu.Lock()
		c.w.levels = append(c.w.levels, values[0].(int64))
		c.w.mu.Unlock()
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *watchedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// T32: whatever the data source name or the driver says, the transaction of an
// append waits for the disk; afterwards the connection is as it was.
func TestAppendsAreSyncedWhateverTheSourceSays(t *testing.T) {
	sources := map[string]string{"sqlite": "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"}
	for _, name := range sql.Drivers() {
		if name == "sqlite3" {
			sources[name] = "?_journal_mode=WAL&_synchronous=NORMAL"
		}
	}
	for name, parameters := range sources {
		t.Run(name, func(t *testing.T) {
			plain := openDB(t, name, "file:"+t.TempDir()+"/a.db"+parameters)
			w := &watched{of: plain.Driver(), source: "file:" + t.TempDir() + "/b.db" + parameters}
			db := sql.OpenDB(w)
			defer db.Close()
			db.SetMaxOpenConns(1)
			s := newStore(t, db, eventsql.Config{})
			w.levels = nil
			for range 5 {
				appended(t, s, one("a"))
			}
			require.NoError(t, s.SaveCheckpoint(t.Context(), "c", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1}, nil))
			assert.Equal(t, []int64{2, 2, 2, 2, 2, 2}, w.levels)
			var level int
			require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&level))
			assert.Equal(t, 1, level)
		})
	}
}

// A rollback journal that is off or in memory leaves half a transaction after a
// crash.
func TestUnsafeJournalsAreRefused(t *testing.T) {
	db := openDB(t, "sqlite", "file:"+t.TempDir()+"/x.db?_pragma=journal_mode(OFF)")
	require.NoError(t, eventsql.Setup(t.Context(), db, eventsql.Config{}))
	_, err := eventsql.Open(t.Context(), db, eventsql.Config{})
	require.ErrorContains(t, err, "journal_mode")
}

// A database in memory, with the one connection that keeps it, is a store.
func TestADatabaseInMemoryServes(t *testing.T) {
	db := openDB(t, "sqlite", ":memory:")
	db.SetMaxOpenConns(1)
	s := newStore(t, db, eventsql.Config{})
	appended(t, s, one("a"))
	assert.EqualValues(t, 1, head(t, s))
}

// Other processes write the same file: a busy database is waited for, whatever
// the driver's own patience.
func TestBusyDatabasesAreWaitedFor(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		cfg := eventsql.Config{Prefix: newStorePrefix()}
		a, b := newStore(t, open(), cfg), newStore(t, open(), cfg)
		var wg sync.WaitGroup
		for _, s := range []*eventsql.Store{a, b, a, b} {
			wg.Go(func() {
				for range 25 {
					_, err := s.Append(context.Background(), one("a"))
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		assert.Len(t, positions(t, a), 100)
	})
}

// Appends that wait for a commit share the next one.
func TestGroupsShareACommit(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		s := newStore(t, open(), eventsql.Config{GroupCommit: 64})
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 5 {
					_, err := s.Append(context.Background(), one("a"))
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		st := s.Stats()
		assert.EqualValues(t, 320, st.Appends)
		assert.EqualValues(t, 320, st.Events)
		assert.Less(t, st.Commits, st.Appends)
		t.Logf("%+v", st)
	})
}

// A row that the database refuses undoes all that its group has written, and then
// fails alone.
func TestARefusedRowFailsAlone(t *testing.T) {
	on(t, eachDatabase(), func(t *testing.T, open func() *sql.DB) {
		db, prefix := open(), newStorePrefix()
		s := newStore(t, db, eventsql.Config{Prefix: prefix, GroupCommit: 64})
		_, err := db.ExecContext(t.Context(), "CREATE UNIQUE INDEX "+prefix+"rule ON "+prefix+"events (type) WHERE type = 'once'")
		require.NoError(t, err)
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for n := range 5 {
					event := one(fmt.Sprint("stream-", i))
					if n%4 == 1 && i%8 == 0 {
						event[0].Type = "once"
					}
					_, err := s.Append(context.Background(), event)
					if err != nil && event[0].Type == "once" {
						refused.Add(1)
					} else {
						assert.NoError(t, err)
					}
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 7, refused.Load(), "of eight, one was first")
		assert.Len(t, positions(t, s), 64*5-7)
		assert.Less(t, s.Stats().Commits, s.Stats().Appends)
		t.Logf("%+v", s.Stats())
	})
}
