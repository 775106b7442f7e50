package eventsql

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// storm is what 16 writers do to a store on Postgres: transactions of one to
// three appends that hold their positions for a random time before they end, a
// fifth of them by ROLLBACK, some by the death of their backend.
type storm struct {
	store  *eventsql.Store
	db     *sql.DB // the writers'
	admin  *sql.DB
	rounds int
	killed bool
}

const writers = 16

func (w *storm) blow(t *testing.T) {
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range w.rounds {
				w.transaction(t, r, fmt.Sprintf("writer-%d", i), n)
			}
		})
	}
	wg.Wait()
}

func (w *storm) transaction(t *testing.T, r *rand.Rand, stream string, n int) {
	ctx := context.Background()
	event := []eventsource.Event{{Stream: stream, Type: "happened", Tags: []string{"storm"}}}
	if r.IntN(4) == 0 {
		_, err := w.store.Append(ctx, event)
		assert.NoError(t, err)
		return
	}
	tx, err := w.db.BeginTx(ctx, nil)
	if !assert.NoError(t, err) {
		return
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	for range 1 + r.IntN(3) {
		if _, err := w.store.AppendTx(ctx, tx, event); !assert.NoError(t, err) {
			return
		}
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep($1)", r.Float64()*0.02)
		assert.NoError(t, err)
	}
	switch {
	case w.killed && r.IntN(20) == 0:
		var pid int
		if assert.NoError(t, tx.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid)) {
			_, err := w.admin.ExecContext(ctx, "SELECT pg_terminate_backend($1)", pid)
			assert.NoError(t, err)
			_ = tx.Commit() // either way: what is in the table at the end counts
		}
	case r.IntN(5) == 0:
	default:
		assert.NoError(t, tx.Commit())
	}
}

// positions reads the table, once all is quiet.
func positions(t *testing.T, s eventsource.Store) (all []eventsource.Position) {
	t.Helper()
	for e, err := range s.Read(context.Background(), eventsource.All(), eventsource.ReadOptions{}) {
		require.NoError(t, err)
		all = append(all, e.Position)
	}
	return all
}

// follower subscribes until it has come to a position.
type follower struct {
	seen    []eventsource.Position
	through eventsource.Position
	err     error
	end     chan eventsource.Position // told when the storm is over
}

func (f *follower) follow(ctx context.Context, s eventsource.Store, after eventsource.Position) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last eventsource.Position
	go func() {
		select {
		case last = <-f.end:
			cancel()
		case <-ctx.Done():
		}
	}()
	f.through = after
	for b, err := range eventsource.Subscribe(ctx, s, eventsource.All(), after) {
		if err != nil {
			break // the storm is over; what is left is read below
		}
		f.take(b)
	}
	for b, err := range eventsource.Subscribe(context.WithoutCancel(ctx), s, eventsource.All(), f.through) {
		if f.err = err; err != nil {
			return
		}
		f.take(b)
		if b.Through >= last {
			return
		}
	}
}

func (f *follower) take(b eventsource.Batch) {
	for _, e := range b.Events {
		f.seen = append(f.seen, e.Position)
	}
	f.through = b.Through
}

// missed are the positions that were not seen.
func missed(seen, all []eventsource.Position) (n int) {
	for _, p := range all {
		if _, ok := slices.BinarySearch(seen, p); !ok {
			n++
		}
	}
	return n
}

// naive is the same store with the sequence as Head, which is what comes to
// mind first.
type naive struct {
	*eventsql.Store
	db   *sql.DB
	last string // the function that tells the last position drawn
}

func (n naive) Head(ctx context.Context) (p eventsource.Position, err error) {
	err = n.db.QueryRowContext(ctx, "SELECT "+n.last).Scan(&p)
	return p, err
}

func (n naive) Wait(ctx context.Context, after eventsource.Position) error {
	for {
		switch head, err := n.Head(ctx); {
		case err != nil:
			return err
		case head > after:
			return nil
		}
	}
}

