package saga_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// accounts counts effects behind a barrier, in the process.
type accounts struct {
	guard *barrier.Guard

	mu    sync.Mutex
	sum   map[string]int // by saga
	calls int
}

func (a *accounts) book(ctx context.Context, amount int) error {
	c := saga.CallFrom(ctx)
	a.mu.Lock()
	a.calls++
	a.mu.Unlock()
	return barrier.Run(ctx, a.guard, c, func(context.Context) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.sum[c.Saga] += amount
		return nil
	})
}

// A thousand sagas are in the middle of a step when Postgres is killed, and again
// when it is shut down: all end right once it is back, without a lost or a repeated
// effect.
func TestPostgresRestartsUnderAThousandSagas(t *testing.T) {
	const n = 1000
	server := engine.Postgres(t)
	db := openDB(t, "pgx", server.URL())
	db.SetMaxOpenConns(8)
	store := openSQL(t, db, sagasql.Config{})
	c, err := saga.New(store, saga.Config{Poll: 200 * time.Millisecond, Lease: 20 * time.Second, MaxRunning: 2 * n})
	require.NoError(t, err)
	a := &accounts{guard: barrier.NewMemory(0), sum: map[string]int{}}
	type trip struct{ Refuse bool }
	gates := map[string]chan struct{}{"one": make(chan struct{}), "three": make(chan struct{})}
	arrived := map[string]*sync.WaitGroup{"one": {}, "three": {}}
	for _, group := range arrived {
		group.Add(n)
	}
	var came sync.Map // calls that have come to their gate, by key
	step := func(name string) saga.Step[trip] {
		return saga.Step[trip]{
			Name: name,
			Do: func(ctx context.Context, s *trip) error {
				if gate := gates[name]; gate != nil {
					if _, again := came.LoadOrStore(saga.CallFrom(ctx).Key(), true); !again {
						arrived[name].Done()
					}
					select {
					case <-gate:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				if name == "three" && s.Refuse {
					return saga.Refuse(nil)
				}
				return a.book(ctx, 1)
			},
			Undo: func(ctx context.Context, _ *trip) error { return a.book(ctx, -1) },
		}
	}
	s, err := saga.Register(c, saga.Definition[trip]{Name: "trip", Steps: []saga.Step[trip]{step("one"), step("two"), step("three")}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	var ends sync.WaitGroup
	for i := range n {
		ends.Go(func() {
			_, err := s.Run(t.Context(), fmt.Sprintf("trip-%04d", i), trip{Refuse: i%3 == 0})
			if i%3 == 0 {
				assert.ErrorIs(t, err, saga.ErrCompensated)
			} else {
				assert.NoError(t, err)
			}
		})
	}
	for _, f := range []struct {
		at   string
		fail func() error
	}{{"one", server.Kill}, {"three", func() error { return server.Stop(context.Background()) }}} {
		arrived[f.at].Wait()
		require.NoError(t, f.fail())
		close(gates[f.at])
		require.NoError(t, server.Restart(context.Background()))
	}
	ends.Wait()
	stop()
	require.NoError(t, <-served)
	for i := range n {
		want := 3
		if i%3 == 0 {
			want = 0
		}
		assert.Equal(t, want, a.sum[fmt.Sprintf("trip-%04d", i)], i)
	}
	stats := c.Stats()
	t.Logf("%d calls, %d claims, %d leases lost, %d commits of %d writes", a.calls, stats.Claims, stats.LeasesLost, stats.Commits, stats.Writes)
}
