package saga_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// wire is one process's way to a store; it can be cut.
type wire struct {
	saga.Store
	cut    atomic.Bool
	polls  atomic.Int32
	commit func(next func() ([]saga.Verdict, error)) ([]saga.Verdict, error)
}

var errWire = errors.New("no route to the store")

func (w *wire) Commit(ctx context.Context, writes []saga.Write) ([]saga.Verdict, error) {
	if w.cut.Load() {
		return nil, errWire
	}
	if w.commit != nil {
		return w.commit(func() ([]saga.Verdict, error) { return w.Store.Commit(ctx, writes) })
	}
	return w.Store.Commit(ctx, writes)
}

func (w *wire) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	if w.polls.Add(1); w.cut.Load() {
		return saga.Work{}, errWire
	}
	return w.Store.Poll(ctx, l)
}

// T1: what was not appended is repeated by the successor, under the same key, at
// the same attempt and a higher epoch.
func TestKillBetweenEffectAndAppendRepeatsTheStep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		line := &wire{Store: store}
		var seen []saga.Call
		step := w.step("pay", func(c saga.Call) error {
			if seen = append(seen, c); len(seen) == 1 {
				line.cut.Store(true)
			}
			return nil
		})
		b := serve(t, line, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil), step))
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		synctest.Wait()
		b2 := serve(t, store, saga.Config{})
		s2 := register(t, b2.c, chain(w, w.step("order", nil), step))
		_, err := s2.Wait(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, 2, len(seen))
		assert.Equal(t, seen[0].Key(), seen[1].Key())
		assert.Equal(t, seen[0].Attempt, seen[1].Attempt)
		assert.True(t, seen[0].Epoch < seen[1].Epoch)
		assert.Equal(t, "order pay pay", w.trace())
	})
}

// T4: a commit whose reply was lost is repeated, and succeeds for its writer.
func TestLostReplyOfACommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		n := 0
		line := &wire{Store: saga.NewMemory()}
		line.commit = func(next func() ([]saga.Verdict, error)) ([]saga.Verdict, error) {
			v, err := next()
			if n++; n%2 == 1 {
				return nil, errWire
			}
			return v, err
		}
		b := serve(t, line, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil), w.step("pay", nil)))
		_, err := s.Run(t.Context(), "1", state{})
		require.NoError(t, err)
		assert.Equal(t, "order pay", w.trace())
		assert.Equal(t, "start done:order done:pay", b.history("1"))
		assert.Equal(t, uint64(0), b.c.Stats().Fenced)
	})
}

// T9: a call longer than the lease keeps its saga.
func TestLongCallKeepsItsSaga(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		long := w.step("long", func(saga.Call) error { time.Sleep(time.Hour); return nil })
		long.Timeout = -1
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, long))
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		other := serve(t, store, saga.Config{})
		register(t, other.c, chain(w, long))
		_, err := s.Wait(t.Context(), "1")
		require.NoError(t, err)
		assert.Equal(t, 1, w.count("long"))
		assert.Equal(t, uint64(0), other.c.Stats().Claims)
	})
}

// T10: a process that was cut off for longer than its lease ends its calls with
// ErrFenced; its late result counts for nothing, also where the same process has
// claimed the saga again, which begins no call beside the old one.
func TestLostLeaseFencesItsCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, line := &world{}, &wire{Store: saga.NewMemory()}
		var running, most atomic.Int32
		var cause error
		step := w.step("pay", func(c saga.Call) error { return nil })
		step.Do = func(ctx context.Context, s *state) error {
			c := w.note(ctx)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			s.N = int(c.Epoch)
			if c.Epoch > 1 {
				return nil
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			time.Sleep(15 * time.Second) // the same process is back before that
			return nil
		}
		b := serve(t, line, saga.Config{})
		s := register(t, b.c, chain(w, step))
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		synctest.Wait()
		line.cut.Store(true)
		time.Sleep(12 * time.Second)
		line.cut.Store(false)
		got, err := s.Wait(t.Context(), "1")
		require.NoError(t, err)
		require.ErrorIs(t, cause, saga.ErrFenced)
		assert.Equal(t, int32(1), most.Load())
		assert.Equal(t, 2, got.N)
		assert.Equal(t, uint64(1), b.c.Stats().LeasesLost)
	})
}

