package eventsql

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/engine"
)

// T21: a database that restarts or dies, under the store, the checkpoint and the
// read model alike, neither ends Run nor costs or repeats an event; and what it
// makes of a batch is no reason to park.
func TestADatabaseRestartDoesNotEndRun(t *testing.T) {
	t.Parallel()
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL())
	s := newStore(t, db, eventsql.Config{})
	_, err := db.ExecContext(t.Context(), "CREATE TABLE counted (position bigint)")
	require.NoError(t, err)

	failures := make(chan error, 1000)
	p := counting(func(string) {}, func(e eventsource.Progress) {
		if e.Err != nil {
			select {
			case failures <- e.Err:
			default:
			}
		}
	})
	p.Lease, p.MaxAttempts = time.Second, 2
	p.Backoff = func(int) time.Duration { return 20 * time.Millisecond }
	p.Park = func(_ context.Context, r eventsource.Recorded, err error) error {
		t.Errorf("parked %d: %v", r.Position, err)
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, s, s) }()

	var last eventsource.Position
	total := 0
	put := func(n int) {
		for done := 0; done < n; {
			if res, err := s.Append(t.Context(), one("a")); err == nil {
				last, done, total = res.Last, done+1, total+1
			}
			require.NoError(t, t.Context().Err())
		}
	}
	put(50)
	for range 3 {
		require.NoError(t, server.Kill())
		require.Error(t, <-failures, "Run has met the outage")
		require.NoError(t, server.Restart(t.Context()))
		put(50)
		require.NoError(t, server.Restart(t.Context()))
		put(50)
	}
	for err := p.WaitFor(t.Context(), s, last); err != nil; err = p.WaitFor(t.Context(), s, last) {
		require.NoError(t, t.Context().Err()) // the pool still had a dead connection
	}
	select {
	case err := <-ended:
		t.Fatal("Run has ended: ", err)
	default:
	}
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	n, distinct := counted(t, db)
	all := len(positions(t, s))
	assert.Equal(t, []int{all, all}, []int{n, distinct}, "count, distinct = appended")
	assert.GreaterOrEqual(t, all, total)
}