// merged reads the head and the events below it in one statement, as one would
// to save a round trip. A statement has one snapshot, taken before it looks at
// the locks. The pause makes wide what is narrow and there.
func merged(ctx context.Context, db *sql.DB, prefix string, after eventsource.Position) (seen []eventsource.Position, through eventsource.Position, err error) {
	rows, err := db.QueryContext(ctx, `WITH
		p AS MATERIALIZED (SELECT pg_sleep(0.002)),
		s AS MATERIALIZED (SELECT `+prefix+`last() AS top FROM p),
		f AS MATERIALIZED (SELECT top, (SELECT min((classid::bigint & 65535) << 32 | objid::bigint) FROM pg_locks
			WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted
			AND classid::bigint >> 16 = (`+prefix+`space(0) >> 48) & 65535) AS low FROM s)
		SELECT least(top, low), position FROM f LEFT JOIN `+prefix+`events ON position > $1 AND position <= least(top, low)
		ORDER BY position`, int64(after))
	if err != nil {
		return nil, after, err
	}
	defer rows.Close()
	through = after
	for rows.Next() {
		var head int64
		var p sql.NullInt64
		if err := rows.Scan(&head, &p); err != nil {
			return nil, after, err
		}
		through = max(after, eventsource.Position(head))
		if p.Valid {
			seen = append(seen, eventsource.Position(p.Int64))
		}
	}
	return seen, through, rows.Err()
}

// T12, T14, T15: seen is committed, in ascending order, whatever the writers
// do, while an unrelated transaction stays open. The two wrong ways, beside it
// on the same storm, lose events.
func TestSubscribersMissNothingUnderChaos(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	db, admin := openDB(t, "pgx", server.URL()), openDB(t, "pgx", server.URL())
	prefix := newStorePrefix()
	store := newStore(t, db, eventsql.Config{Prefix: prefix})

	unrelated, err := admin.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer unrelated.Rollback() //nolint:errcheck // nothing to lose
	_, err = unrelated.ExecContext(t.Context(), "CREATE TABLE unrelated AS SELECT pg_current_xact_id()")
	require.NoError(t, err)

	right, wrong := &follower{end: make(chan eventsource.Position, 1)}, &follower{end: make(chan eventsource.Position, 1)}
	var mergedSeen []eventsource.Position
	ctx, over := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { right.follow(t.Context(), openStoreQuietly(db, prefix), 0) })
	wg.Go(func() { wrong.follow(t.Context(), naive{store, admin, prefix + "last()"}, 0) })
	wg.Go(func() {
		for after := eventsource.Position(0); ctx.Err() == nil; {
			seen, through, err := merged(ctx, admin, prefix, after)
			if err == nil {
				mergedSeen, after = append(mergedSeen, seen...), through
			}
		}
	})
	(&storm{store: store, db: db, admin: admin, rounds: 40, killed: true}).blow(t)

	all := positions(t, store)
	last := all[len(all)-1]
	right.end <- last
	wrong.end <- last
	over()
	wg.Wait()

	require.NoError(t, right.err)
	assert.Equal(t, all, right.seen, "every committed event once, in order")
	t.Logf("%d events; missed with the sequence as Head: %d, with one statement: %d (of those before its end)",
		len(all), missed(wrong.seen, all), missed(mergedSeen, all[:len(all)-1]))
	assert.Positive(t, missed(wrong.seen, all), "the harness must be able to see a loss")
	mergedEnd := slices.Index(all, slices.Max(mergedSeen))
	assert.Positive(t, missed(mergedSeen, all[:mergedEnd]), "T15: a statement has one snapshot")

	restoreAndGoOn(t, server, prefix, all)
}

// openStoreQuietly is for goroutines, which must not end the test.
func openStoreQuietly(db *sql.DB, prefix string) *eventsql.Store {
	s, err := eventsql.Open(context.Background(), db, eventsql.Config{Prefix: prefix})
	if err != nil {
		panic(err)
	}
	return s
}

// restoreAndGoOn takes the log to a fresh database, where transaction ids begin
// anew, and a subscriber that stands in its middle goes on there.
func restoreAndGoOn(t *testing.T, server *engine.Server, prefix string, before []eventsource.Position) {
	url := copyDatabase(t, server, "restored")
	db := openDB(t, "pgx", url)
	store := openStore(t, db, eventsql.Config{Prefix: prefix})
	require.Equal(t, before, positions(t, store))
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, before[len(before)-1], head)

	middle := before[len(before)/2]
	f := &follower{end: make(chan eventsource.Position, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { f.follow(t.Context(), store, middle) })
	(&storm{store: store, db: db, admin: db, rounds: 10}).blow(t)
	all := positions(t, store)
	f.end <- all[len(all)-1]
	wg.Wait()
	require.NoError(t, f.err)
	assert.Equal(t, all[len(before)/2+1:], f.seen)
	assert.Greater(t, all[len(before)], before[len(before)-1], "positions go on where they were")
}
