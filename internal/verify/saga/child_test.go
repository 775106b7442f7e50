package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/sagafile"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// The child process coordinates transfers of three steps. Effects are rows of a
// ledger in a database of their own, behind barriers. Every third transfer is
// refused at its last step. One whose id begins with "hold" holds its first step
// until the context of that call ends, and notes why it did.
const (
	childStore  = "KEELSON_TEST_STORE"
	childDSN    = "KEELSON_TEST_DSN"
	childLedger = "KEELSON_TEST_LEDGER"
	childStart  = "KEELSON_TEST_START" // ids to start, by spaces
	childPoint  = "KEELSON_TEST_POINT" // name:n, where it kills itself
	childLease  = 1500 * time.Millisecond
	childPoll   = 100 * time.Millisecond
)

func TestMain(m *testing.M) {
	if os.Getenv(childStore) != "" {
		coordinate(os.Getenv(childStore), os.Getenv(childDSN), os.Getenv(childLedger))
		return
	}
	code := m.Run()
	if err := pg.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

type transfer struct{ Refuse, Debit, Credit, Notify bool }

func coordinate(kind, dsn, ledger string) {
	go func() { // whatever way the test ends, so does this process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	name, n, _ := strings.Cut(os.Getenv(childPoint), ":")
	at, _ := strconv.Atoi(n)
	mine := &mine{name: name, at: int64(at)}
	store, err := openKind(kind, dsn)
	must(err)
	db, err := sql.Open("sqlite", ledger)
	must(err)
	c, err := saga.New(&mined{store, mine}, saga.Config{Lease: childLease, Poll: childPoll})
	must(err)
	s, err := saga.Register(c, definition(db, mine))
	must(err)
	go func() {
		for i, id := range strings.Fields(os.Getenv(childStart)) {
			must(s.Start(context.Background(), id, transfer{Refuse: refused(i)}))
		}
	}()
	must(c.Serve(context.Background()))
}

// refused: every third is.
func refused(i int) bool { return i%3 == 0 }

// mine ends the process the at-th time that it passes the point.
type mine struct {
	name string
	at   int64
	seen atomic.Int64
}

func (m *mine) pass(point string) {
	if point == m.name && m.seen.Add(1) == m.at {
		must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		select {}
	}
}

// mined is a store with points around its commits and behind its claims.
type mined struct {
	saga.Store
	mine *mine
}

func (m *mined) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	m.mine.pass("commit-before")
	v, err := m.Store.Commit(ctx, writes)
	m.mine.pass("commit-after")
	return v, err
}

func (m *mined) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	w, err := m.Store.Poll(ctx, l)
	if len(w.Claimed) > 0 {
		m.mine.pass("claim-after")
	}
	return w, err
}

func openKind(kind, dsn string) (saga.Store, error) {
	if kind == "file" {
		return sagafile.Open(dsn, sagafile.Config{SegmentSize: 16 << 10})
	}
	db, err := sql.Open(kind, dsn)
	if err != nil {
		return nil, err
	}
	return sagasql.Open(context.Background(), db, sagasql.Config{})
}

func definition(db *sql.DB, m *mine) saga.Definition[transfer] {
	step := func(name string, mark func(*transfer)) saga.Step[transfer] {
		retry := saga.Retry{Attempts: -1, Base: time.Millisecond, Cap: 20 * time.Millisecond}
		return saga.Step[transfer]{
			Name: name, Retry: retry, UndoRetry: retry,
			Do: func(ctx context.Context, s *transfer) error {
				if name == "notify" && s.Refuse {
					return saga.Refuse(nil)
				}
				mark(s)
				if c := saga.CallFrom(ctx); name == "debit" && strings.HasPrefix(c.Saga, "hold") {
					hold(ctx, db, c)
				}
				return effect(ctx, db, m, 1)
			},
			Undo: func(ctx context.Context, _ *transfer) error { return effect(ctx, db, m, -1) },
		}
	}
	return saga.Definition[transfer]{Name: "transfer", Steps: []saga.Step[transfer]{
		step("debit", func(s *transfer) { s.Debit = true }),
		step("credit", func(s *transfer) { s.Credit = true }),
		step("notify", func(s *transfer) { s.Notify = true }),
	}}
}

