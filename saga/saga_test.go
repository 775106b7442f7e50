package saga_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

func chain(w *world, steps ...saga.Step[state]) saga.Definition[state] {
	return saga.Definition[state]{Name: "order", Steps: steps}
}

func TestChainRunsInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		order := register(t, b.c, chain(w, w.step("order", nil), w.step("pay", nil), w.step("ship", nil)))
		got, err := order.Run(t.Context(), "order-17", state{N: 10})
		require.NoError(t, err)
		assert.Equal(t, 13, got.N)
		assert.Equal(t, "order pay ship", w.trace())
		assert.Equal(t, "start done:order done:pay done:ship", b.history("order-17"), "N+1 appends")
		assert.Equal(t, saga.Completed, b.summary("order-17").State)
		s := b.c.Stats()
		assert.Equal(t, uint64(4), s.Writes)
		assert.Equal(t, uint64(3), s.Steps)
		assert.Equal(t, 0, s.Running)
	})
}

func TestRefusalCompensatesWithoutTheStep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		order := register(t, b.c, chain(w, w.step("order", nil), w.step("pay", nil), w.step("ship", always(saga.Refuse(errBroken)))))
		got, err := order.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		e := asError(t, err)
		assert.Equal(t, "ship", e.Step)
		assert.Equal(t, "broken", e.Cause)
		assert.Equal(t, 2, got.N, "what the refused step wrote is gone")
		assert.Equal(t, "order pay ship pay#undo order#undo", w.trace())
		assert.Equal(t, "start done:order done:pay refuse:ship undone:pay undone:order", b.history("1"))
	})
}

// T30: the first step refused is Compensated, once, in one write.
func TestFirstStepRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		order := register(t, b.c, chain(w, w.step("order", always(saga.Refuse(nil))), w.step("pay", nil)))
		_, err := order.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "order", w.trace())
		assert.Equal(t, "start refuse:order", b.history("1"))
		assert.Equal(t, uint64(2), b.c.Stats().Writes)
		assert.Equal(t, uint64(1), b.c.Stats().Compensated)
	})
}

// T18: an action whose outcome is unknown is undone too.
func TestUnknownOutcomeIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", always(errBroken))
		pay.Retry.Attempts = 3
		order := register(t, b.c, chain(w, w.step("order", nil), pay, w.step("ship", nil)))
		_, err := order.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "order pay pay pay pay#undo order#undo", w.trace())
		assert.Equal(t, uint64(2), b.c.Stats().Retries)
	})
}

// T19: a refusal after an attempt whose reply was lost is undone.
func TestRefusalAfterAnUnknownAttemptIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", fails(errBroken, saga.Refuse(errors.New("balance too low"))))
		order := register(t, b.c, chain(w, w.step("order", nil), pay))
		_, err := order.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "order pay pay pay#undo order#undo", w.trace())
	})
}

func TestPivotOnlyGoesForward(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", nil)
		pay.Pivot = true
		ship := w.step("ship", always(saga.Refuse(errBroken)))
		order := register(t, b.c, chain(w, w.step("order", nil), pay, ship, w.step("mail", nil)))
		_, err := order.Run(t.Context(), "1", state{})
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Equal(t, "ship", e.Step)
		assert.False(t, errors.Is(err, saga.ErrCompensated))
		assert.Equal(t, "order pay ship", w.trace())
		require.ErrorIs(t, b.c.Cancel(t.Context(), "1", "late"), saga.ErrPastPivot)

		require.ErrorIs(t, b.c.Resolve(t.Context(), "1", saga.Resolution{Action: saga.ResolveSkip, By: "ada", Reason: "x"}), saga.ErrPastPivot)
		require.NoError(t, b.c.Resolve(t.Context(), "1", saga.Resolution{
			Action: saga.ResolveDone, By: "ada", Reason: "shipped by hand", Patch: []byte(`{"notes":{"by":"hand"}}`),
		}))
		got, err := order.Wait(t.Context(), "1")
		require.NoError(t, err)
		assert.Equal(t, "hand", got.Notes["by"])
		assert.Equal(t, "order pay ship mail", w.trace())
	})
}

