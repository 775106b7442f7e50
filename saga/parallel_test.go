package saga_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// T34: two parallel steps that change one field fail, and both are named.
func TestParallelChangesOfOneField(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		one, two := w.step("one", nil), w.step("two", nil)
		one.After, two.After = []string{}, []string{}
		two.Do = func(ctx context.Context, s *state) error {
			w.note(ctx)
			time.Sleep(time.Second)
			s.N = 7
			return nil
		}
		s := register(t, b.c, chain(w, one, two))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		e := asError(t, err)
		assert.Contains(t, e.Cause, "one")
		assert.Contains(t, e.Cause, "two")
		assert.Contains(t, e.Cause, `"n"`)
		assert.Equal(t, 1, w.count("two#undo"), "its effect is there")
	})
}

func TestParallelChangesOfDifferentFieldsMerge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		one, two := w.step("one", nil), w.step("two", nil)
		one.After, two.After = []string{}, []string{}
		two.Do = func(_ context.Context, s *state) error {
			time.Sleep(time.Second)
			s.Trail = append(s.Trail, "two")
			return nil
		}
		s := register(t, b.c, chain(w, one, two))
		got, err := s.Run(t.Context(), "1", state{Trail: []string{"in"}})
		require.NoError(t, err)
		assert.Equal(t, state{N: 1, Trail: []string{"in", "two"}}, got)
	})
}

// What a step finds is what all before it have left, in a graph as in a chain, and what
// Run returns is what the last of them has left: also where S is so plain that a chain
// does without encoding it.
func TestGraphHandsOnTheState(t *testing.T) {
	type plain struct{ A, B, C, D int }
	inBubble(t, func(t *testing.T) {
		b := serve(t, saga.NewMemory(), saga.Config{})
		synctest.Wait() // it serves: the saga begins here, and is not loaded
		do := func(name string, after []string, fn func(s *plain)) saga.Step[plain] {
			return saga.Step[plain]{Name: name, After: after, Do: func(_ context.Context, s *plain) error { fn(s); return nil }}
		}
		s := register(t, b.c, saga.Definition[plain]{Name: "graph", Steps: []saga.Step[plain]{
			do("a", nil, func(s *plain) { s.A++ }),
			do("b", []string{"a"}, func(s *plain) { s.B = s.A + 1 }),
			do("c", []string{"a"}, func(s *plain) { s.C = s.A + 2 }),
			do("d", []string{"b", "c"}, func(s *plain) { s.D = s.B + s.C }),
		}})
		got, err := s.Run(t.Context(), "1", plain{A: 1})
		require.NoError(t, err)
		assert.Equal(t, plain{2, 3, 4, 7}, got)
		stored, _, err := s.Get(t.Context(), "1")
		require.NoError(t, err)
		assert.Equal(t, got, stored)
	})
}

// The same where S is not plain, and the graph begins in two places.
func TestGraphMergesTheState(t *testing.T) {
	type mixed struct {
		A, B, C int
		List    []int
	}
	inBubble(t, func(t *testing.T) {
		b := serve(t, saga.NewMemory(), saga.Config{})
		synctest.Wait()
		do := func(name string, after []string, fn func(s *mixed)) saga.Step[mixed] {
			return saga.Step[mixed]{Name: name, After: after, Do: func(_ context.Context, s *mixed) error { fn(s); return nil }}
		}
		s := register(t, b.c, saga.Definition[mixed]{Name: "graph", Steps: []saga.Step[mixed]{
			do("a", []string{}, func(s *mixed) { s.A = 1 }),
			do("b", []string{}, func(s *mixed) { s.B = 2 }),
			do("c", []string{"a", "b"}, func(s *mixed) { s.C, s.List = s.A+s.B, append(s.List, 4) }),
		}})
		got, err := s.Run(t.Context(), "1", mixed{List: []int{3}})
		require.NoError(t, err)
		assert.Equal(t, mixed{1, 2, 3, []int{3, 4}}, got)
	})
}

// T21, T28: when a step beside others turns the saga, no Undo begins before the
// slowest Do has returned, also of a step that is done already, and nothing that
// would have come next begins.
func TestTurnWaitsForTheSlowest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		quick, slow, bad, next := w.step("quick", nil), w.step("slow", nil), w.step("bad", nil), w.step("next", nil)
		for _, s := range []*saga.Step[state]{&quick, &slow, &bad} {
			s.After = []string{}
		}
		next.After = []string{"slow"}
		returned := false
		slow.Do = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			<-ctx.Done()
			time.Sleep(5 * time.Second) // and still succeeds
			returned = true
			return nil
		}
		bad.Do = func(ctx context.Context, _ *state) error {
			time.Sleep(time.Second)
			return saga.Refuse(errBroken)
		}
		quick.Undo = func(ctx context.Context, _ *state) error {
			assert.True(t, returned, "an Undo beside a Do")
			w.note(ctx)
			return nil
		}
		s := register(t, b.c, chain(w, quick, slow, bad, next))
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "quick quick#undo slow slow#undo", sorted(w.trace()))
	})
}

// T24: an undo that is Stuck holds up what it builds on, and no other branch; what
// is left is named.
func TestStuckUndoHoldsUpNoOtherBranch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		left, right, bad := w.step("left", nil), w.step("right", nil), w.step("bad", always(saga.Refuse(nil)))
		left.After, right.After, bad.After = []string{"top"}, []string{"top"}, []string{"left", "right"}
		left.Undo = func(ctx context.Context, _ *state) error { w.note(ctx); return saga.Refuse(errBroken) }
		right.Undo = func(ctx context.Context, _ *state) error {
			time.Sleep(time.Second) // later than the other
			w.note(ctx)
			return nil
		}
		right.Do = func(ctx context.Context, s *state) error { w.note(ctx); s.Trail = []string{"right"}; return nil }
		s := register(t, b.c, chain(w, w.step("top", nil), left, right, bad))
		_, err := s.Run(t.Context(), "1", state{})
		e := asError(t, err)
		assert.Equal(t, saga.Stuck, e.State)
		assert.Equal(t, []string{"top", "left"}, e.Left)
		assert.Equal(t, []string{"left: broken"}, e.Undo)
		assert.Equal(t, "bad left left#undo right right#undo top", sorted(w.trace()))
		require.NoError(t, b.c.Resolve(t.Context(), "1", saga.Resolution{Action: saga.ResolveDone, By: "ada", Reason: "by hand"}))
		_, err = s.Wait(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, 1, w.count("top#undo"))
	})
}
