package saga_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/sagafile"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// The child process coordinates transfers of three steps; it is killed at random
// moments, over and over. Effects are rows of a ledger in a database of their own,
// behind barriers. Every third transfer is refused at its last step.
const (
	childStore  = "KEELSON_TEST_STORE"
	childDSN    = "KEELSON_TEST_DSN"
	childLedger = "KEELSON_TEST_LEDGER"
	transfers   = 60
	kills       = 8
)

func TestMain(m *testing.M) {
	if os.Getenv(childStore) != "" {
		coordinate(os.Getenv(childStore), os.Getenv(childDSN), os.Getenv(childLedger))
		return
	}
	os.Exit(m.Run())
}

type transfer struct{ Refuse, Debit, Credit, Notify bool }

func coordinate(kind, dsn, ledger string) {
	store, err := openKind(kind, dsn)
	if err != nil {
		panic(err)
	}
	db, err := sql.Open("sqlite", ledger)
	if err != nil {
		panic(err)
	}
	c, err := saga.New(store, saga.Config{Lease: 1500 * time.Millisecond, Poll: 100 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	s, err := saga.Register(c, definition(db))
	if err != nil {
		panic(err)
	}
	go func() {
		for i := range transfers {
			if err := s.Start(context.Background(), fmt.Sprintf("t%03d", i), transfer{Refuse: i%3 == 0}); err != nil {
				panic(err)
			}
		}
		fmt.Println("started")
	}()
	if err := c.Serve(context.Background()); err != nil {
		panic(err)
	}
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

func definition(db *sql.DB) saga.Definition[transfer] {
	step := func(name string, mark func(*transfer)) saga.Step[transfer] {
		effect := func(ctx context.Context, amount int) error {
			c := saga.CallFrom(ctx)
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
			return tx.Commit()
		}
		retry := saga.Retry{Attempts: -1, Base: time.Millisecond, Cap: 20 * time.Millisecond}
		return saga.Step[transfer]{
			Name: name, Retry: retry, UndoRetry: retry,
			Do: func(ctx context.Context, s *transfer) error {
				if name == "notify" && s.Refuse {
					return saga.Refuse(nil)
				}
				mark(s)
				return effect(ctx, 1)
			},
			Undo: func(ctx context.Context, _ *transfer) error { return effect(ctx, -1) },
		}
	}
	return saga.Definition[transfer]{Name: "transfer", Steps: []saga.Step[transfer]{
		step("debit", func(s *transfer) { s.Debit = true }),
		step("credit", func(s *transfer) { s.Credit = true }),
		step("notify", func(s *transfer) { s.Notify = true }),
	}}
}

// T1, T2: whatever moment the process is killed at, no effect is lost, none comes
// twice, and every transfer ends whole or undone.
func TestKilledCoordinatorsLoseAndRepeatNothing(t *testing.T) {
	t.Run("file", func(t *testing.T) { killOver(t, "file", t.TempDir()) })
	t.Run("sqlite", func(t *testing.T) {
		dsn := sqliteDSN(t.TempDir())
		openSQL(t, openDB(t, "sqlite", dsn), sagasql.Config{})
		killOver(t, "sqlite", dsn)
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := engine.Postgres(t).URL()
		openSQL(t, openDB(t, "pgx", dsn), sagasql.Config{})
		killOver(t, "pgx", dsn)
	})
}

func killOver(t *testing.T, kind, dsn string) {
	ledger := strings.Replace(sqliteDSN(t.TempDir()), "sagas.db", "ledger.db", 1) + "&_txlock=immediate"
	db := openDB(t, "sqlite", ledger)
	require.NoError(t, barrier.Setup(t.Context(), db))
	_, err := db.ExecContext(t.Context(), "CREATE TABLE ledger (saga text, step text, undo integer, amount integer)")
	require.NoError(t, err)
	for range kills {
		child := spawn(t, kind, dsn, ledger)
		time.Sleep(time.Duration(30+rand.IntN(400)) * time.Millisecond) // any moment will do
		require.NoError(t, child.Process.Signal(syscall.SIGKILL))
		_ = child.Wait()
	}
	child := spawn(t, kind, dsn, ledger)
	deadline := time.Now().Add(2 * time.Minute)
	for ended := 0; ended < transfers; time.Sleep(20 * time.Millisecond) {
		if ended = balanced(t, db); time.Now().After(deadline) {
			judge(t, kind, dsn, db) // it says which are not where they should be
			t.Fatalf("%d of %d transfers balance", ended, transfers)
		}
	}
	time.Sleep(time.Second) // for what should not come any more
	require.NoError(t, child.Process.Signal(syscall.SIGKILL))
	_ = child.Wait()
	judge(t, kind, dsn, db)
}

func spawn(t *testing.T, kind, dsn, ledger string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0]) //nolint:noctx // it is killed by hand
	child.Env = append(os.Environ(), childStore+"="+kind, childDSN+"="+dsn, childLedger+"="+ledger)
	child.Stderr = os.Stderr
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill() })
	return child
}

// balanced counts transfers whose rows sum up to all or nothing, and that have rows.
func balanced(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT count(*) FROM (SELECT saga FROM ledger GROUP BY saga HAVING sum(amount) = CASE WHEN CAST(substr(saga, 2) AS integer) % 3 = 0 THEN 0 ELSE 3 END)").Scan(&n))
	return n
}

func judge(t *testing.T, kind, dsn string, db *sql.DB) {
	t.Helper()
	var double, orphans int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM (SELECT 1 FROM ledger GROUP BY saga, step, undo HAVING count(*) > 1)").Scan(&double))
	assert.Zero(t, double, "effects that came twice")
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM ledger u WHERE undo = 1 AND NOT EXISTS (SELECT 1 FROM ledger d WHERE d.saga = u.saga AND d.step = u.step AND d.undo = 0)").Scan(&orphans))
	assert.Zero(t, orphans, "undone and never done")
	assert.Equal(t, transfers, balanced(t, db))
	store, err := openKind(kind, dsn)
	require.NoError(t, err)
	if f, ok := store.(*sagafile.Store); ok {
		defer f.Close()
	}
	n, takeovers := 0, uint64(0)
	for sum, err := range store.List(t.Context(), saga.Filter{}) {
		require.NoError(t, err)
		i, err := strconv.Atoi(sum.ID[1:])
		require.NoError(t, err)
		want := saga.Completed
		if i%3 == 0 {
			want = saga.Compensated
		}
		assert.Equal(t, want, sum.State, sum.ID)
		takeovers += sum.Epoch - 1
		n++
	}
	assert.Equal(t, transfers, n)
	t.Logf("%d takeovers in %d kills", takeovers, kills)
}
