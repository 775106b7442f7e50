package saga_test

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// T10: a process that is stopped for longer than its lease and goes on ends its
// calls with ErrFenced, and what they return counts for nothing: the successor's
// result is the one in the log, and the effect is there once. On the file store,
// which one process has, there is no successor.
func TestStoppedPastItsLease(t *testing.T) {
	onSharedKinds(t, func(t *testing.T, kind, dsn string) {
		b := newBooks(t, kind, dsn)
		child := b.spawn("", "hold-000 hold-001")
		b.until("both calls are held", func() bool { return b.number("SELECT count(*) FROM holds") == 2 })
		b.spawn("", "")
		require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
		stopped := time.Now()
		b.until("another has taken over", func() bool { return b.number("SELECT count(DISTINCT saga) FROM ledger") == 2 })
		t.Logf("taken over %v after the stop; lease %v, poll %v", time.Since(stopped), childLease, childPoll)
		require.NoError(t, child.Process.Signal(syscall.SIGCONT))
		b.until("the calls have ended", func() bool { return b.number("SELECT count(*) FROM holds WHERE cause IS NOT NULL") == 2 })
		assert.Equal(t, 2, b.number("SELECT count(*) FROM holds WHERE fenced = 1"))
		b.until("the books balance", func() bool { return b.balanced() == 2 })
		b.settled()
		time.Sleep(3 * childPoll) // for what should not come any more
		b.kill(child)
		assert.Equal(t, 0, b.number("SELECT count(*) FROM (SELECT 1 FROM ledger GROUP BY saga, step, undo HAVING count(*) > 1)"))
		assertOneResult(t, kind, dsn, "hold-001", "debit")
	})
}

// assertOneResult looks for the step in the log: it was done once, by a successor.
func assertOneResult(t *testing.T, kind, dsn, id, step string) {
	t.Helper()
	store, err := openKind(kind, dsn)
	require.NoError(t, err)
	if f, ok := store.(*sagafile.Store); ok {
		defer f.Close()
	}
	_, log, _, err := store.Load(context.Background(), id)
	require.NoError(t, err)
	var epochs []uint64
	for _, r := range log {
		if r.Kind == "done" && r.Step == step {
			epochs = append(epochs, r.Epoch)
		}
	}
	require.Len(t, epochs, 1)
	assert.Greater(t, epochs[0], uint64(1))
	assert.Equal(t, saga.Completed, log[len(log)-1].State)
}

// W9: of two processes on one database, one is killed with all its calls under way:
// the other goes on with them once the lease has ended, and not before.
func TestKilledProcessIsTakenOver(t *testing.T) {
	onEachKind(t, func(t *testing.T, kind, dsn string) {
		b := newBooks(t, kind, dsn)
		all := transfers("hold", 30)
		first := b.spawn("", all)
		b.until("all calls are held", func() bool { return b.number("SELECT count(*) FROM holds") == 30 })
		var second *exec.Cmd
		if kind != "file" {
			second = b.spawn("", "")
			time.Sleep(5 * childPoll)
			assert.Equal(t, 0, b.number("SELECT count(*) FROM ledger"), "from a live owner")
		}
		b.kill(first)
		killed := time.Now()
		if kind == "file" {
			second = b.spawn("", "")
		}
		b.until("the first is taken over", func() bool { return b.number("SELECT count(*) FROM ledger") > 0 })
		took := time.Since(killed)
		b.until("the books balance", func() bool { return b.balanced() == 30 })
		b.settled()
		b.kill(second)
		b.judge(30)
		t.Logf("taken over %v after the kill; lease %v, poll %v", took, childLease, childPoll)
	})
}
