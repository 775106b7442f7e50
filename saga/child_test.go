package saga_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// lateReader lets a parent know of its child what was true five seconds ago.
type lateReader struct {
	saga.Store
	child string
	once  atomic.Bool
	mute  bool // messages of the child are lost
}

func (l *lateReader) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	s, log, mail, err := l.Store.Load(ctx, id)
	if id == l.child && err == nil && !l.once.Swap(true) {
		time.Sleep(5 * time.Second)
	}
	return s, log, mail, err
}

func (l *lateReader) Post(ctx context.Context, id string, r saga.Record) error {
	if l.mute && strings.HasPrefix(r.Code, "saga.sub.") {
		return errWire
	}
	return l.Store.Post(ctx, id, r)
}

// parentOf runs child as the step "child" of a parent.
func parentOf(t *testing.T, b *bench, w *world, child saga.Step[state]) *saga.Saga[state] {
	t.Helper()
	d := chain(w, child)
	d.Name = "child"
	c := register(t, b.c, d)
	return register(t, b.c, chain(w, w.step("before", nil),
		saga.Sub("child", c, func(s *state) state { return state{N: 100} }, func(s *state, out state) { s.N += out.N }), w.step("after", nil)))
}

// T41: a child that ends between its parent's look and its parent's park wakes the
// parent all the same: at once by its message, and by the look where that is lost.
func TestChildThatEndsBeforeItsParentParks(t *testing.T) {
	for _, c := range []struct {
		mute bool
		most time.Duration
	}{{false, 10 * time.Second}, {true, 40 * time.Second}} {
		inBubble(t, func(t *testing.T) {
			w := &world{}
			b := serve(t, &lateReader{Store: saga.NewMemory(), child: "1/child", mute: c.mute}, saga.Config{})
			time.Sleep(time.Second) // it serves
			// The child takes a moment, so that it runs when its parent looks.
			quick := w.step("quick", func(saga.Call) error { time.Sleep(time.Second); return nil })
			parent := parentOf(t, b, w, quick)
			begun := time.Now()
			got, err := parent.Run(t.Context(), "1", state{})
			require.NoError(t, err)
			assert.Equal(t, 103, got.N)
			assert.Contains(t, b.history("1"), "park:child")
			assert.True(t, time.Since(begun) < c.most, time.Since(begun).String())
		})
	}
}

// T41: the parent of a child that is Stuck waits, and goes on once a human has
// decided.
func TestParentWaitsWhileItsChildIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, &lateReader{Store: saga.NewMemory(), child: "1/child"}, saga.Config{})
		time.Sleep(time.Second)
		pivot := w.step("ship", fails(saga.Refuse(errBroken)))
		pivot.Pivot, pivot.Undo = true, nil
		pivot.Retry = saga.Retry{Attempts: 1, For: -1}
		pivot.Do = func(ctx context.Context, s *state) error {
			if w.note(ctx); w.count("ship") == 1 {
				return errBroken // used up: Stuck, as there is no Undo
			}
			return nil
		}
		d := chain(w, pivot)
		d.Name = "child"
		child := register(t, b.c, d)
		sub := saga.Sub("child", child, func(*state) state { return state{} }, func(*state, state) {})
		pay := w.step("pay", nil)
		pay.Pivot = true
		parent := register(t, b.c, chain(w, pay, sub)) // a child that cannot be reversed stands behind the pivot
		require.NoError(t, parent.Start(t.Context(), "1", state{}))
		time.Sleep(time.Hour)
		assert.Equal(t, saga.Stuck, b.summary("1/child").State)
		assert.Equal(t, saga.Waiting, b.summary("1").State)
		require.NoError(t, b.c.Resolve(t.Context(), "1/child", saga.Resolution{Action: saga.ResolveRetry, By: "ada", Reason: "again"}))
		_, err := parent.Wait(t.Context(), "1")
		require.NoError(t, err)
	})
}

// T41: an id that is somebody else's refuses the step, and the other saga is left
// alone.
func TestChildIDInUse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		other := chain(w, w.step("other", nil))
		other.Name = "other"
		taken := register(t, b.c, other)
		_, err := taken.Run(t.Context(), "1/child", state{})
		require.NoError(t, err)
		parent := parentOf(t, b, w, w.step("pack", nil))
		_, err = parent.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "child", asError(t, err).Step)
		assert.Contains(t, asError(t, err).Cause, "1/child")
		assert.Equal(t, "other before before#undo", w.trace())
		assert.Equal(t, saga.Completed, b.summary("1/child").State)
	})
}
