package saga_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// ahead is a store whose clock and the process's are apart.
type ahead struct {
	saga.Store
	by time.Duration
}

func (a *ahead) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	v, err := a.Store.Commit(ctx, writes)
	for i := range v {
		v[i].At = v[i].At.Add(a.by)
	}
	return v, err
}

func (a *ahead) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	w, err := a.Store.Poll(ctx, l)
	w.Now = w.Now.Add(a.by)
	return w, err
}

func (a *ahead) Load(ctx context.Context, id string) (saga.Summary, []saga.Record, []saga.Record, error) {
	s, log, mail, err := a.Store.Load(ctx, id)
	for i := range log {
		log[i].At = log[i].At.Add(a.by)
	}
	return s, log, mail, err
}

// T11: a process whose clock is an hour off the store's waits as long as any other:
// for retries, sleeps, time-outs and deadlines, also after a takeover.
func TestClocksApartChangeNothing(t *testing.T) {
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		inBubble(t, func(t *testing.T) {
			w, store := &world{}, &ahead{saga.NewMemory(), by}
			nap := w.step("nap", func(c saga.Call) error {
				if !c.TimedOut {
					return saga.Sleep(20 * time.Minute)
				}
				return nil
			})
			retried := w.step("retried", fails(errBroken, errBroken))
			retried.Retry = saga.Retry{Base: 10 * time.Second, Cap: 10 * time.Second}
			ask := w.step("ask", func(c saga.Call) error {
				if !c.TimedOut {
					return saga.Await("answer", 10*time.Minute)
				}
				return nil
			})
			forever := w.step("forever", func(saga.Call) error { return saga.Await("never", 0) })
			d := chain(w, nap, retried, ask, forever)
			d.Deadline = 40 * time.Minute
			first := serve(t, store, saga.Config{})
			s := register(t, first.c, d)
			time.Sleep(time.Second) // it knows the store's clock
			begun := time.Now()
			require.NoError(t, s.Start(t.Context(), "1", state{}))
			time.Sleep(15 * time.Minute)
			assert.Equal(t, 1, w.count("nap"))
			first.stop()

			second := serve(t, store, saga.Config{})
			s = register(t, second.c, d)
			time.Sleep(time.Until(begun.Add(20*time.Minute + 30*time.Second)))
			assert.Equal(t, 2, w.count("nap"), by.String())
			assert.Equal(t, 3, w.count("retried"), by.String())
			assert.Equal(t, 1, w.count("ask"), by.String())
			time.Sleep(10 * time.Minute)
			assert.Equal(t, 2, w.count("ask"), by.String())
			_, err := s.Wait(t.Context(), "1")
			assert.Equal(t, "deadline", asError(t, err).Code)
			took := time.Since(begun)
			assert.True(t, took >= 40*time.Minute && took < 40*time.Minute+2*time.Second, by.String()+" "+took.String())
		})
	}
}

// T8: what has not ended never expires, however long it waits; what has ended goes
// after Keep.
func TestOnlyTheEndedAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{Keep: time.Hour, Poll: time.Hour, Lease: 3 * time.Hour})
		wait := w.step("wait", func(c saga.Call) error {
			if c.Signal == "" {
				return saga.Await("go", 0)
			}
			return nil
		})
		s := register(t, b.c, chain(w, wait))
		stuck := chain(w, w.step("pay", nil), w.step("ship", always(saga.Refuse(nil))))
		stuck.Name, stuck.Steps[0].Pivot = "stuck", true
		lost := register(t, b.c, stuck)
		require.NoError(t, s.Start(t.Context(), "waits", state{}))
		_, err := lost.Run(t.Context(), "stuck", state{})
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		require.NoError(t, s.Start(t.Context(), "ends", state{}))
		require.NoError(t, b.c.Signal(t.Context(), "ends", "go", "", nil))
		time.Sleep(365 * 24 * time.Hour)
		assert.Equal(t, saga.Stuck, b.summary("stuck").State)
		require.ErrorIs(t, b.c.Signal(t.Context(), "ends", "go", "", nil), saga.ErrNotFound)
		assert.Equal(t, uint64(1), b.c.Stats().Purged)
		require.NoError(t, b.c.Signal(t.Context(), "waits", "go", "", nil))
		_, err = s.Wait(t.Context(), "waits")
		require.NoError(t, err)
	})
}
