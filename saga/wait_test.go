package saga_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

func TestAwaitAndSignal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		approve := w.step("approve", func(c saga.Call) error {
			if c.Signal == "" && !c.TimedOut {
				return saga.Await("approved", 24*time.Hour)
			}
			if c.TimedOut {
				return saga.Refuse(errors.New("nobody approved"))
			}
			return nil
		})
		s := register(t, b.c, chain(w, w.step("order", nil), approve))
		require.NoError(t, s.Start(t.Context(), "signalled", state{}))
		require.NoError(t, s.Start(t.Context(), "forgotten", state{}))
		synctest.Wait()
		assert.Equal(t, saga.Waiting, b.summary("signalled").State)
		assert.Equal(t, 0, b.c.Stats().Running, "what waits long is not loaded")
		time.Sleep(time.Hour)
		require.NoError(t, b.c.Signal(t.Context(), "signalled", "approved", "k", map[string]int{"by": 7}))
		_, err := s.Wait(t.Context(), "signalled")
		require.NoError(t, err)
		begun := time.Now()
		_, err = s.Wait(t.Context(), "forgotten")
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, 23*time.Hour, time.Since(begun))
	})
}

// T14: a signal before Await, between check and park, twice with one key, and
// after the end.
func TestSignalsAreNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		var got []string
		wait := w.step("wait", nil)
		wait.Do = func(ctx context.Context, s *state) error {
			c := saga.CallFrom(ctx)
			if c.Signal != "" {
				got = append(got, string(c.Payload))
			}
			if len(got) == 3 {
				return nil
			}
			if len(got) == 1 { // between check and park
				require.NoError(t, b.c.Signal(ctx, c.Saga, "go", "", 2))
			}
			return saga.Await("go", 0)
		}
		first := w.step("first", func(c saga.Call) error {
			for range 2 {
				require.NoError(t, b.c.Signal(t.Context(), c.Saga, "go", "once", 1))
			}
			require.NoError(t, b.c.Signal(t.Context(), c.Saga, "other", "", nil))
			return nil
		})
		s := register(t, b.c, chain(w, first, wait))
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(time.Hour)
		assert.Equal(t, saga.Waiting, b.summary("1").State)
		require.NoError(t, b.c.Signal(t.Context(), "1", "go", "", 3))
		_, err := s.Wait(t.Context(), "1")
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "3"}, got)
		require.ErrorIs(t, b.c.Signal(t.Context(), "1", "go", "", 4), saga.ErrTerminal)
	})
}

func TestSleepParks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		nap := w.step("nap", func(c saga.Call) error {
			if !c.TimedOut {
				return saga.Sleep(90 * time.Minute)
			}
			return nil
		})
		s := register(t, b.c, chain(w, nap))
		begun := time.Now()
		_, err := s.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		assert.Equal(t, 90*time.Minute, time.Since(begun))
		assert.Equal(t, "start park:nap wake:nap done:nap", b.history("1"))
	})
}

func TestCancelBeforeThePivot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		pay := w.step("pay", nil)
		var cause error
		pay.Do = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			<-ctx.Done()
			cause = context.Cause(ctx)
			return cause
		}
		// T22: the context of an Undo is alive.
		pay.Undo = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			assert.NoError(t, ctx.Err())
			return nil
		}
		pay.Timeout = -1
		s := register(t, b.c, chain(w, w.step("order", nil), pay))
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(10 * time.Minute)
		require.NoError(t, b.c.Cancel(t.Context(), "1", "changed my mind"))
		_, err := s.Wait(t.Context(), "1")
		require.ErrorIs(t, err, saga.ErrCompensated)
		e := asError(t, err)
		assert.Equal(t, "cancelled", e.Code)
		assert.Equal(t, "changed my mind", e.Cause)
		assert.Contains(t, cause.Error(), "changed my mind")
		assert.Equal(t, "order pay pay#undo order#undo", w.trace())
		require.ErrorIs(t, b.c.Cancel(t.Context(), "1", ""), saga.ErrTerminal)
		require.ErrorIs(t, b.c.Cancel(t.Context(), "2", ""), saga.ErrNotFound)
	})
}

// T31: the deadline counts from the start, through retries and waits.
func TestDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{})
		d := chain(w, w.step("order", nil), w.step("pay", func(saga.Call) error { return saga.Await("paid", 0) }))
		d.Deadline = 3 * time.Hour
		s := register(t, b.c, d)
		begun := time.Now()
		_, err := s.Run(t.Context(), "1", state{})
		require.ErrorIs(t, err, saga.ErrCompensated)
		assert.Equal(t, "deadline", asError(t, err).Code)
		assert.Equal(t, 3*time.Hour, time.Since(begun))
		assert.Equal(t, "order pay pay#undo order#undo", w.trace())
	})
}
