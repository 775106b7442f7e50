package saga_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// T31: a cancel that is durable before the append that makes the pivot ready wins.
func TestCancelBeforeThePivotStartsWins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		order := w.step("order", func(c saga.Call) error { return b.c.Cancel(t.Context(), c.Saga, "no") })
		pay := w.step("pay", nil)
		pay.Pivot = true
		s := register(t, b.c, chain(w, order, pay))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "order order#undo", w.trace())
	})
}

// T31: a cancel while the pivot runs waits for its outcome, and its ctx lives.
func TestCancelWhileThePivotRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", nil)
		pay.Pivot = true
		pay.Do = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			require.NoError(t, b.c.Cancel(ctx, "1", "late"))
			time.Sleep(10 * time.Second)
			return ctx.Err()
		}
		d := chain(w, w.step("order", nil), pay)
		d.Deadline = 5 * time.Second
		s := register(t, b.c, d)
		_, err := s.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		assert.Equal(t, "order pay", w.trace())
	})
}

// hangs ignores its context.
func hangs(w *world, free chan struct{}) saga.Step[state] {
	s := w.step("hang", func(saga.Call) error { <-free; return nil })
	s.Timeout = time.Second
	return s
}

// A call that ignores its ended context makes the saga Stuck, and no call of the
// saga begins while it still runs, whatever a human decides.
func TestHungCall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, free := &world{}, make(chan struct{})
		b := serve(t, saga.NewMemory(), saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil), hangs(w, free)))
		begun := time.Now()
		_, err := s.Run(t.Context(), "1", state{})
		assert.Equal(t, "hung", asError(t, err).Code)
		assert.Equal(t, 31*time.Second, time.Since(begun))
		retry := saga.Resolution{Action: saga.ResolveRetry, By: "ada", Reason: "again"}
		require.NoError(t, b.c.Resolve(t.Context(), "1", retry))
		_, err = s.Wait(t.Context(), "1")
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		assert.Equal(t, 1, w.count("hang"), "the first still runs")
		close(free)
		synctest.Wait()
		require.NoError(t, b.c.Resolve(t.Context(), "1", retry))
		got, err := s.Wait(t.Context(), "1")
		require.NoError(t, err)
		assert.Equal(t, 2, got.N)
	})
}

// A hung Do that has no Undo, when the saga has turned, is Stuck and not Compensated.
func TestHungCallWithoutUndo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, free := &world{}, make(chan struct{})
		b := serve(t, saga.NewMemory(), saga.Config{})
		hang := hangs(w, free)
		hang.Undo, hang.Timeout = nil, -1
		s := register(t, b.c, chain(w, hang))
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		synctest.Wait()
		require.NoError(t, b.c.Cancel(t.Context(), "1", ""))
		_, err := s.Wait(t.Context(), "1")
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		close(free)
	})
}

type rude struct{ exit func() }

func (r rude) Error() string                { r.exit(); return "rude" }
func (r rude) MarshalJSON() ([]byte, error) { r.exit(); return []byte("1"), nil }

// T29: a panic or Goexit in an error's methods or in MarshalJSON is an outcome.
func TestRudeMethods(t *testing.T) {
	for name, exit := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		inBubble(t, func(t *testing.T) {
			w := &world{}
			b := serve(t, saga.NewMemory(), saga.Config{})
			pay := w.step("pay", always(rude{exit}))
			pay.Retry.Attempts = 2
			s := register(t, b.c, chain(w, pay))
			_, err := s.Run(t.Context(), "1", state{})
			require.ErrorIs(t, err, saga.ErrCompensated, name)
			assert.Equal(t, "pay pay pay#undo", w.trace())

			if name == "panic" {
				refused := chain(w, w.step("refused", always(saga.Refuse(rude{exit}))))
				refused.Name = "refused"
				_, err = register(t, b.c, refused).Run(t.Context(), "3", state{})
				require.ErrorIs(t, err, saga.ErrCompensated)
				assert.Contains(t, asError(t, err).Cause, "whose Error method panics")
				assert.Equal(t, 0, w.count("refused#undo"), "it is a refusal all the same")
			}

			undone := 0
			m := register(t, b.c, saga.Definition[map[string]any]{Name: "m", Steps: []saga.Step[map[string]any]{{
				Name: "bad",
				Do:   func(_ context.Context, s *map[string]any) error { *s = map[string]any{"x": rude{exit}}; return nil },
				Undo: func(context.Context, *map[string]any) error { undone++; return nil },
			}}})
			_, err = m.Run(t.Context(), "2", nil)
			require.ErrorIs(t, err, saga.ErrCompensated, name)
			assert.Equal(t, 1, undone)
		})
	}
}

