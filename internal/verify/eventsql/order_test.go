package eventsql

import (
	"context"
	"database/sql"
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

func one(stream string) []eventsource.Event {
	return []eventsource.Event{{Stream: stream, Type: "happened"}}
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() }) // most are over by then
	return tx
}

func head(t *testing.T, s eventsource.Store) eventsource.Position {
	t.Helper()
	h, err := s.Head(t.Context())
	require.NoError(t, err)
	return h
}

func appended(t *testing.T, s eventsource.Store, events []eventsource.Event, conds ...eventsource.Condition) eventsource.Result {
	t.Helper()
	res, err := s.Append(t.Context(), events, conds...)
	require.NoError(t, err)
	return res
}

// T12: Head stands below a slow transaction with low positions, although later
// ones are readable; a subscriber gets all in order.
func TestHeadWaitsForTheSlowTransaction(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{})
	first := appended(t, s, one("a"))
	tx := begin(t, db)
	slow, err := s.AppendTx(t.Context(), tx, one("slow"))
	require.NoError(t, err)
	fast := appended(t, s, one("fast"))

	assert.Equal(t, first.Last, head(t, s), "below the open transaction")
	assert.Equal(t, []eventsource.Position{first.Last, fast.Last}, positions(t, s), "Read shows what is committed")
	require.NoError(t, tx.Commit())
	assert.Equal(t, fast.Last, head(t, s))
	assert.Equal(t, []eventsource.Position{first.Last, slow.Last, fast.Last}, positions(t, s))
}

// T13: a transaction holds Head if it has appended, from then to its end,
// prepared ones too; one that is busy elsewhere does not.
func TestOnlyAppendingTransactionsHoldHead(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL())
	for _, statement := range []string{"ALTER SYSTEM SET max_prepared_transactions = 5", "CREATE DATABASE other", "CREATE TABLE work (n int)"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	require.NoError(t, server.Restart(t.Context()))
	db = openDB(t, "pgx", server.URL())
	s := newStore(t, db, eventsql.Config{Prefix: "keelson_"})
	other := openDB(t, "pgx", sibling(t, server, "other"))
	elsewhere := newStore(t, other, eventsql.Config{Prefix: "keelson_"})
	namesake := newStore(t, db, eventsql.Config{})

	busy := begin(t, db)
	_, err := busy.ExecContext(t.Context(), "INSERT INTO work VALUES (1)")
	require.NoError(t, err)
	_, err = elsewhere.AppendTx(t.Context(), begin(t, other), one("a"))
	require.NoError(t, err)
	_, err = namesake.AppendTx(t.Context(), begin(t, db), one("a"))
	require.NoError(t, err)
	var floor int64
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT keelson_space(0)").Scan(&floor))
	_, err = begin(t, other).ExecContext(t.Context(), "SELECT pg_advisory_xact_lock_shared($1)", floor)
	require.NoError(t, err)
	last := appended(t, s, one("a")).Last
	assert.Equal(t, last, head(t, s), "other work, another database, with the same key even, and other tables hold nothing")

	prepared := begin(t, db)
	_, err = s.AppendTx(t.Context(), prepared, one("b"))
	require.NoError(t, err)
	_, err = prepared.ExecContext(t.Context(), "PREPARE TRANSACTION 'slow'")
	require.NoError(t, err)
	_ = prepared.Rollback() // ends nothing: the server has put it aside
	after := appended(t, s, one("a")).Last
	assert.Equal(t, last, head(t, s), "a prepared transaction is open")
	_, err = db.ExecContext(t.Context(), "COMMIT PREPARED 'slow'")
	require.NoError(t, err)
	assert.Equal(t, after, head(t, s))
	assert.Len(t, positions(t, s), 3)
}

// An append locks what its keys say in the namespace of its store, beside the floors,
// and no other bits: a lock of one store that looked like another's floor would hold
// that one's Head. The keys are those that TestKeysAreFrozen freezes.
func TestLocksStayInTheirNamespaces(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{Prefix: "keelson_"})
	tx := begin(t, db)
	_, err := s.AppendTx(t.Context(), tx, []eventsource.Event{{ID: "id-1", Stream: "account-7", Type: "account.opened", Tags: []string{"customer:42"}}})
	require.NoError(t, err)
	var floors, appends int64
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT keelson_space(0), keelson_space(1)").Scan(&floors, &appends))
	want := []int64{floors}
	for _, key := range []int64{0, 0x38cdc1e1fbcc, 0x63b0a69b19fd, 0x91e7c2e973d6, 0x16ce3e251a5d1} {
		want = append(want, appends|key>>1)
	}
	rows, err := tx.QueryContext(t.Context(), "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
	require.NoError(t, err)
	defer rows.Close()
	var got []int64
	for rows.Next() {
		var lock int64
		require.NoError(t, rows.Scan(&lock))
		got = append(got, lock)
	}
	require.NoError(t, rows.Err())
	assert.ElementsMatch(t, want, got)
}

// T14: positions of transactions that were rolled back neither hold Head nor
// are they waited for.
func TestRolledBackPositionsAreDeadAtOnce(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{})
	for range 5 {
		tx := begin(t, db)
		_, err := s.AppendTx(t.Context(), tx, one("a"))
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())
	}
	assert.Zero(t, head(t, s))
	res := appended(t, s, one("a"))
	assert.EqualValues(t, 1, res.Version)
	assert.Equal(t, res.Last, head(t, s))
	require.NoError(t, s.Wait(t.Context(), res.Last-1))
}

