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
			got, err := parent.Run(within(t, 24*time.Hour), "1", state{})
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
		_, err := parent.Wait(within(t, 24*time.Hour), "1")
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
		_, err := taken.Run(within(t, 24*time.Hour), "1/child", state{})
		require.NoError(t, err)
		parent := parentOf(t, b, w, w.step("pack", nil))
		_, err = parent.Run(within(t, 24*time.Hour), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "child", asError(t, err).Step)
		assert.Contains(t, asError(t, err).Cause, "1/child")
		assert.Equal(t, "other before before#undo", w.trace())
		assert.Equal(t, saga.Completed, b.summary("1/child").State)
	})
}

// takenChild has the id of the child taken by somebody else's saga of the same
// definition while the parent's Start is under way, which fails as if its answer was
// lost.
type takenChild struct {
	saga.Store
	child string
	other saga.Write
	once  atomic.Bool
}

func (s *takenChild) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if w := writes[0].Summary; w.ID == s.child && w.Epoch == 0 && !s.once.Swap(true) {
		if v, err := s.Store.Commit(ctx, []saga.Write{s.other}); err != nil || v[0].Err != nil {
			panic("taken already")
		}
		return nil, errFinal
	}
	return s.Store.Commit(ctx, writes)
}

// errFinal ends a Start at once.
var errFinal error = finalError{}

type finalError struct{}

func (finalError) Error() string             { return "the answer was lost" }
func (finalError) Retryable() bool           { return false }
func (finalError) RetryAfter() time.Duration { return time.Second }

// T41: an attempt whose outcome is unknown does not make somebody else's saga ours:
// one of the same definition that took the child's id is neither cancelled nor
// reversed, with other input or with the same.
func TestUndoLeavesSomebodyElsesSagaAlone(t *testing.T) {
	for name, in := range map[string]state{"other input": {N: 7}, "the same input": {N: 100}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, store := &world{}, &takenChild{Store: saga.NewMemory(), child: "1/child"}
				b := serve(t, store, saga.Config{})
				pack := w.step("pack", func(c saga.Call) error {
					if c.Signal == "" {
						return saga.Await("go", 0)
					}
					return nil
				})
				d := chain(w, pack)
				d.Name = "child"
				child := register(t, b.c, d)
				parent := register(t, b.c, chain(w, w.step("before", nil),
					saga.Sub("child", child, func(*state) state { return state{N: 100} }, func(*state, state) {})))
				var err error
				store.other, err = child.Prepare("1/child", in)
				require.NoError(t, err)
				_, err = parent.Run(within(t, 24*time.Hour), "1", state{})
				require.ErrorIs(t, err, saga.ErrCompensated)
				assert.Equal(t, "start done:before fail:child refuse:child undone:child undone:before", b.history("1"))
				time.Sleep(2 * time.Second) // it is claimed
				assert.Equal(t, saga.Waiting, b.summary("1/child").State)
				require.NoError(t, b.c.Signal(t.Context(), "1/child", "go", "", nil))
				_, err = child.Wait(within(t, 24*time.Hour), "1/child")
				require.NoError(t, err)
			})
		})
	}
}

// lateChild lets the write that creates the child arrive an hour late.
type lateChild struct {
	saga.Store
	child string
	once  atomic.Bool
}

func (s *lateChild) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if w := writes[0]; w.Summary.ID == s.child && w.Summary.Epoch == 0 && !s.once.Swap(true) {
		go func() {
			time.Sleep(time.Hour)
			_, _ = s.Store.Commit(context.WithoutCancel(ctx), []saga.Write{w})
		}()
		return nil, errFinal
	}
	return s.Store.Commit(ctx, writes)
}

// T41: a Start that arrives after its step was undone finds the id taken: no child
// runs for a parent that has ended.
func TestChildThatStartsAfterItsUndo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, &lateChild{Store: saga.NewMemory(), child: "1/child"}, saga.Config{})
		d := chain(w, w.step("pack", nil))
		d.Name = "child"
		child := register(t, b.c, d)
		sub := saga.Sub("child", child, func(*state) state { return state{} }, func(*state, state) {})
		sub.Retry.Attempts = 1
		parent := register(t, b.c, chain(w, w.step("before", nil), sub))
		_, err := parent.Run(within(t, 24*time.Hour), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		time.Sleep(2 * time.Hour)
		assert.Equal(t, "before before#undo", w.trace())
		assert.Equal(t, saga.Compensated, b.summary("1/child").State)
		assert.Equal(t, "start cancel", b.history("1/child"))
		_, err = child.Wait(within(t, 24*time.Hour), "1/child")
		require.ErrorIs(t, err, saga.ErrCompensated)
	})
}

// A child that was purged before its parent had ended cannot be taken back, and
// nobody says that it was.
func TestChildThatWasPurgedIsNotTakenBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{Keep: time.Minute})
		d := chain(w, w.step("pack", nil))
		d.Name = "child"
		child := register(t, b.c, d)
		sub := saga.Sub("child", child, func(*state) state { return state{} }, func(*state, state) {})
		wait := w.step("wait", func(c saga.Call) error {
			if !c.TimedOut {
				return saga.Sleep(time.Hour)
			}
			return saga.Refuse(nil)
		})
		parent := register(t, b.c, chain(w, sub, wait))
		_, err := parent.Run(within(t, 24*time.Hour), "1", state{})
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Equal(t, "child", e.Step)
		assert.Contains(t, e.Error(), "is gone")
		assert.Equal(t, "pack wait wait wait#undo", w.trace())
	})
}
