package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// line is a Store whose connections pass a proxy, and a direct way to the same
// tables.
type line struct {
	proxy  *engine.Proxy
	store  *eventsql.Store // behind the proxy
	direct *eventsql.Store
	db     *sql.DB // direct
}

func newLine(t *testing.T, server *engine.Server, cfg eventsql.Config) line {
	cfg.Prefix = newStorePrefix()
	l := line{proxy: engine.ProxyTo(t, server.Addr()), db: openDB(t, "pgx", server.URL())}
	l.direct = newStore(t, l.db, eventsql.Config{Prefix: cfg.Prefix})
	l.store = openStore(t, openDB(t, "pgx", through(t, server, l.proxy)), cfg)
	return l
}

// until waits for something in the database that another goroutine causes.
func (l line) until(t *testing.T, query string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for done := false; !done; {
		require.NoError(t, l.db.QueryRowContext(ctx, query, args...).Scan(&done))
	}
}

// warm readies the pool's connection: pgx pings one at its first reuse, and
// prepares a statement at its first use.
func (l line) warm(t *testing.T) {
	t.Helper()
	for range 3 {
		appended(t, l.store, one("warm"))
	}
}

// T19: the connection is cut while the append waits in the server, which goes
// on to commit it; while its answer is under way; and before it got there. It
// is sent once more each time, and the event is there exactly once.
func TestACutConnectionLeavesExactlyOneEvent(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	for _, group := range []int{1, 16} {
		l := newLine(t, server, eventsql.Config{GroupCommit: group})
		l.warm(t)
		sent := func(stream string, events []eventsource.Event) chan error {
			done := make(chan error, 1)
			go func() {
				res, err := l.store.Append(context.Background(), events, eventsource.NoStream(stream))
				if err == nil && (res.Duplicate || res.Version != 1) {
					err = fmt.Errorf("an append of one's own is %+v", res)
				}
				done <- err
			}()
			return done
		}
		check := func(stream string, done chan error) {
			require.NoError(t, <-done)
			n := 0
			for range l.direct.Read(t.Context(), eventsource.Stream(stream), eventsource.ReadOptions{}) {
				n++
			}
			assert.Equal(t, 1, n, stream)
		}

		// in: it waits for the lock of the stream when it is cut
		tx := begin(t, l.db)
		_, err := l.direct.AppendTx(t.Context(), tx, one("in"))
		require.NoError(t, err)
		done := sent("in", one("in"))
		l.until(t, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
		l.proxy.Cut()
		require.NoError(t, tx.Rollback())
		check("in", done)

		// after: it is committed and the answer is lost
		l.warm(t)
		require.NoError(t, l.proxy.Set(engine.Fault{Stall: engine.ToClient}))
		done = sent("after", one("after"))
		l.until(t, "SELECT count(*) = 1 FROM "+prefixOf(t, l)+"events WHERE stream = 'after'")
		l.proxy.Cut()
		require.NoError(t, l.proxy.Set(engine.Fault{}))
		check("after", done)

		// before: it has not arrived
		l.warm(t)
		require.NoError(t, l.proxy.Set(engine.Fault{Stall: engine.ToTarget}))
		done = sent("before", one("before"))
		l.until(t, "SELECT pg_sleep(0.05) IS NOT NULL")
		l.proxy.Cut()
		require.NoError(t, l.proxy.Set(engine.Fault{}))
		check("before", done)

		assert.Positive(t, l.store.Stats().Resent)
	}
}

func prefixOf(t *testing.T, l line) (prefix string) {
	t.Helper()
	err := l.db.QueryRowContext(t.Context(),
		"SELECT left(tablename, -6) FROM pg_tables WHERE tablename LIKE 't%events' ORDER BY length(tablename) DESC, tablename DESC LIMIT 1").Scan(&prefix)
	require.NoError(t, err)
	return prefix
}

// T19: an append that only tracks has no ids to tell it by: its loss is
// reported. So is a second loss.
func TestALossThatCannotBeResolvedIsReported(t *testing.T) {
	t.Parallel()
	l := newLine(t, engine.Postgres(t), eventsql.Config{})
	l.warm(t)
	require.NoError(t, l.proxy.Set(engine.Fault{Stall: engine.ToClient}))
	done := make(chan error, 1)
	go func() {
		_, err := l.store.Append(context.Background(), nil, eventsource.Track("source", 7))
		done <- err
	}()
	l.until(t, "SELECT count(*) = 1 FROM "+prefixOf(t, l)+"checkpoints WHERE name = 'track/source'")
	l.proxy.Cut()
	require.ErrorIs(t, <-done, eventsource.ErrUncertain)
	assert.Zero(t, l.store.Stats().Resent)

	require.NoError(t, l.proxy.Set(engine.Fault{}))
	l.warm(t)
	require.NoError(t, l.proxy.Set(engine.Fault{Stall: engine.ToClient}))
	go func() {
		_, err := l.store.Append(context.Background(), one("twice"))
		done <- err
	}()
	l.until(t, "SELECT count(*) = 1 FROM "+prefixOf(t, l)+"events WHERE stream = 'twice'")
	require.NoError(t, l.proxy.Set(engine.Fault{Refuse: true, Stall: engine.ToClient}))
	l.proxy.Cut()
	require.ErrorIs(t, <-done, eventsource.ErrUncertain)
}

// T19: of a group that is lost, what has ids is sent once more, and an append that
// only tracks is not: sent again it would find itself, and say that somebody else
// was first.
func TestALostGroupResendsWhatHasIDs(t *testing.T) {
	t.Parallel()
	l := newLine(t, engine.Postgres(t), eventsql.Config{GroupCommit: 16})
	l.warm(t)
	hold := func(events []eventsource.Event, conds ...eventsource.Condition) *sql.Tx {
		tx := begin(t, l.db)
		_, err := l.direct.AppendTx(t.Context(), tx, events, conds...)
		require.NoError(t, err)
		return tx
	}
	start := func(events []eventsource.Event, conds ...eventsource.Condition) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := l.store.Append(context.Background(), events, conds...)
			done <- err
		}()
		return done
	}
	waits := "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
	first, second := hold(one("a")), hold(one("b"), eventsource.Track("source", 1))
	running := start(one("a"))
	l.until(t, waits)
	tracking, writing := start(nil, eventsource.Track("source", 7)), start(one("b"))
	l.until(t, "SELECT pg_sleep(0.1) IS NOT NULL") // both are in line by then, most likely
	require.NoError(t, first.Rollback())
	require.NoError(t, <-running)
	l.until(t, waits)
	l.proxy.Cut()
	require.NoError(t, second.Rollback())
	require.ErrorIs(t, <-tracking, eventsource.ErrUncertain)
	require.NoError(t, <-writing)
	n := 0
	for range l.direct.Read(t.Context(), eventsource.Stream("b"), eventsource.ReadOptions{}) {
		n++
	}
	assert.Equal(t, 1, n)
}