// effect writes a row of the ledger once, and counts the attempts.
func effect(ctx context.Context, db *sql.DB, m *mine, amount int) error {
	c := saga.CallFrom(ctx)
	verb := "do"
	if c.Undo {
		verb = "undo"
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO calls (saga, step, undo) VALUES (?1, ?2, ?3)", c.Saga, c.Step, c.Undo); err != nil {
		return err
	}
	m.pass(verb + "-before")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	err = barrier.Run(ctx, barrier.In(tx), c, func(ctx context.Context) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO ledger (saga, step, undo, amount) VALUES (?1, ?2, ?3, ?4)", c.Saga, c.Step, c.Undo, amount)
		return err
	})
	if err != nil {
		return err
	}
	m.pass(verb + "-inside")
	if err := tx.Commit(); err != nil {
		return err
	}
	m.pass(verb + "-after")
	return nil
}

// hold waits for the end of the call's context and notes its cause, the first time
// that the saga comes here.
func hold(ctx context.Context, db *sql.DB, c saga.Call) {
	res, err := db.ExecContext(context.Background(), "INSERT INTO holds (saga, pid) VALUES (?1, ?2) ON CONFLICT DO NOTHING", c.Saga, os.Getpid())
	must(err)
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		must(err)
		return
	}
	<-ctx.Done()
	_, err = db.ExecContext(context.Background(), "UPDATE holds SET fenced = ?1, cause = ?2 WHERE saga = ?3",
		errors.Is(context.Cause(ctx), saga.ErrFenced), context.Cause(ctx).Error(), c.Saga)
	must(err)
}

// books is the ledger and who may be asked about its sagas.
type books struct {
	*testing.T
	kind, dsn, ledger string
	db                *sql.DB
}

func newBooks(t *testing.T, kind, dsn string) *books {
	t.Helper()
	ledger := strings.Replace(sqliteDSN(t.TempDir()), "sagas.db", "ledger.db", 1) + "&_txlock=immediate"
	db := openDB(t, "sqlite", ledger)
	require.NoError(t, barrier.Setup(t.Context(), db))
	for _, query := range []string{
		"CREATE TABLE ledger (saga text, step text, undo integer, amount integer)",
		"CREATE TABLE calls (saga text, step text, undo integer)",
		"CREATE TABLE holds (saga text PRIMARY KEY, pid integer, fenced integer, cause text)",
	} {
		_, err := db.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	return &books{t, kind, dsn, ledger, db}
}

// spawn starts a child, which the test ends at the latest.
func (b *books) spawn(point, start string) *exec.Cmd {
	b.Helper()
	child := exec.Command(os.Args[0]) //nolint:noctx // it is killed by hand
	child.Env = append(os.Environ(), childStore+"="+b.kind, childDSN+"="+b.dsn, childLedger+"="+b.ledger, childPoint+"="+point, childStart+"="+start)
	child.Stderr = os.Stderr
	_, err := child.StdinPipe()
	require.NoError(b, err)
	require.NoError(b, child.Start())
	b.Cleanup(func() { _ = child.Process.Kill() })
	return child
}

// kill ends a child as a crash does.
func (b *books) kill(child *exec.Cmd) {
	b.Helper()
	require.NoError(b, child.Process.Signal(syscall.SIGKILL))
	_ = child.Wait()
}

// number asks the ledger.
func (b *books) number(query string, args ...any) (n int) {
	b.Helper()
	require.NoError(b, b.db.QueryRowContext(b.Context(), query, args...).Scan(&n))
	return n
}

// settled waits until the children have noted that their sagas are over: the last
// effect comes before that.
func (b *books) settled() {
	b.Helper()
	if b.kind == "file" { // which the child has
		time.Sleep(20 * childPoll)
		return
	}
	store, err := openKind(b.kind, b.dsn)
	require.NoError(b, err)
	b.until("all sagas are over", func() bool {
		for range store.List(b.Context(), saga.Filter{States: []saga.State{saga.Running, saga.Waiting, saga.Compensating}}) {
			return false
		}
		return true
	})
}

const patience = 2 * time.Minute

// until looks until ok; what is waited for happens in other processes.
func (b *books) until(what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// onEachKind runs a test on each store that outlives its process.
func onEachKind(t *testing.T, f func(t *testing.T, kind, dsn string)) {
	t.Run("file", func(t *testing.T) { t.Parallel(); f(t, "file", t.TempDir()) })
	onSharedKinds(t, f)
}

// onSharedKinds runs a test on each store that several processes can have.
func onSharedKinds(t *testing.T, f func(t *testing.T, kind, dsn string)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dsn := sqliteDSN(t.TempDir())
		openSQL(t, openDB(t, "sqlite", dsn), sagasql.Config{})
		f(t, "sqlite", dsn)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pg.Database(t)
		openSQL(t, openDB(t, "pgx", dsn), sagasql.Config{})
		f(t, "pgx", dsn)
	})
}