func TestPivotUsedUp(t *testing.T) {
	for name, undo := range map[string]bool{"with Undo": true, "without": false} {
		inBubble(t, func(t *testing.T) {
			w := &world{}
			b := serve(t, saga.NewMemory(), saga.Config{})
			pay := w.step("pay", always(errBroken))
			pay.Pivot, pay.Retry = true, saga.Retry{Attempts: 2, For: -1}
			if !undo {
				pay.Undo = nil
			}
			order := register(t, b.c, chain(w, w.step("order", nil), pay, w.step("ship", nil)))
			_, err := order.Run(t.Context(), "1", state{})
			if undo {
				require.ErrorIs(t, err, saga.ErrCompensated, name)
				assert.Equal(t, "order pay pay pay#undo order#undo", w.trace())
				return
			}
			assert.Equal(t, saga.Stuck, asError(t, err).State)
			assert.Equal(t, "order pay pay", w.trace())
		})
	}
}

// T25: an Undo is Stuck only after both its count and its time: neither a burst
// within a second nor one failure a day apart suffices.
func TestUndoIsStuckOnlyAfterCountAndTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		order := w.step("order", nil)
		order.Undo = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			return errBroken
		}
		order.UndoRetry = saga.Retry{Attempts: 3, Base: time.Nanosecond, Cap: 20 * time.Minute}
		s := register(t, b.c, chain(w, order, w.step("pay", always(saga.Refuse(nil)))))
		begun := time.Now()
		_, err := s.Run(t.Context(), "1", state{})
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		took := time.Since(begun)
		assert.True(t, took >= time.Hour, took.String())
		assert.True(t, w.count("order#undo") > 3)
		assert.Equal(t, []string{"order"}, asError(t, err).Left)
	})
}

// T23: the attempts of Do do not eat those of Undo.
func TestUndoHasItsOwnBudget(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", always(errBroken))
		pay.Retry.Attempts = 5
		var undos atomic.Int32
		pay.Undo = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			assert.Equal(t, int(undos.Add(1)), saga.CallFrom(ctx).Attempt)
			if undos.Load() < 5 {
				return errBroken
			}
			return nil
		}
		pay.UndoRetry = saga.Retry{Attempts: 5, For: -1}
		s := register(t, b.c, chain(w, pay, w.step("ship", nil)))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, 4, len(asError(t, err).Undo))
	})
}

// T24, T28: a failing undo ends nothing; the others are undone, in the reversed
// graph's order, and it is retried.
func TestGraphIsUndoneInReverse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		left, right, join := w.step("left", nil), w.step("right", nil), w.step("join", nil)
		left.After, right.After, join.After = []string{"top"}, []string{"top"}, []string{"left", "right"}
		left.Undo = func(ctx context.Context, _ *state) error {
			if c := w.note(ctx); c.Attempt < 3 {
				return errBroken
			}
			return nil
		}
		for i, s := range []*saga.Step[state]{&left, &right, &join} {
			s.Do = func(ctx context.Context, s *state) error {
				w.note(ctx)
				time.Sleep(time.Duration(10-i) * time.Second) // done in another order than started
				return nil
			}
		}
		last := w.step("last", always(saga.Refuse(nil)))
		s := register(t, b.c, chain(w, w.step("top", nil), left, right, join, last))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		calls := strings.Fields(w.trace())
		assert.Equal(t, "join#undo", calls[5])
		assert.Equal(t, "left#undo right#undo", sorted(strings.Join(calls[6:8], " ")))
		assert.Equal(t, "left#undo left#undo top#undo", strings.Join(calls[8:], " "))
	})
}

// T21: no Undo before every running Do has returned, and a sibling's outcome counts.
func TestTurnAwaitsRunningSiblings(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		slow, quick := w.step("slow", nil), w.step("quick", nil)
		slow.After, quick.After = []string{"top"}, []string{"top"}
		var returned atomic.Bool
		slow.Do = func(ctx context.Context, s *state) error {
			w.note(ctx)
			<-ctx.Done()
			assert.Contains(t, context.Cause(ctx).Error(), "compensating")
			time.Sleep(5 * time.Second) // and still succeeds
			returned.Store(true)
			return nil
		}
		slow.Undo = func(ctx context.Context, _ *state) error {
			assert.True(t, returned.Load())
			w.note(ctx)
			return nil
		}
		quick.Do = func(ctx context.Context, _ *state) error {
			time.Sleep(time.Second)
			return saga.Refuse(errBroken)
		}
		s := register(t, b.c, chain(w, w.step("top", nil), slow, quick))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "top slow slow#undo top#undo", w.trace())
		assert.Equal(t, "start done:top refuse:quick done:slow undone:slow undone:top", b.history("1"))
	})
}