// ctx ends while the append is in the database: nobody knows.
func TestALeavingCallerIsTold(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	for _, group := range []int{1, 16} {
		l := newLine(t, server, eventsql.Config{GroupCommit: group})
		tx := begin(t, l.db)
		_, err := l.direct.AppendTx(t.Context(), tx, one("a"))
		require.NoError(t, err)
		cause := errors.New("the caller has left")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := l.store.Append(ctx, one("a"))
			done <- err
		}()
		l.until(t, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
		cancel(cause)
		err = <-done
		require.ErrorIs(t, err, eventsource.ErrUncertain)
		require.ErrorIs(t, err, cause)
		require.NoError(t, tx.Rollback())
	}
}

// Killed and restarted, behind a line that breaks: what Append acknowledged is
// there once, what it refused is not, and the rest at most once.
func TestAcknowledgedAppendsOutliveTheServer(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	l := newLine(t, server, eventsql.Config{})
	var mu sync.Mutex
	acknowledged, uncertain := map[string]bool{}, map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				_, err := l.store.Append(context.Background(), []eventsource.Event{{ID: id, Type: "happened"}})
				mu.Lock()
				switch {
				case err == nil:
					acknowledged[id] = true
				case errors.Is(err, eventsource.ErrUncertain):
					uncertain[id] = true
				}
				mu.Unlock()
			}
		})
	}
	for range 3 {
		appendSome(t, l.store)
		l.proxy.Cut()
		appendSome(t, l.store)
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()))
		appendSome(t, l.store)
		require.NoError(t, server.Restart(t.Context()))
	}
	stop()
	wg.Wait()

	found := map[string]int{}
	for attempt := 0; len(found) == 0 && attempt < 50; attempt++ { // the pool holds dead connections
		for e, err := range l.direct.Read(t.Context(), eventsource.Query{{Types: []string{"happened"}}}, eventsource.ReadOptions{}) {
			if err != nil {
				clear(found)
				break
			}
			found[e.ID]++
		}
	}
	for id := range acknowledged {
		require.Equal(t, 1, found[id], id)
	}
	for id, n := range found {
		require.Equal(t, 1, n)
		require.True(t, acknowledged[id] || uncertain[id] || len(id) > 10, id)
	}
	t.Logf("%d acknowledged, %d uncertain, %d resent", len(acknowledged), len(uncertain), l.store.Stats().Resent)
}

// appendSome appends until the store serves again.
func appendSome(t *testing.T, s eventsource.Store) {
	for n := 0; n < 20; {
		_, err := s.Append(t.Context(), []eventsource.Event{{Type: "happened"}})
		if err == nil {
			n++
		}
		require.NoError(t, t.Context().Err())
	}
}
