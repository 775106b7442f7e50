package eventsql

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
)

// counting is a projection that writes a row per event, twice if it were
// applied twice. step is called between any two steps.
func counting(step func(name string), event func(eventsource.Progress)) eventsource.Projection {
	return eventsource.Projection{
		Name: "counting", Query: eventsource.All(), BatchSize: 3, Lease: 300 * time.Millisecond, OnEvent: event,
		Backoff: func(int) time.Duration { return time.Millisecond },
		Apply: eventsql.InTx(func(ctx context.Context, tx *sql.Tx, b eventsource.Batch) error {
			step("begun")
			for _, e := range b.Events {
				if _, err := tx.ExecContext(ctx, "INSERT INTO counted (position) VALUES ("+fmt.Sprint(e.Position)+")"); err != nil {
					return err
				}
			}
			step("written")
			return nil
		}),
	}
}

// childVariables tell a copy of this program, started by the test below, which
// database to project and after how many steps to kill itself.
const (
	childDriver, childSource, childSteps = "KEELSON_CHILD_DRIVER", "KEELSON_CHILD_SOURCE", "KEELSON_CHILD_STEPS"
	projectedEvents                      = 30
)

func TestMain(m *testing.M) {
	if driver := os.Getenv(childDriver); driver != "" {
		if err := project(driver, os.Getenv(childSource), os.Getenv(childSteps)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Tests wait for servers and disks more than for processors.
	if err := flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	code := m.Run()
	if shared != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// project runs the projection to its end, or dies at the given step.
func project(driver, source, steps string) error {
	left, err := strconv.Atoi(steps)
	if err != nil {
		return err
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer db.Close()
	s, err := eventsql.Open(context.Background(), db, eventsql.Config{})
	if err != nil {
		return err
	}
	step := func(string) {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx, done := context.WithCancel(context.Background())
	p := counting(step, func(e eventsource.Progress) {
		step("saved")
		if e.Through >= projectedEvents {
			done()
		}
	})
	if err := p.Run(ctx, s, s); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// T23: killed between any two steps of a batch, with the checkpoint in the
// transaction of its rows: each event counts once.
func TestEachEventCountsOnceUnderKill(t *testing.T) {
	for _, b := range eachDatabase() {
		t.Run(b.name, func(t *testing.T) {
			driver, source := b.source(t)
			t.Parallel() // most of the time a killed process's lease runs out
			db := openDB(t, driver, source)
			s := newStore(t, db, eventsql.Config{Prefix: "keelson_"})
			_, err := db.ExecContext(t.Context(), "CREATE TABLE counted (position bigint)")
			require.NoError(t, err)
			for range projectedEvents {
				appended(t, s, one("a"))
			}
			killed := 0
			for steps := 1; ; steps = steps%7 + 1 {
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), childDriver+"="+driver, childSource+"="+source, childSteps+"="+fmt.Sprint(steps))
				output, err := child.CombinedOutput()
				if err == nil {
					break
				}
				exit, ok := errors.AsType[*exec.ExitError](err)
				require.True(t, ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL, "%v: %s", err, output)
				killed++
			}
			n, distinct := counted(t, db)
			assert.Equal(t, []int{projectedEvents, projectedEvents}, []int{n, distinct}, "count, distinct")
			assert.Greater(t, killed, 5)
			t.Logf("%d events counted once each, over %d kills", n, killed)
		})
	}
}

func counted(t *testing.T, db *sql.DB) (n, distinct int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*), count(DISTINCT position) FROM counted").Scan(&n, &distinct))
	return n, distinct
}

// T22: two owners who both believe that they hold the lease apply the same
// batch: one is fenced and its rows are undone. Also when the epoch comes from
// an owner in between.
func TestZombiesAreFencedAndUndone(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{})
		_, err := db.ExecContext(t.Context(), "CREATE TABLE counted (position bigint)")
		require.NoError(t, err)
		var old eventsource.Checkpoint
		for round := range 20 {
			next := eventsource.Checkpoint{Position: eventsource.Position(round + 1), Epoch: 7}
			apply := eventsql.InTx(func(ctx context.Context, tx *sql.Tx, _ eventsource.Batch) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO counted (position) VALUES ("+fmt.Sprint(round)+")")
				return err
			})
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					errs[i] = s.SaveCheckpoint(context.Background(), "lease", old, next, func(ctx context.Context) error {
						return apply(ctx, eventsource.Batch{})
					})
				})
			}
			wg.Wait()
			if errs[0] != nil {
				errs[0], errs[1] = errs[1], errs[0]
			}
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], eventsource.ErrFenced)
			old = next
		}
		n, distinct := counted(t, db)
		assert.Equal(t, []int{20, 20}, []int{n, distinct})

		taken := eventsource.Checkpoint{Position: old.Position, Epoch: old.Epoch + 1}
		require.NoError(t, s.SaveCheckpoint(t.Context(), "lease", old, taken, nil))
		back := eventsource.Checkpoint{Position: old.Position, Epoch: old.Epoch + 2}
		require.NoError(t, s.SaveCheckpoint(t.Context(), "lease", taken, back, nil))
		err = s.SaveCheckpoint(t.Context(), "lease", old, eventsource.Checkpoint{Position: 99, Epoch: old.Epoch}, nil)
		require.ErrorIs(t, err, eventsource.ErrFenced)
	})
}

