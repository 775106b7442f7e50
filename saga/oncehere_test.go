package saga_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// crowd notes how many calls run here at once.
type crowd struct{ now, most, all atomic.Int32 }

func (c *crowd) call(d time.Duration) {
	c.all.Add(1)
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	time.Sleep(d)
	c.now.Add(-1)
}

// listed is a store whose Poll, once it has claimed, returns after a List that began
// before has seen the claim.
type listed struct {
	*saga.Memory
	lose    atomic.Bool
	claimed chan struct{}
	seen    chan struct{}
}

func (l *listed) Poll(ctx context.Context, lease saga.Lease) (saga.Work, error) {
	w, err := l.Memory.Poll(ctx, lease)
	if l.lose.CompareAndSwap(true, false) {
		return saga.Work{}, errWire
	}
	if len(w.Claimed) > 0 {
		close(l.claimed)
		<-l.seen
	}
	return w, err
}

func (l *listed) List(ctx context.Context, f saga.Filter) iter.Seq2[saga.Summary, error] {
	if len(f.IDs) > 0 {
		return l.Memory.List(ctx, f)
	}
	return func(yield func(saga.Summary, error) bool) {
		<-l.claimed
		l.Memory.List(ctx, f)(yield)
		time.AfterFunc(time.Second, func() { close(l.seen) })
	}
}

// T10: a saga that is listed as held while the poll that claims it is still under way
// runs once.
func TestListedWhileItIsClaimedRunsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var calls crowd
		w, store := &world{}, &listed{Memory: saga.NewMemory(), claimed: make(chan struct{}), seen: make(chan struct{})}
		d := chain(w, w.step("pay", func(saga.Call) error { calls.call(5 * time.Second); return nil }))
		b := serve(t, store, saga.Config{})
		register(t, b.c, d)
		synctest.Wait()
		store.lose.Store(true)
		time.Sleep(2 * time.Second) // a poll is lost, the next one begins the List
		outside, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		s := register(t, outside, d)
		_, err = s.Run(within(t, time.Hour), "1", state{})
		require.NoError(t, err)
		assert.Equal(t, int32(1), calls.all.Load())
	})
}

// T10: a Start between the loss of a lease and the first look of the next one makes
// nothing that this process claims beside its own run.
func TestStartBetweenLeasesRunsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var calls crowd
		w, store := &world{}, &deafPoll{Memory: saga.NewMemory()}
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("pay", func(saga.Call) error { calls.call(30 * time.Second); return nil })))
		synctest.Wait()
		store.deaf.Store(true)
		time.Sleep(12 * time.Second)
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(2 * time.Second)
		store.deaf.Store(false)
		_, err := s.Wait(within(t, time.Hour), "1")
		require.NoError(t, err)
		assert.Equal(t, int32(1), calls.most.Load())
		assert.Equal(t, int32(1), calls.all.Load())
	})
}

// deafPoll is a store that does all but poll.
type deafPoll struct {
	*saga.Memory
	deaf atomic.Bool
}

func (d *deafPoll) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	if d.deaf.Load() {
		return saga.Work{}, errWire
	}
	return d.Memory.Poll(ctx, l)
}

// T10: a write that fails with the lease while another call of the saga still runs
// leaves nothing behind that keeps the saga from running here again.
func TestLostLeaseUnderAWriteBesideACall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, line := &world{}, &wire{Store: saga.NewMemory()}
		quick, slow := w.step("quick", nil), w.step("slow", nil)
		quick.After, slow.After = []string{}, []string{}
		quick.Do = func(ctx context.Context, _ *state) error {
			if saga.CallFrom(ctx).Epoch == 1 {
				time.Sleep(time.Second)
				line.cut.Store(true) // its result is not stored any more
			}
			return nil
		}
		slow.Do = func(ctx context.Context, _ *state) error {
			if saga.CallFrom(ctx).Epoch == 1 {
				<-ctx.Done()
				time.Sleep(5 * time.Second) // the write gives up meanwhile
			}
			return nil
		}
		b := serve(t, line, saga.Config{})
		s := register(t, b.c, chain(w, quick, slow))
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(15 * time.Second)
		line.cut.Store(false)
		_, err := s.Wait(within(t, time.Hour), "1")
		require.NoError(t, err)
	})
}

// late is a store that another process has claimed from before it loads.
type late struct {
	*saga.Memory
	before func()
}

func (l *late) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	if l.before != nil {
		l.before()
	}
	return l.Memory.Load(ctx, id)
}

// T10: what another process has claimed between a claim and the load of its log is not
// run under that other claim, whatever the clock here says of the lease.
func TestClaimedByAnotherBeforeTheLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, memory := &world{}, saga.NewMemory()
		slept := &late{Memory: memory}
		d := chain(w, w.step("pay", nil))
		outside, err := saga.New(memory, saga.Config{})
		require.NoError(t, err)
		require.NoError(t, register(t, outside, d).Start(t.Context(), "1", state{}))
		slept.before = func() { // the machine sleeps, and its clock with it
			if sum := one(t, memory, "1"); sum.Owner != "other" {
				_, err := memory.Poll(t.Context(), saga.Lease{Owner: sum.Owner})
				require.NoError(t, err)
				_, err = memory.Poll(t.Context(), saga.Lease{Owner: "other", For: time.Hour, Only: "1"})
				require.NoError(t, err)
			}
		}
		b := serve(t, slept, saga.Config{})
		register(t, b.c, d)
		time.Sleep(time.Minute)
		assert.Equal(t, "", w.trace())
		assert.Equal(t, "other", b.summary("1").Owner)
	})
}

func one(t *testing.T, store saga.Store, id string) saga.Summary {
	t.Helper()
	for s, err := range store.List(t.Context(), saga.Filter{IDs: []string{id}}) {
		require.NoError(t, err)
		return s
	}
	return saga.Summary{}
}