// T29: a panic and a Goexit are outcomes; the process lives and nothing is lost.
func TestPanicAndGoexitAreOutcomes(t *testing.T) {
	for name, exit := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		inBubble(t, func(t *testing.T) {
			w := &world{}
			b := serve(t, saga.NewMemory(), saga.Config{})
			pay := w.step("pay", nil)
			var did, undid atomic.Int32
			pay.Do = func(ctx context.Context, _ *state) error {
				w.note(ctx)
				if did.Add(1) == 1 {
					exit()
				}
				return saga.Refuse(nil)
			}
			pay.Undo = func(ctx context.Context, _ *state) error {
				w.note(ctx)
				if undid.Add(1) == 1 {
					exit()
				}
				return nil
			}
			s := register(t, b.c, chain(w, w.step("order", nil), pay))
			_, err := s.Run(t.Context(), "1", state{})
			require.ErrorIs(t, err, saga.ErrCompensated, name)
			assert.Equal(t, "order pay pay pay#undo pay#undo order#undo", w.trace())
			assert.Contains(t, asError(t, err).Undo[0], name)
		})
	}
}

// T32: a step whose result does not encode is undone.
func TestResultThatDoesNotEncodeIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := serve(t, saga.NewMemory(), saga.Config{})
		undone, done := false, 0
		s := register(t, b.c, saga.Definition[map[string]any]{Name: "m", Steps: []saga.Step[map[string]any]{{
			Name: "bad",
			Do: func(_ context.Context, s *map[string]any) error {
				done++
				*s = map[string]any{"x": make(chan int)}
				return nil
			},
			Undo: func(context.Context, *map[string]any) error { undone = true; return nil },
		}}})
		_, err := s.Run(t.Context(), "1", nil)
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.True(t, undone)
		assert.Equal(t, 1, done, "the effect is there: no second attempt would help")
		assert.Contains(t, asError(t, err).Cause, "does not encode")
	})
}

// T35: a thousand equal Starts run once; other input is a conflict in every state.
func TestStartIsIdempotent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil)))
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { assert.NoError(t, s.Start(t.Context(), "1", state{N: 1})) })
		}
		group.Wait()
		require.ErrorIs(t, s.Start(t.Context(), "1", state{N: 2}), saga.ErrConflict)
		_, err := s.Wait(t.Context(), "1")
		require.NoError(t, err)
		require.NoError(t, s.Start(t.Context(), "1", state{N: 1}))
		require.ErrorIs(t, s.Start(t.Context(), "1", state{N: 2}), saga.ErrConflict)
		assert.Equal(t, "order", w.trace())
	})
}

func TestReverseUndoesACompletedSaga(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil), w.step("pay", nil)))
		_, err := s.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		require.NoError(t, s.Reverse(t.Context(), "1", "returned"))
		_, err = s.Wait(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "reversed", asError(t, err).Code)
		assert.Equal(t, "order pay pay#undo order#undo", w.trace())
		require.NoError(t, s.Reverse(t.Context(), "1", "again"))
	})
}

func TestSubSaga(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		d := chain(w, w.step("pick", nil), w.step("pack", nil))
		d.Name = "fulfil"
		child := register(t, b.c, d)
		refuse := false
		parent := register(t, b.c, chain(w, w.step("order", nil),
			saga.Sub("fulfil", child, func(s *state) state { return state{N: s.N} }, func(s *state, out state) { s.N = out.N }),
			w.step("ship", func(saga.Call) error {
				if refuse {
					return saga.Refuse(nil)
				}
				return nil
			})))
		begun := time.Now()
		got, err := parent.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		assert.Equal(t, 4, got.N)
		assert.True(t, time.Since(begun) < 2*time.Second, fmt.Sprint(time.Since(begun)))
		refuse = true
		_, err = parent.Run(t.Context(), "2", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "order pick pack ship order pick pack ship pack#undo pick#undo order#undo", w.trace())
	})
}