// T26: the first cause and all undo errors survive takeover.
func TestCausesSurviveTakeover(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		order := w.step("order", nil)
		order.Undo = func(ctx context.Context, _ *state) error {
			if saga.CallFrom(ctx).Epoch == 1 {
				return errors.New("first owner")
			}
			return errors.New("second owner")
		}
		order.UndoRetry = saga.Retry{Attempts: 4, For: -1, Base: 30 * time.Minute, Cap: 30 * time.Minute}
		d := chain(w, order, w.step("pay", always(saga.Refuse(errBroken))))
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, d)
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		synctest.Wait()
		b.stop()
		b2 := serve(t, store, saga.Config{})
		s2 := register(t, b2.c, d)
		_, err := s2.Wait(t.Context(), "1")
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Equal(t, "broken", e.Cause)
		require.Equal(t, 4, len(e.Undo))
		assert.Equal(t, "order: first owner", e.Undo[0])
		assert.Equal(t, "order: second owner", e.Undo[3])
	})
}

// T33: another shape under the same version leaves the saga untouched; a version
// that resumes goes on, or is Stuck where it cannot.
func TestOtherDefinitions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		park := func(name string) saga.Step[state] {
			return w.step(name, func(c saga.Call) error {
				if c.Signal == "" {
					return saga.Await("go", 0)
				}
				return nil
			})
		}
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("a", nil), park("b"), w.step("c", nil)))
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		require.NoError(t, s.Start(t.Context(), "2", state{}))
		synctest.Wait()
		b.stop()
		updated := b.summary("1").Updated

		other := serve(t, store, saga.Config{})
		register(t, other.c, chain(w, w.step("a", nil), w.step("c", nil), park("b"))) // reordered, the same version
		require.NoError(t, other.c.Signal(t.Context(), "1", "go", "", nil))
		time.Sleep(time.Minute)
		assert.Equal(t, updated, other.summary("1").Updated)
		assert.Equal(t, 1, other.c.Stats().Foreign)
		other.stop()

		d := chain(w, w.step("a", nil), park("b"), park("b2"), w.step("c", nil)) // a new step, not before a done one
		d.Version, d.ResumesFrom = 2, []int{1}
		newer := serve(t, store, saga.Config{})
		s2 := register(t, newer.c, d)
		time.Sleep(time.Minute)
		assert.Equal(t, "start done:a park:b resume signal wake:b done:b park:b2", newer.history("1"))
		require.NoError(t, newer.c.Signal(t.Context(), "1", "go", "", nil))
		_, err := s2.Wait(t.Context(), "1")
		require.NoError(t, err)
		newer.stop()

		d = chain(w, park("b"), w.step("c", nil)) // a is gone
		d.Version, d.ResumesFrom = 3, []int{1}
		last := serve(t, store, saga.Config{})
		register(t, last.c, d)
		require.NoError(t, last.c.Signal(t.Context(), "2", "go", "", nil))
		time.Sleep(time.Minute)
		assert.Equal(t, saga.Stuck, last.summary("2").State)
		assert.Equal(t, "incompatible", last.summary("2").Code)
	})
}

// T6: the log decides, not the header.
func TestClaimedSagaThatHasEndedRunsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil)))
		_, err := s.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		b.stop()
		work, err := store.Poll(t.Context(), saga.Lease{Owner: "x", For: time.Minute, Only: "1"})
		require.NoError(t, err)
		header := work.Claimed[0]
		header.State = saga.Running
		_, err = store.Commit(t.Context(), []saga.Write{{Summary: header, Release: true}})
		require.NoError(t, err)
		b2 := serve(t, store, saga.Config{})
		register(t, b2.c, chain(w, w.step("order", nil)))
		time.Sleep(time.Minute)
		assert.Equal(t, "order", w.trace())
		assert.Equal(t, saga.Completed, b2.summary("1").State)
	})
}

// A saga that was stuck once can be reversed like any other.
func TestReverseAfterResolve(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", fails(errBroken))
		pay.Pivot, pay.Retry = true, saga.Retry{Attempts: 1, For: -1}
		ship := w.step("ship", fails(saga.Refuse(errBroken)))
		pay.Do = w.step("pay", nil).Do
		s := register(t, b.c, chain(w, pay, ship))
		_, err := s.Run(t.Context(), "1", state{})
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		require.NoError(t, b.c.Resolve(t.Context(), "1", saga.Resolution{Action: saga.ResolveRetry, By: "ada", Reason: "r"}))
		_, err = s.Wait(t.Context(), "1")
		require.NoError(t, err)
		require.NoError(t, s.Reverse(t.Context(), "1", "returned"))
		_, err = s.Wait(t.Context(), "1")
		assert.Equal(t, "reversed", asError(t, err).Code)
		require.NoError(t, s.Reverse(t.Context(), "1", "again"))
	})
}
