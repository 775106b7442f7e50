package saga_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/verify/internal/pg"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// T17: calls that hold all connections of the business's pool for longer than a
// lease do not cost it, since the store has a pool of its own.
func TestBusyPoolDoesNotCostTheLease(t *testing.T) {
	dsn := pg.Database(t)
	business := openDB(t, "pgx", dsn)
	business.SetMaxOpenConns(1)
	store := openSQL(t, openDB(t, "pgx", dsn), sagasql.Config{})
	c, err := saga.New(store, saga.Config{Lease: time.Second, Poll: 100 * time.Millisecond})
	require.NoError(t, err)
	s, err := saga.Register(c, saga.Definition[order]{Name: "order", Steps: []saga.Step[order]{{
		Name: "pay", Do: func(ctx context.Context, _ *order) error {
			tx, err := business.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
			var slept sql.NullString
			if err := tx.QueryRowContext(ctx, "SELECT pg_sleep(1.5)").Scan(&slept); err != nil {
				return err
			}
			return tx.Commit()
		},
	}}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	require.NoError(t, s.Start(ctx, "1", order{}))
	require.NoError(t, s.Start(ctx, "2", order{}))
	for _, id := range []string{"1", "2"} {
		_, err := s.Wait(ctx, id)
		require.NoError(t, err)
	}
	assert.Zero(t, c.Stats().LeasesLost)
	stop()
	require.NoError(t, <-served)
}
