package saga_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// parked leaves the saga "1" behind, waiting at b of a, b, c.
func parked(t *testing.T, store saga.Store, w *world) {
	t.Helper()
	b := serve(t, store, saga.Config{})
	wait := w.step("b", func(saga.Call) error { return saga.Await("go", 0) })
	s := register(t, b.c, chain(w, w.step("a", nil), wait, w.step("c", nil)))
	require.NoError(t, s.Start(t.Context(), "1", state{}))
	synctest.Wait()
	b.stop()
}

var abandon = saga.Resolution{Action: saga.ResolveAbandon, By: "ada", Reason: "nobody can run it"}

// T33: a saga that no definition can continue is Stuck; Wait says so, a human can
// abandon it, and nothing else.
func TestIncompatibleSagaCanBeAbandoned(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		parked(t, store, w)
		b := serve(t, store, saga.Config{})
		d := chain(w, w.step("b", nil), w.step("c", nil)) // a is gone
		d.Version, d.ResumesFrom = 2, []int{1}
		s := register(t, b.c, d)
		require.NoError(t, b.c.Signal(t.Context(), "1", "go", "", nil))
		_, err := s.Wait(t.Context(), "1")
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Equal(t, "incompatible", e.Code)
		assert.Equal(t, []string{"a", "b"}, e.Left)
		for _, action := range []string{saga.ResolveRetry, saga.ResolveDone, saga.ResolveSkip} {
			err := b.c.Resolve(t.Context(), "1", saga.Resolution{Action: action, Step: "b", By: "ada", Reason: "r"})
			require.ErrorIs(t, err, saga.ErrConflict, action)
		}
		require.NoError(t, b.c.Resolve(t.Context(), "1", abandon))
		_, err = s.Wait(t.Context(), "1")
		e = asError(t, err)
		assert.Equal(t, saga.Abandoned, e.State)
		assert.Equal(t, []string{"a", "b"}, e.Left)
		require.ErrorIs(t, b.c.Resolve(t.Context(), "1", abandon), saga.ErrTerminal)
		time.Sleep(time.Hour)
		assert.Equal(t, "a b", w.trace())
		assert.Equal(t, "start done:a park:b stuck resolve", b.history("1"))
	})
}

// A process without the definition can abandon what no other process holds.
func TestAbandonNeedsNoDefinition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		parked(t, store, w)
		c, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		require.ErrorIs(t, c.Resolve(t.Context(), "1", saga.Resolution{Action: saga.ResolveRetry, By: "ada", Reason: "r"}), saga.ErrConflict)
		require.NoError(t, c.Resolve(t.Context(), "1", abandon))
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("a", nil), w.step("b", nil), w.step("c", nil)))
		_, err = s.Wait(t.Context(), "1")
		e := asError(t, err)
		assert.Equal(t, saga.Abandoned, e.State)
		assert.Equal(t, []string{"a", "b"}, e.Left)
		assert.Equal(t, "a b", w.trace())
	})
}

// T33: the version is the same and the structure is not: nobody touches the saga,
// whatever asks for it.
func TestOtherShapeIsAConflict(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		parked(t, store, w)
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("a", nil), w.step("c", nil), w.step("b", nil)))
		_, _, err := s.Get(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrConflict)
		_, err = s.Wait(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrConflict)
		assert.Contains(t, err.Error(), "raise Version")
		require.ErrorIs(t, s.Reverse(t.Context(), "1", "r"), saga.ErrConflict)
		time.Sleep(time.Minute)
		assert.Equal(t, "a b", w.trace())
	})
}

// T33: a record of a kind that this version does not know stops everything.
func TestUnknownKindIsIncompatible(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		parked(t, store, w)
		work, err := store.Poll(t.Context(), saga.Lease{Owner: "newer", For: time.Minute, Only: "1"})
		require.NoError(t, err)
		sum := work.Claimed[0]
		sum.Seq++
		_, err = store.Commit(t.Context(), []saga.Write{{Summary: sum, Release: true, Records: []saga.Record{
			{Kind: "loop", Step: "b", Seq: sum.Seq, Epoch: sum.Epoch, State: saga.Running},
		}}})
		require.NoError(t, err)
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("a", nil), w.step("b", nil), w.step("c", nil)))
		_, err = s.Wait(t.Context(), "1")
		assert.Equal(t, "incompatible", asError(t, err).Code)
		assert.Contains(t, asError(t, err).Cause, `"loop"`)
		assert.Equal(t, "a b", w.trace())
	})
}