// A commit that ends with a lost lease ends neither Serve nor the commits beside it.
func TestLostLeaseDuringACommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, line := &world{}, &wire{Store: saga.NewMemory()}
		b := serve(t, line, saga.Config{})
		step := w.step("pay", func(c saga.Call) error {
			if c.Epoch == 1 {
				line.cut.Store(true)
			}
			return nil
		})
		s := register(t, b.c, chain(w, step))
		synctest.Wait()
		for i := range 3 {
			require.NoError(t, s.Start(t.Context(), fmt.Sprint(i), state{}))
			synctest.Wait()
			time.Sleep(30 * time.Second)
			line.cut.Store(false)
			_, err := s.Wait(t.Context(), fmt.Sprint(i))
			require.NoError(t, err)
		}
	})
}

// T12: two processes of one name share nothing.
func TestEqualNamesShareNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		owners := map[string]bool{}
		for i := range 2 {
			b := serve(t, store, saga.Config{Name: "same"})
			s := register(t, b.c, chain(w, w.step(fmt.Sprint("s", i), func(saga.Call) error { time.Sleep(time.Minute); return nil })))
			synctest.Wait()
			require.NoError(t, s.Start(t.Context(), fmt.Sprint(i), state{}))
			synctest.Wait()
			owners[b.summary(fmt.Sprint(i)).Owner] = true
		}
		assert.Equal(t, 2, len(owners))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 2, len(strings.Fields(w.trace())), "nobody ran the other's")
	})
}

// T13: sagas that fail delay no other.
func TestPoisonDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		b := serve(t, saga.NewMemory(), saga.Config{MaxRunning: 2})
		poison := w.step("poison", always(errBroken))
		poison.Retry = saga.Retry{Attempts: -1, Base: time.Minute}
		d := chain(w, poison)
		d.Name = "poison"
		bad := register(t, b.c, d)
		good := register(t, b.c, chain(w, w.step("good", nil)))
		for i := range 20 {
			require.NoError(t, bad.Start(t.Context(), fmt.Sprint("bad-", i), state{}))
		}
		begun := time.Now()
		_, err := good.Run(t.Context(), "good", state{})
		require.NoError(t, err)
		assert.True(t, time.Since(begun) < 30*time.Second, time.Since(begun).String())
	})
}

// T15: a saga that ends its process each time is Stuck after ten claims.
func TestSagaThatEndsItsProcessIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		for i := range 12 {
			line := &wire{Store: store}
			b := serve(t, line, saga.Config{Grace: time.Second})
			s := register(t, b.c, chain(w, w.step("boom", func(saga.Call) error { line.cut.Store(true); return nil })))
			if i == 0 {
				synctest.Wait() // it has polled, so Start hands it the saga without a claim
				_ = s.Start(t.Context(), "1", state{})
			}
			time.Sleep(20 * time.Second)
		}
		b := serve(t, store, saga.Config{})
		s := register(t, b.c, chain(w, w.step("boom", nil)))
		_, err := s.Wait(within(t, time.Hour), "1")
		assert.Equal(t, saga.Stuck, asError(t, err).State)
		assert.Equal(t, "claims", asError(t, err).Code)
		assert.Equal(t, 11, w.count("boom"), "Start's own run and ten claims")
	})
}

// T16: Start gives up while the commit is under way: the saga is not orphaned.
func TestStartThatGivesUpLeavesNoOrphan(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, line := &world{}, &wire{Store: saga.NewMemory()}
		b := serve(t, line, saga.Config{})
		s := register(t, b.c, chain(w, w.step("order", nil)))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		line.commit = func(next func() ([]saga.Verdict, error)) ([]saga.Verdict, error) {
			v, err := next()
			if ctx.Err() == nil {
				cancel()
				return nil, errWire
			}
			return v, err
		}
		require.ErrorIs(t, s.Start(ctx, "1", state{}), context.Canceled)
		time.Sleep(time.Minute)
		assert.Equal(t, saga.Completed, b.summary("1").State)
	})
}

