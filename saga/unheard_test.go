package saga_test

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// mumbling is a store that loses the answer to some polls which have claimed.
type mumbling struct {
	*saga.Memory
	lose  atomic.Int32
	looks atomic.Int32 // at all that have not ended
	panic atomic.Int32 // so many looks do
}

func (m *mumbling) List(ctx context.Context, f saga.Filter) iter.Seq2[saga.Summary, error] {
	if len(f.IDs) == 0 {
		m.looks.Add(1)
		if m.panic.Add(-1) >= 0 {
			panic("mumbling")
		}
	}
	return m.Memory.List(ctx, f)
}

func (m *mumbling) Poll(ctx context.Context, l saga.Lease) (saga.Work, error) {
	w, err := m.Memory.Poll(ctx, l)
	if len(w.Claimed) > 0 && m.lose.Add(-1) >= 0 {
		return saga.Work{}, errWire
	}
	return w, err
}

// T4: a poll whose answer is lost has claimed all the same. Its sagas run, once there is
// a place, and no other runs twice.
func TestLostAnswerOfAPollOrphansNothing(t *testing.T) {
	for _, places := range []int{2, 100} {
		t.Run(fmt.Sprint(places), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, store := &world{}, &mumbling{Memory: saga.NewMemory()}
				var own atomic.Int32
				slow := func(c saga.Call) error {
					if c.Saga == "own" {
						own.Add(1)
					}
					time.Sleep(20 * time.Second)
					return nil
				}
				b := serve(t, store, saga.Config{MaxRunning: places})
				s := register(t, b.c, chain(w, w.step("pay", slow), w.step("ship", nil)))
				synctest.Wait()
				require.NoError(t, s.Start(t.Context(), "own", state{}))
				outside, err := saga.New(store, saga.Config{})
				require.NoError(t, err)
				elsewhere := register(t, outside, chain(w, w.step("pay", slow), w.step("ship", nil)))
				store.lose.Store(3)
				const others = 7
				for i := range others {
					require.NoError(t, elsewhere.Start(t.Context(), fmt.Sprint(i), state{}))
					time.Sleep(time.Duration(i) * time.Second)
				}
				for i := range others {
					_, err := s.Wait(within(t, time.Hour), fmt.Sprint(i))
					require.NoError(t, err, i)
				}
				assert.Equal(t, 1+others, w.count("pay"))
				assert.Equal(t, int32(1), own.Load())
				assert.Equal(t, uint64(0), b.c.Stats().LeasesLost)
				assert.True(t, store.lose.Load() < 0)
				looks := store.looks.Load()
				time.Sleep(time.Minute)
				assert.Equal(t, looks, store.looks.Load())
				assert.True(t, looks <= 3, looks)
			})
		})
	}
}

// T4: nor does it if the look at what was claimed does not end.
func TestLookForLostAnswersIsRepeatedAfterAPanic(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, store := &world{}, &mumbling{Memory: saga.NewMemory()}
		b := serve(t, store, saga.Config{})
		register(t, b.c, chain(w, w.step("pay", nil)))
		synctest.Wait()
		outside, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		store.lose.Store(1)
		store.panic.Store(1)
		elsewhere := register(t, outside, chain(w, w.step("pay", nil)))
		require.NoError(t, elsewhere.Start(t.Context(), "1", state{}))
		_, err = elsewhere.Wait(within(t, time.Hour), "1")
		require.NoError(t, err)
		assert.Equal(t, "pay", w.trace())
		assert.Equal(t, int32(2), store.looks.Load())
	})
}

// T4: polls that fail one after the other claim what one may, not as many each. Full of
// long calls the process looks for the lost ones once all the same.
func TestPollsThatFailClaimNoMoreThanOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const places, others = 3, 30
		w, store := &world{}, &mumbling{Memory: saga.NewMemory()}
		end := make(chan struct{})
		defer close(end)
		long := w.step("long", func(saga.Call) error { <-end; return nil })
		long.Timeout = -1
		outside, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		s := register(t, outside, chain(w, long))
		for i := range others {
			require.NoError(t, s.Start(t.Context(), fmt.Sprint(i), state{}))
		}
		store.lose.Store(5)
		b := serve(t, store, saga.Config{MaxRunning: places})
		register(t, b.c, chain(w, long))
		time.Sleep(10 * time.Minute)
		held := 0
		for sum, err := range b.c.List(t.Context(), saga.Filter{}) {
			require.NoError(t, err)
			if sum.Owner != "" {
				held++
			}
		}
		assert.Equal(t, places, held)
		assert.Equal(t, places, w.count("long"))
		assert.Equal(t, places, b.c.Stats().Running)
		assert.True(t, store.looks.Load() <= 3, store.looks.Load())
	})
}