// T22, T23: two processes' worth of Runs with a lease so short that they often lose
// it to each other, beside writers: count = distinct = appended.
func TestRunsThatStealFromEachOtherCountOnce(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		cfg := eventsql.Config{Prefix: newStorePrefix()}
		db := open()
		a, b := newStore(t, db, cfg), newStore(t, open(), cfg)
		_, err := db.ExecContext(t.Context(), "CREATE TABLE counted (position bigint)")
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		for _, s := range []*eventsql.Store{a, b} {
			p := counting(func(string) {}, nil)
			p.Partitions, p.Lease = 3, 60*time.Millisecond
			runs.Go(func() {
				if err := p.Run(ctx, s, s); !errors.Is(err, context.Canceled) {
					assert.NoError(t, err)
				}
			})
		}
		var last eventsource.Position
		for i := range 60 {
			last = appended(t, a, one(fmt.Sprint("s", i%10))).Last
		}
		p := counting(nil, nil)
		p.Partitions = 3
		require.NoError(t, p.WaitFor(t.Context(), a, last))
		stop()
		runs.Wait()
		n, distinct := counted(t, db)
		assert.Equal(t, []int{60, 60}, []int{n, distinct}, "count, distinct")
	})
}

// InTx refuses Checkpoints of another kind, and undoes what a failed Apply has
// written.
func TestInTxIsAllOrNothing(t *testing.T) {
	apply := eventsql.InTx(func(context.Context, *sql.Tx, eventsource.Batch) error { return nil })
	memory := eventsource.NewMemory()
	err := memory.SaveCheckpoint(t.Context(), "c", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1}, func(ctx context.Context) error {
		return apply(ctx, eventsource.Batch{})
	})
	require.ErrorIs(t, err, eventsource.ErrInvalid)

	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{})
		_, err := db.ExecContext(t.Context(), "CREATE TABLE counted (position bigint)")
		require.NoError(t, err)
		failure := errors.New("no")
		insert := func(after func() error) func(context.Context) error {
			f := eventsql.InTx(func(ctx context.Context, tx *sql.Tx, _ eventsource.Batch) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO counted (position) VALUES (1)")
				assert.NoError(t, err)
				return after()
			})
			return func(ctx context.Context) error { return f(ctx, eventsource.Batch{}) }
		}
		save := func(apply func(context.Context) error) error {
			return s.SaveCheckpoint(t.Context(), "c", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1}, apply)
		}
		assert.Same(t, failure, save(insert(func() error { return failure })))
		assert.PanicsWithValue(t, "boom", func() { _ = save(insert(func() error { panic("boom") })) })
		n, _ := counted(t, db)
		assert.Zero(t, n)
		c, err := s.LoadCheckpoint(t.Context(), "c")
		require.NoError(t, err)
		assert.Zero(t, c)
		require.NoError(t, save(insert(func() error { return nil })))
		n, _ = counted(t, db)
		assert.Equal(t, 1, n)
	})
}

// T23: a commit that fails, here on a deferred constraint, has moved no
// checkpoint, and leaves the store in working order.
func TestAFailedCommitMovesNoCheckpoint(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{})
		_, _ = db.ExecContext(t.Context(), "PRAGMA foreign_keys=ON") // Postgres does not know it
		for _, statement := range []string{
			"CREATE TABLE counted (position bigint PRIMARY KEY)",
			"CREATE TABLE parts (of_position bigint REFERENCES counted (position) DEFERRABLE INITIALLY DEFERRED)",
		} {
			_, err := db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		save := func(statement string) error {
			apply := eventsql.InTx(func(ctx context.Context, tx *sql.Tx, _ eventsource.Batch) error {
				_, err := tx.ExecContext(ctx, statement)
				assert.NoError(t, err)
				return nil
			})
			return s.SaveCheckpoint(t.Context(), "c", eventsource.Checkpoint{}, eventsource.Checkpoint{Epoch: 1}, func(ctx context.Context) error {
				return apply(ctx, eventsource.Batch{})
			})
		}
		err := save("INSERT INTO parts VALUES (1)")
		require.Error(t, err)
		require.NotErrorIs(t, err, eventsource.ErrFenced)
		c, err := s.LoadCheckpoint(t.Context(), "c")
		require.NoError(t, err)
		assert.Zero(t, c, "the checkpoint and the rows are one")
		require.NoError(t, save("INSERT INTO counted VALUES (1)"))
	})
}

// Run with other Checkpoints ends, rather than park event after event.
func TestInTxWithoutItsStoreEndsRun(t *testing.T) {
	m := eventsource.NewMemory()
	appended(t, m, one("a"))
	p := counting(func(string) {}, nil)
	p.MaxAttempts = 1
	p.Park = func(_ context.Context, r eventsource.Recorded, _ error) error {
		t.Error("parked: ", r.Position)
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.ErrorIs(t, p.Run(ctx, m, m), eventsource.ErrInvalid)
}
