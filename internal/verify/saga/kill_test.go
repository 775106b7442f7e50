package saga_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/sagafile"
)

// T1, T2: whatever moment the process is killed at, no effect is lost, none comes
// twice, and every transfer ends whole or undone.
func TestKilledCoordinatorsLoseAndRepeatNothing(t *testing.T) {
	const kills = 8
	onEachKind(t, func(t *testing.T, kind, dsn string) {
		b := newBooks(t, kind, dsn)
		all := transfers("t", 60)
		for range kills {
			child := b.spawn("", all)
			time.Sleep(time.Duration(30+rand.IntN(400)) * time.Millisecond) // any moment will do
			b.kill(child)
		}
		b.finish(all)
	})
}

// T1, T2: the same at each point between which a process can die. Every third time
// they get to their ends: a saga that ten processes have died of counts as one that
// ends its process, which on a slow machine all would be.
func TestKilledAtEachPoint(t *testing.T) {
	points := []string{
		"commit-before", "commit-after", "do-before", "do-inside", "do-after",
		"undo-before", "undo-inside", "undo-after", "claim-after",
	}
	onEachKind(t, func(t *testing.T, kind, dsn string) {
		b := newBooks(t, kind, dsn)
		var all []string
		for i, point := range points {
			group := transfers(fmt.Sprintf("t%d-", i), 9)
			all = append(all, group)
			child := b.spawn(point+":2", group)
			if point == "claim-after" {
				b.kill(child) // its sagas are the next one's to claim, in one go
				child = b.spawn(point+":1", group)
			}
			died := make(chan error, 1)
			go func() { died <- child.Wait() }()
			select {
			case err := <-died:
				require.ErrorContains(t, err, "killed", point)
			case <-time.After(patience):
				t.Fatalf("no process ever came to %s", point)
			}
			if i%3 == 2 {
				b.finish(strings.Join(all, " "))
			}
		}
	})
}

// transfers are n ids.
func transfers(prefix string, n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return strings.Join(ids, " ")
}

// finish runs one more process until all is done, and judges.
func (b *books) finish(all string) {
	b.Helper()
	child := b.spawn("", all)
	started := len(strings.Fields(all))
	b.until("the books balance", func() bool { return b.balanced() == started })
	b.settled()
	time.Sleep(3 * childPoll) // for what should not come any more
	b.kill(child)
	b.judge(started)
}

// balanced counts transfers whose rows sum up to all, or to nothing where the number
// at the end of the id says that it was refused.
func (b *books) balanced() int {
	return b.number("SELECT count(*) FROM (SELECT saga FROM ledger GROUP BY saga" +
		" HAVING sum(amount) = CASE WHEN CAST(substr(saga, -3) AS integer) % 3 = 0 THEN 0 ELSE 3 END)")
}

func (b *books) judge(started int) {
	b.Helper()
	assert.Zero(b, b.number("SELECT count(*) FROM (SELECT 1 FROM ledger GROUP BY saga, step, undo HAVING count(*) > 1)"), "effects that came twice")
	assert.Zero(b, b.number("SELECT count(*) FROM ledger u WHERE undo = 1 AND NOT EXISTS"+
		" (SELECT 1 FROM ledger d WHERE d.saga = u.saga AND d.step = u.step AND d.undo = 0)"), "undone and never done")
	store, err := openKind(b.kind, b.dsn)
	require.NoError(b, err)
	if f, ok := store.(*sagafile.Store); ok {
		defer f.Close()
	}
	n, takeovers := 0, uint64(0)
	for sum, err := range store.List(b.Context(), saga.Filter{}) {
		require.NoError(b, err)
		i, err := strconv.Atoi(sum.ID[len(sum.ID)-3:])
		require.NoError(b, err)
		want := saga.Completed
		if refused(i) {
			want = saga.Compensated
		}
		assert.Equal(b, want, sum.State, sum.ID)
		takeovers += sum.Epoch - 1
		n++
	}
	assert.Equal(b, started, n)
	assert.Equal(b, started, b.balanced())
	calls, effects := b.number("SELECT count(*) FROM calls"), b.number("SELECT count(*) FROM ledger")
	b.Logf("%d sagas, %d takeovers, %d calls for %d effects", n, takeovers, calls, effects)
}
