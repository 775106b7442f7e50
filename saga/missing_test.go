package saga_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// detour is a store whose first commit fails, and arrives a minute later.
type detour struct {
	saga.Store
	taken atomic.Bool
}

func (d *detour) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if d.taken.Swap(true) {
		return d.Store.Commit(ctx, writes)
	}
	late := slices.Clone(writes)
	for i := range late {
		late[i].Records = slices.Clone(late[i].Records)
	}
	time.AfterFunc(time.Minute, func() { _, _ = d.Store.Commit(context.WithoutCancel(ctx), late) })
	return nil, errWire
}

// T16: a commit that arrives long after its Start has given up makes a saga of a live
// process, which nobody else may run: its owner finds it.
func TestLateCommitIsFoundByItsOwner(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, &detour{Store: saga.NewMemory()}, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil)))
		synctest.Wait()
		require.ErrorIs(t, s.Start(within(t, time.Millisecond), "1", state{}), context.DeadlineExceeded)
		time.Sleep(59 * time.Second)
		_, _, err := s.Get(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrNotFound)
		time.Sleep(3 * time.Second)
		require.Equal(t, saga.Completed, b.summary("1").State)
		assert.Equal(t, uint64(1), b.summary("1").Epoch, "nobody had to take it over")
		assert.Equal(t, "order", w.trace())
	})
}

// T16: whoever starts the saga again meanwhile runs it; it is not run twice.
func TestLateCommitOfASagaThatWasStartedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, &detour{Store: saga.NewMemory()}, saga.Config{})
		slow := w.step("order", func(saga.Call) error { time.Sleep(2 * time.Minute); return nil })
		slow.Timeout = -1
		s := register(t, b.c, chain(w, slow))
		synctest.Wait()
		require.ErrorIs(t, s.Start(within(t, time.Millisecond), "1", state{}), context.DeadlineExceeded)
		time.Sleep(30 * time.Second)
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(5 * time.Minute)
		assert.Equal(t, saga.Completed, b.summary("1").State)
		assert.Equal(t, "order", w.trace())
	})
}

// deaf is a store that answers no commit while it is told to: what it stores stays.
type deaf struct {
	saga.Store
	on      atomic.Bool
	commits atomic.Int64
}

func (d *deaf) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	d.commits.Add(1)
	verdicts, err := d.Store.Commit(ctx, writes)
	if d.on.Load() && err == nil {
		return nil, errWire
	}
	return verdicts, err
}

// T16: however many Starts did not hear that their saga exists, each saga runs: those
// that find a place as this process's own, and the others for whoever claims them.
func TestEveryLostStartIsFound(t *testing.T) {
	for _, places := range []int{100, 3000} {
		inBubble(t, func(t *testing.T) {
			const starts = 1300
			w := &world{}
			d := &deaf{Store: saga.NewMemory()}
			b := serve(t, d, saga.Config{MaxRunning: places})
			s := register(t, b.c, chain(w, w.step("order", nil)))
			synctest.Wait()
			d.on.Store(true)
			for i := range starts {
				ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
				require.ErrorIs(t, s.Start(ctx, fmt.Sprint(i), state{}), context.DeadlineExceeded)
				cancel()
			}
			d.on.Store(false)
			time.Sleep(time.Minute)
			completed, claimed := 0, 0
			for sum, err := range b.c.List(t.Context(), saga.Filter{States: []saga.State{saga.Completed}}) {
				require.NoError(t, err)
				completed++
				claimed += int(sum.Epoch) - 1
			}
			assert.Equal(t, starts, completed)
			assert.Equal(t, max(starts-places, 0), claimed)
			assert.Equal(t, starts, w.count("order"))
		})
	}
}

// A Start whose context has ended asks nothing of the store, so that it leaves nothing
// to look for.
func TestStartWithAnEndedContext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		d := &deaf{Store: saga.NewMemory()}
		b := serve(t, d, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil)))
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		require.ErrorIs(t, s.Start(ctx, "1", state{}), errBroken)
		assert.Equal(t, int64(0), d.commits.Load())
	})
}