// T41: the parent of a child that was abandoned hears so at its next look, also
// where nothing here can fold the child's log: it does not try again until its
// retries are used up.
func TestParentHearsThatAChildNobodyCanContinueWasAbandoned(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		both := func(b *bench, version int, steps ...saga.Step[state]) *saga.Saga[state] {
			d := chain(w, steps...)
			d.Name, d.Version = "child", version
			if version > 1 {
				d.ResumesFrom = []int{1}
			}
			child := register(t, b.c, d)
			return register(t, b.c, chain(w, saga.Sub("child", child, func(*state) state { return state{} }, func(*state, state) {})))
		}
		wait := func() saga.Step[state] {
			return w.step("pack", func(saga.Call) error { return saga.Await("go", 0) })
		}
		b := serve(t, store, saga.Config{})
		require.NoError(t, both(b, 1, w.step("pick", nil), wait()).Start(t.Context(), "1", state{}))
		synctest.Wait()
		b.stop()

		b = serve(t, store, saga.Config{})
		parent := both(b, 2, wait()) // pick is gone
		require.NoError(t, b.c.Signal(t.Context(), "1/child", "go", "", nil))
		time.Sleep(time.Minute)
		require.Equal(t, saga.Stuck, b.summary("1/child").State)
		require.NoError(t, b.c.Resolve(t.Context(), "1/child", abandon))
		begun := time.Now()
		_, err := parent.Wait(within(t, 24*time.Hour), "1")
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Contains(t, e.Cause, "abandoned")
		assert.True(t, time.Since(begun) <= time.Minute, time.Since(begun))
	})
}

// T33: what an older log has done must mean the same here: a step that it touched
// has the Undo that it had and is the pivot as before, and nothing new comes before
// what is done. Steps that it has not come to are free.
func TestVersionsThatChangeWhatWasTouched(t *testing.T) {
	noUndo := func(s saga.Step[state]) saga.Step[state] { s.Undo = nil; return s }
	pivot := func(s saga.Step[state]) saga.Step[state] { s.Pivot = true; return s }
	for name, c := range map[string]struct {
		steps func(a, b, c, n saga.Step[state]) []saga.Step[state]
		cause string
	}{
		"an Undo less where it is done": {func(a, b, c, _ saga.Step[state]) []saga.Step[state] { return []saga.Step[state]{noUndo(a), b, c} }, "step a has lost or gained its Undo"},
		"an Undo less where it waits":   {func(a, b, c, _ saga.Step[state]) []saga.Step[state] { return []saga.Step[state]{a, noUndo(b), c} }, "step b has lost or gained its Undo"},
		"a pivot where it waits":        {func(a, b, c, _ saga.Step[state]) []saga.Step[state] { return []saga.Step[state]{a, pivot(b), c} }, "step b has become the pivot"},
		"a new step before a done one":  {func(a, b, c, n saga.Step[state]) []saga.Step[state] { return []saga.Step[state]{n, a, b, c} }, "new step n comes before a, which is done"},
		"a new step behind":             {func(a, b, c, n saga.Step[state]) []saga.Step[state] { return []saga.Step[state]{a, b, c, n} }, ""},
		"another where it has not come to": {func(a, b, c, _ saga.Step[state]) []saga.Step[state] {
			return []saga.Step[state]{a, b, pivot(noUndo(c))}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, store := &world{}, saga.NewMemory()
				parked(t, store, w)
				b := serve(t, store, saga.Config{})
				d := chain(w, c.steps(w.step("a", nil), w.step("b", nil), w.step("c", nil), w.step("n", nil))...)
				d.Version, d.ResumesFrom = 2, []int{1}
				s := register(t, b.c, d)
				require.NoError(t, b.c.Signal(t.Context(), "1", "go", "", nil))
				_, err := s.Wait(t.Context(), "1")
				if c.cause == "" {
					require.NoError(t, err)
					return
				}
				e := asError(t, err)
				assert.Equal(t, "incompatible", e.Code)
				assert.Contains(t, e.Cause, c.cause)
				assert.Equal(t, "a b", w.trace())
			})
		})
	}
}