// T14: Head is an event whose commit is on disk. Numbers that were drawn in
// vain are not, and are drawn again after a crash: a subscriber that had gone
// past them would miss what they stand for then.
func TestHeadSurvivesACrashThatForgetsNumbers(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL())
	s := newStore(t, db, eventsql.Config{Prefix: "keelson_"})
	var tops []eventsource.Position
	for range 5 {
		appended(t, s, one("a"))
		tx := begin(t, db)
		for range 40 { // more than the 32 that one record of the log covers
			_, err := s.AppendTx(t.Context(), tx, one("vain"))
			require.NoError(t, err)
		}
		require.NoError(t, tx.Rollback())
		tops = append(tops, head(t, s))
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()))
		res := appended(t, s, one("a"))
		assert.Greater(t, res.First, tops[len(tops)-1], "what comes after a crash is above every Head of before")
	}
}

// T16: a decision that rests on the last position read, and not on Head, misses
// a slower transaction below it; Handle within a query does not.
func TestDecisionsRestOnHead(t *testing.T) {
	db := postgres(t, "pgx")()
	s := newStore(t, db, eventsql.Config{})
	q := eventsource.Query{{Tags: []string{"seat:1"}}}
	taken := []eventsource.Event{{Type: "taken", Tags: []string{"seat:1"}}}

	tx := begin(t, db)
	slow, err := s.AppendTx(t.Context(), tx, taken)
	require.NoError(t, err)
	other := appended(t, s, one("elsewhere"))
	h := head(t, s)
	require.Less(t, h, slow.Last)
	require.NoError(t, tx.Commit())

	_, err = s.Append(t.Context(), taken, eventsource.NoneSince(q, h))
	var conflict *eventsource.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, slow.Last, conflict.Position)
	_, err = s.Append(t.Context(), taken, eventsource.NoneSince(q, other.Last))
	require.NoError(t, err, "the last position read is above the slow one: not a guard")

	codec := eventsource.NewCodec[any](map[string]any{"taken": seatTaken{}})
	seats := eventsource.Decider[int, any, int]{
		Evolve: func(n int, _ any) int { return n + 1 },
		Decide: func(n, most int) ([]any, error) {
			if n >= most {
				return nil, nil
			}
			return []any{seatTaken{"seat:2"}}, nil
		},
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := seats.Handle(context.Background(), s, codec,
				eventsource.Scope{Within: eventsource.Query{{Types: []string{"taken"}, Tags: []string{"seat:2"}}}, MaxAttempts: 1000}, 3)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	n := 0
	for range s.Read(t.Context(), eventsource.Query{{Tags: []string{"seat:2"}}}, eventsource.ReadOptions{}) {
		n++
	}
	assert.Equal(t, 3, n)
}

type seatTaken struct{ Seat string }

func (e seatTaken) EventTags() []string { return []string{e.Seat} }

// T3, T10: of ten appends with the same condition, on two Stores with a pool
// each, exactly one wins; the others get a *ConflictError and nothing of a
// driver. Fifty rounds, for each kind of condition.
func TestOneOfTenWins(t *testing.T) {
	onEachAtOnce(t, func(t *testing.T, open func() *sql.DB) {
		cfg := eventsql.Config{Prefix: newStorePrefix()}
		a, b := newStore(t, open(), cfg), newStore(t, open(), cfg)
		conditions := map[string]func(round string) eventsource.Condition{
			"stream": eventsource.NoStream,
			"tag": func(round string) eventsource.Condition {
				return eventsource.NoneSince(eventsource.Query{{Tags: []string{round}}}, 0)
			},
			"type": func(round string) eventsource.Condition {
				return eventsource.NoneSince(eventsource.Query{{Types: []string{"only-" + round}}}, 0)
			},
			"source": func(round string) eventsource.Condition { return eventsource.Track(round, 1) },
		}
		for kind, condition := range conditions {
			for round := range 50 {
				name := fmt.Sprintf("%s-%d", kind, round)
				events := []eventsource.Event{{Stream: name, Type: "only-" + name, Tags: []string{name}}}
				won := race(t, []eventsource.Store{a, b}, 10, events, condition(name))
				require.Equal(t, 1, won, name)
			}
		}
	})
}

func race(t *testing.T, stores []eventsource.Store, n int, events []eventsource.Event, cond eventsource.Condition) (won int) {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { _, errs[i] = stores[i%len(stores)].Append(context.Background(), events, cond) })
	}
	wg.Wait()
	for _, err := range errs {
		var conflict *eventsource.ConflictError
		if err == nil {
			won++
		} else if !assert.ErrorAs(t, err, &conflict) {
			t.Logf("%#v", err)
		}
	}
	return won
}

// T11: the clock steps back, which is to say that the last event of the stream
// is of the future: Time does not decrease, and AsOf stays a prefix.
func TestTimeDoesNotDecreaseWithinAStream(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *sql.DB) {
		db := open()
		s := newStore(t, db, eventsql.Config{Prefix: "c_"})
		appended(t, s, one("a"))
		later := "at + interval '1 hour'"
		if s.Stats().Dialect == "sqlite" {
			later = "at + 3600000000"
		}
		_, err := db.ExecContext(t.Context(), "UPDATE c_events SET at = "+later)
		require.NoError(t, err)
		appended(t, s, one("a"))
		var times []time.Time
		for e, err := range s.Read(t.Context(), eventsource.Stream("a"), eventsource.ReadOptions{}) {
			require.NoError(t, err)
			times = append(times, e.Time)
		}
		require.Len(t, times, 2)
		assert.False(t, times[1].Before(times[0]), "%v", times)
		for range s.Read(t.Context(), eventsource.Stream("a"), eventsource.ReadOptions{AsOf: times[0].Add(-time.Microsecond)}) {
			t.Error("the first is not there yet, so the second must not be")
		}
	})
}
