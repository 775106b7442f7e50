package saga_test

import (
	"context"
	"testing"
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
