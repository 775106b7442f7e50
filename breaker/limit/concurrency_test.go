package limit_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// queueUp starts n calls that wait at g one after the other and records in
// which order they get in. Each keeps its place for a second.
func queueUp(t *testing.T, ctx context.Context, g *limit.Concurrency, n int) (order func() []int) {
	t.Helper()
	var mu sync.Mutex
	var got []int
	for i := range n {
		go func() {
			p, err := g.Allow(ctx)
			if err != nil {
				return
			}
			defer p.Done(nil)
			mu.Lock()
			got = append(got, i)
			mu.Unlock()
			time.Sleep(time.Second)
		}()
		synctest.Wait()
	}
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// T31: places go to the oldest waiter, and new calls never overtake.
func TestPlacesGoToTheOldestWaiter(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1, Queue: 5})
		first := allow(t, g)
		order := queueUp(t, t.Context(), g, 5)
		assert.Equal(t, 5, g.Stats().Waiting)
		refused(t, g, "full")
		first.Done(nil)
		assert.Equal(t, 1, g.Stats().InFlight, "the place went to the oldest at once")
		time.Sleep(10 * time.Second)
		assert.Equal(t, []int{0, 1, 2, 3, 4}, order())
		assert.Equal(t, 0, g.Stats().Waiting)
		assert.True(t, g.Idle())
	})
}

// T31: the end of ctx against a grant loses no place, whichever is first.
func TestContextAgainstGrantLosesNoPlace(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1, Queue: 2})
		for range 100 {
			p := allow(t, g)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			for range 2 {
				go func() {
					if p, err := g.Allow(ctx); err == nil {
						p.Done(nil)
					}
				}()
			}
			time.Sleep(time.Second) // the grant and the deadline come together
			p.Done(nil)
			synctest.Wait()
			cancel()
			require.Equal(t, 0, g.Stats().InFlight)
			require.Equal(t, 0, g.Stats().Waiting)
		}
	})
}

// T31: a call whose ctx has ended does not run, even if it was granted a place
// at the same instant; the next one gets it.
func TestGrantToADeadCallGoesToTheNext(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1, Queue: 2})
		p := allow(t, g)
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 2)
		for _, c := range []context.Context{ctx, t.Context()} {
			go func() {
				_, err := g.Allow(c)
				errs <- err
			}()
			synctest.Wait()
		}
		g.Locked(func() { // both happen before the waiter can look
			cancel(errDown)
			go p.Done(nil)
		})
		synctest.Wait()
		got := []error{<-errs, <-errs}
		assert.True(t, got[0] == errDown && got[1] == nil || got[1] == errDown && got[0] == nil, "%v", got)
		assert.Equal(t, 1, g.Stats().InFlight)
		assert.Equal(t, uint64(1), g.Stats().Abandoned)
	})
}

func TestWaitIsBoundedByMaxWaitAndContext(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1, Queue: 1, MaxWait: time.Second})
		p := allow(t, g)
		start := time.Now()
		refused(t, g, "wait")
		assert.Equal(t, time.Second, time.Since(start))

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errDown)
		defer cancel()
		_, err := g.Allow(ctx)
		assert.Same(t, errDown, err)
		assert.Equal(t, time.Second+time.Millisecond, time.Since(start))
		p.Done(nil)
		s := g.Stats()
		assert.Equal(t, []uint64{1, 1, 1}, []uint64{s.Admitted, s.Rejected, s.Abandoned})
		assert.Equal(t, 0, s.Waiting)
		allow(t, g).Done(nil)
	})
}

// T31: SetMax below the calls in flight lets them run; a raise wakes waiters in
// order; Max 0 refuses all.
func TestSetMax(t *testing.T) {
	in(t, func(t *testing.T) {
		g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 3, Queue: 4})
		ps := []*breaker.Permit{allow(t, g), allow(t, g), allow(t, g)}
		order := queueUp(t, t.Context(), g, 4)
		g.SetMax(1)
		ps[0].Done(nil)
		ps[1].Done(nil)
		synctest.Wait()
		assert.Equal(t, 0, len(order()), "one still runs")
		assert.Equal(t, 1, g.Stats().InFlight)
		g.SetMax(3)
		synctest.Wait()
		assert.Equal(t, 2, len(order()))
		g.SetMax(0)
		refused(t, g, "full")
		time.Sleep(time.Minute)
		assert.Equal(t, 2, g.Stats().Waiting, "waiters stay until Max is raised")
		ps[2].Done(nil)
		g.SetMax(2)
		time.Sleep(time.Minute)
		assert.Equal(t, 4, len(order()))
		assert.True(t, g.Idle())
	})
}

func TestNeverMoreThanMaxRun(t *testing.T) {
	g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 3, Queue: 100})
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				p, err := g.Allow(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				running.Add(-1)
				p.Done(nil)
			}
		})
	}
	wg.Wait()
	assert.True(t, most.Load() <= 3, "%d ran at once", most.Load())
	s := g.Stats()
	assert.Equal(t, uint64(16*500), s.Admitted)
	assert.True(t, g.Idle())
}

func BenchmarkConcurrency(b *testing.B) {
	g := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1000})
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := g.Allow(ctx)
			p.Done(nil)
		}
	})
}