// T42: a drain leaves no goroutine, and a second process continues before the lease
// would have ended.
func TestDrainHandsOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		step := w.step("slow", func(saga.Call) error { time.Sleep(5 * time.Second); return nil })
		d := chain(w, step, w.step("next", nil))
		b := serve(t, store, saga.Config{Lease: time.Hour})
		s := register(t, b.c, d)
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		synctest.Wait()
		go b.stop()
		time.Sleep(6 * time.Second)
		assert.Equal(t, "slow", w.trace(), "no new call while draining")
		assert.Equal(t, "start done:slow", b.history("1"), "the running one counts")
		second := serve(t, store, saga.Config{})
		s2 := register(t, second.c, d)
		begun := time.Now()
		_, err := s2.Wait(t.Context(), "1")
		require.NoError(t, err)
		assert.True(t, time.Since(begun) < 3*time.Second)
	})
}

// T42: a drain that ends while the outcome of a Do is awaited loses nothing.
func TestDrainWhileTurning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		slow, quick := w.step("slow", nil), w.step("quick", nil)
		slow.After, quick.After = []string{}, []string{}
		slow.Do = func(ctx context.Context, _ *state) error {
			w.note(ctx)
			<-ctx.Done()
			time.Sleep(15 * time.Second) // till the drain has cut it
			return errBroken
		}
		quick.Do = func(context.Context, *state) error { time.Sleep(10 * time.Second); return saga.Refuse(nil) }
		d := chain(w, slow, quick)
		b := serve(t, store, saga.Config{Grace: 20 * time.Second})
		s := register(t, b.c, d)
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(2 * time.Second)
		b.stop()
		second := serve(t, store, saga.Config{})
		s2 := register(t, second.c, d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := s2.Wait(ctx, "1")
		_ = asError(t, err)
	})
}

// T42: no step begins in a drain because one beside it still runs.
func TestDrainBeginsNothingBesideWhatRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := &world{}
		slow := w.step("slow", func(saga.Call) error { time.Sleep(10 * time.Second); return nil })
		quick := w.step("quick", func(saga.Call) error { time.Sleep(5 * time.Second); return nil })
		slow.After, quick.After = []string{}, []string{}
		for _, s := range []*saga.Step[state]{&slow, &quick} { // beside each other they may not change one field
			do := s.Do
			s.Do = func(ctx context.Context, _ *state) error { return do(ctx, &state{}) }
		}
		b := serve(t, saga.NewMemory(), saga.Config{})
		s := register(t, b.c, chain(w, slow, quick, w.step("next", nil)))
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(time.Second)
		b.stop()
		assert.Equal(t, "quick slow", sorted(w.trace()))
		assert.Equal(t, "start done:quick done:slow", b.history("1"))
	})
}

// T42: a call that ignores its context for ever keeps neither Serve nor its saga from
// others, who need not wait for the lease to run out.
func TestDrainLeavesWhatNeverReturns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store, free := &world{}, saga.NewMemory(), make(chan struct{})
		deaf := w.step("deaf", func(c saga.Call) error {
			if c.Epoch == 1 {
				<-free
			}
			return nil
		})
		deaf.Timeout = -1
		b := serve(t, store, saga.Config{Lease: time.Hour, Grace: time.Second})
		s := register(t, b.c, chain(w, deaf))
		synctest.Wait()
		require.NoError(t, s.Start(t.Context(), "1", state{}))
		time.Sleep(time.Second)
		b.stop()
		second := serve(t, store, saga.Config{})
		s2 := register(t, second.c, chain(w, deaf))
		_, err := s2.Wait(within(t, time.Minute), "1")
		require.NoError(t, err)
		close(free)
	})
}

// T43: Wait in a process that does not serve sees the end, and Stuck.
func TestWaitWithoutServing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, saga.NewMemory()
		slow := w.step("slow", func(c saga.Call) error {
			time.Sleep(time.Minute)
			if c.Saga == "stuck" {
				return saga.Refuse(errBroken)
			}
			return nil
		})
		slow.Timeout = -1
		pivot := w.step("pivot", nil)
		pivot.Pivot = true
		b := serve(t, store, saga.Config{})
		register(t, b.c, chain(w, pivot, slow))
		c, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		s := register(t, c, chain(w, pivot, slow))
		_, err = s.Run(within(t, time.Hour), "good", state{})
		require.NoError(t, err)
		_, err = s.Run(within(t, time.Hour), "stuck", state{})
		assert.Equal(t, saga.Stuck, asError(t, err).State)
	})
}
