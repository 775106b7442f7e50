package saga_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// stall is a process that stands still in the middle of a poll, where it has locked the
// row of its owner.
type stall struct {
	armed atomic.Bool
	here  chan struct{}
	goOn  chan struct{}
}

func (s *stall) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(q.SQL, "INSERT INTO keelson_saga_owner") && s.armed.CompareAndSwap(true, false) {
		close(s.here)
		<-s.goOn
	}
	return ctx
}

func (s *stall) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// T10: a process that is stopped within a poll holds a lock, and is taken over all the
// same.
func TestStoppedWithinAPollIsTakenOver(t *testing.T) {
	ctx := t.Context()
	url := engine.Postgres(t).URL()
	cfg, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	s := &stall{here: make(chan struct{}), goOn: make(chan struct{})}
	goOn := sync.OnceFunc(func() { close(s.goOn) })
	defer goOn()
	cfg.Tracer = s
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	first, second := openSQL(t, db, sagasql.Config{}), openSQL(t, openDB(t, "pgx", url), sagasql.Config{})
	poll := func(store saga.Store, owner string) (saga.Work, error) {
		return store.Poll(ctx, saga.Lease{Owner: owner, For: time.Second, Limit: 1, Can: []string{"order@1"}})
	}
	_, err = poll(first, "first")
	require.NoError(t, err)
	verdicts, err := first.Commit(ctx, []saga.Write{{
		Summary: saga.Summary{ID: "a", Name: "order", Version: 1, State: saga.Running, Owner: "first", Seq: 1},
		Records: []saga.Record{{Kind: "start", Seq: 1, State: saga.Running}},
	}})
	require.NoError(t, err)
	require.NoError(t, verdicts[0].Err)
	s.armed.Store(true)
	stopped := make(chan error, 1)
	go func() {
		_, err := poll(first, "first")
		stopped <- err
	}()
	select {
	case <-s.here:
	case err := <-stopped:
		t.Fatal("it did not come to stand still:", err)
	}
	require.Eventually(t, func() bool {
		w, err := poll(second, "second")
		return err == nil && len(w.Claimed) == 1
	}, time.Minute, 100*time.Millisecond)
	goOn()
	require.ErrorIs(t, <-stopped, saga.ErrFenced) // it has asked again
	_, err = poll(first, "first")
	require.ErrorIs(t, err, saga.ErrFenced)
}

// settings asks for one where a poll looks for dead owners.
type settings struct {
	mu   sync.Mutex
	seen map[string]int
}

func (s *settings) TraceQueryStart(ctx context.Context, c *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(q.SQL, "SELECT owner FROM keelson_saga_owner") {
		var jit string
		if err := c.QueryRow(ctx, "SHOW jit").Scan(&jit); err != nil {
			jit = err.Error()
		}
		s.mu.Lock()
		s.seen[jit]++
		s.mu.Unlock()
	}
	return ctx
}

func (s *settings) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A poll reads the few owners whole, against which it has set a price at which the server
// would compile that statement, for 25 times as long as the poll takes.
func TestPollIsNotCompiled(t *testing.T) {
	cfg, err := pgx.ParseConfig(engine.Postgres(t).URL())
	require.NoError(t, err)
	s := &settings{seen: map[string]int{}}
	cfg.Tracer = s
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	_, err = openSQL(t, db, sagasql.Config{}).Poll(t.Context(), saga.Lease{Owner: "o", For: time.Minute})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"off": 1}, s.seen)
}
