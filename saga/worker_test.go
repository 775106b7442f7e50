package saga

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// workplace is a coordinator that serves until it is closed.
func workplace(t *testing.T, do func(ctx context.Context, n *int) error) (c *Coordinator, s *Saga[int], closed func()) {
	t.Helper()
	c, err := New(NewMemory(), Config{})
	require.NoError(t, err)
	s, err = Register(c, Definition[int]{Name: "order", Steps: []Step[int]{{Name: "pay", Do: do, Retry: Retry{Attempts: 1}}}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	synctest.Wait()
	return c, s, func() {
		stop()
		require.NoError(t, <-done)
	}
}

func goroutine() string {
	var b [64]byte
	return strings.Fields(string(b[:runtime.Stack(b[:], false)]))[1]
}

// Sagas that come one after the other run in one goroutine, unless a step ends it.
func TestWorkerIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]int{}
		_, s, closed := workplace(t, func(_ context.Context, n *int) error {
			seen[goroutine()]++
			if *n == 10 {
				runtime.Goexit()
			}
			return nil
		})
		for i := range 20 {
			_, err := s.Run(t.Context(), fmt.Sprint(i), i)
			assert.Equal(t, i == 10, err != nil)
			synctest.Wait() // it rests
		}
		assert.Equal(t, 2, len(seen), fmt.Sprint(seen))
		closed()
	})
}

// A worker that rests has laid down the profiler's labels of who started its last saga,
// whose request would else be blamed for sagas of others.
func TestRestingWorkerHasNoLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		during := ""
		_, s, closed := workplace(t, func(context.Context, *int) error { during = labelled(); return nil })
		pprof.Do(t.Context(), pprof.Labels("request", "17"), func(ctx context.Context) {
			_, err := s.Run(ctx, "1", 1)
			require.NoError(t, err)
		})
		synctest.Wait() // it rests
		assert.True(t, strings.Contains(during, "(*server).work"), "it works under the labels: "+during)
		assert.False(t, strings.Contains(labelled(), "(*server).work"), "it rests under them: "+labelled())
		closed()
	})
}

// labelled is the stacks of goroutines that have the label of the test.
func labelled() string {
	var all strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
	stacks := strings.Split(all.String(), "\n\n")
	return strings.Join(slices.DeleteFunc(stacks, func(s string) bool { return !strings.Contains(s, `{"request":"17"}`) }), "\n\n")
}

// However many sagas run at once, and however their steps end, no more than maxResting
// goroutines rest afterwards, each of which takes another saga, and none is left when
// Serve returns: a bubble does not end before its goroutines.
func TestRestingWorkersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, closed := workplace(t, func(_ context.Context, n *int) error {
			time.Sleep(time.Second)
			switch *n % 4 {
			case 0:
				runtime.Goexit()
			case 1:
				panic("boom")
			}
			return nil
		})
		server := c.serving()
		for round := range 3 {
			var all sync.WaitGroup
			for i := range 5 * maxResting {
				all.Go(func() {
					_, err := s.Run(t.Context(), fmt.Sprint(round, "/", i), i)
					assert.Equal(t, i%4 < 2, err != nil)
				})
			}
			all.Wait()
			synctest.Wait()
			assert.Equal(t, int32(maxResting), server.resting.Load())
		}
		closed()
		assert.Equal(t, int32(0), server.resting.Load())
	})
}

// Serve ends while sagas run and others are started: none of their goroutines is left.
func TestNoWorkerOutlivesServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 5 {
			_, s, closed := workplace(t, func(_ context.Context, n *int) error {
				time.Sleep(time.Duration(*n) * time.Millisecond)
				if *n%3 == 0 {
					runtime.Goexit()
				}
				return nil
			})
			ctx, stop := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for i := range 300 {
				all.Go(func() { _, _ = s.Run(ctx, fmt.Sprint(i), i) })
			}
			time.Sleep(150 * time.Millisecond)
			closed()
			stop()
			all.Wait()
		}
	})
}
