package saga_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagasql"
)

// blocked is a commit beside a transaction of somebody else's that is in its way.
type blocked struct {
	*testing.T
	store    *sagasql.Store
	tx       *sql.Tx
	verdicts chan []saga.Verdict
}

// block has the owner "o", its sagas "a" and "b", and a transaction that has run query.
func block(t *testing.T, query string) *blocked {
	ctx := t.Context()
	db := openDB(t, "pgx", engine.Postgres(t).URL())
	b := &blocked{T: t, store: openSQL(t, db, sagasql.Config{}), verdicts: make(chan []saga.Verdict, 1)}
	_, err := b.store.Poll(ctx, saga.Lease{Owner: "o", For: time.Hour})
	require.NoError(t, err)
	verdicts, err := b.store.Commit(ctx, []saga.Write{created("a", "o"), created("b", "o")})
	require.NoError(t, err)
	for _, v := range verdicts {
		require.NoError(t, v.Err)
	}
	b.tx, err = db.BeginTx(context.WithoutCancel(ctx), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.tx.Rollback() })
	b.exec("SET LOCAL lock_timeout = '100ms'")
	b.exec(query)
	return b
}

func (b *blocked) exec(query string) {
	b.Helper()
	_, err := b.tx.ExecContext(b.Context(), query)
	require.NoError(b, err, query)
}

// commit begins one, and returns when it waits for a lock.
func (b *blocked) commit(batch ...saga.Write) {
	b.Helper()
	go func() {
		verdicts, err := b.store.Commit(context.WithoutCancel(b.Context()), batch)
		assert.NoError(b, err)
		b.verdicts <- verdicts
	}()
	require.Eventually(b, func() bool {
		var waiting bool
		err := b.tx.QueryRowContext(b.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&waiting)
		require.NoError(b, err)
		return waiting
	}, 20*time.Second, 5*time.Millisecond, "nothing is in its way")
}

// goOn ends the transaction. All writes are accepted.
func (b *blocked) goOn() {
	b.Helper()
	require.NoError(b, b.tx.Commit())
	for _, v := range <-b.verdicts {
		require.NoError(b, v.Err)
	}
}

func created(id, owner string) saga.Write {
	return saga.Write{
		Summary: saga.Summary{ID: id, Name: "order", Version: 1, State: saga.Running, Owner: owner, Seq: 1},
		Records: []saga.Record{{Kind: "start", Seq: 1, State: saga.Running}},
	}
}

func extended(id, owner string) saga.Write {
	w := created(id, owner)
	w.Summary.Epoch, w.Summary.Seq = 1, 2
	w.Records[0] = saga.Record{Kind: "done", Seq: 2, Epoch: 1, State: saga.Running}
	return w
}

// Two commits take rows in one order, whatever that of their writes, or each would wait
// for what the other has.
func TestCommitTakesRowsInOrder(t *testing.T) {
	t.Run("Updates", func(t *testing.T) {
		b := block(t, "SELECT FROM keelson_saga WHERE id = 'a' FOR UPDATE")
		b.commit(created("0", "o"), extended("b", "o"), extended("a", "o"))
		b.exec("SELECT FROM keelson_saga WHERE id = 'b' FOR UPDATE")
		b.goOn()
	})
	t.Run("NewSagas", func(t *testing.T) {
		b := block(t, copyOfA("c"))
		b.commit(created("d", "o"), created("c", "o"))
		b.exec(copyOfA("d"))
		b.goOn()
	})
	t.Run("UpdatesBeforeNewSagas", func(t *testing.T) {
		b := block(t, "SELECT FROM keelson_saga WHERE id = 'b' FOR UPDATE")
		b.commit(created("a1", "o"), extended("b", "o"))
		b.exec(copyOfA("a1"))
		b.goOn()
	})
}

func copyOfA(id string) string {
	return "INSERT INTO keelson_saga SELECT '" + id + "', name, version, shape, can_any, can_exact, fingerprint, state, step, attempt, code, cause, pivoted," +
		" owner, epoch, seq, mail, mail_read, claims, started, updated, wake_at, ended FROM keelson_saga WHERE id = 'a'"
}

// An owner is looked at before sagas are taken, as a poll does, and is locked: one that
// is reaped meanwhile is found dead, and its new saga is nobody's, and due.
func TestCommitLocksTheOwnerFirst(t *testing.T) {
	b := block(t, "UPDATE keelson_saga_owner SET dead = 1 WHERE owner = 'o'")
	b.commit(extended("a", "o"), created("c", "o"))
	b.exec("UPDATE keelson_saga SET owner = NULL, wake_at = 0 WHERE owner = 'o'")
	b.goOn()
	for _, id := range []string{"a", "b", "c"} {
		sum, _, _, err := b.store.Load(t.Context(), id)
		require.NoError(t, err)
		assert.Empty(t, sum.Owner, id)
		assert.False(t, sum.WakeAt.IsZero(), id)
	}
}
