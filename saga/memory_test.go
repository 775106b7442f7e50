package saga_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
)

// W7: a saga that waits is not loaded: 100,000 of them take less than 100 MB in the
// memory store, which keeps all of it, and nothing in the coordinator.
func TestWaitingSagasAreSmall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const n = 5000
		store := saga.NewMemory()
		c, err := saga.New(store, saga.Config{})
		require.NoError(t, err)
		wait := func(context.Context, *wide) error { return saga.Await("go", 0) }
		nothing := func(context.Context, *wide) error { return nil }
		s := register(t, c, saga.Definition[wide]{Name: "order", Steps: []saga.Step[wide]{
			{Name: "pay", Do: nothing, Undo: nothing}, {Name: "approve", Do: wait}, {Name: "ship", Do: nothing},
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Serve(ctx) }()
		before := heap()
		for i := range n {
			require.NoError(t, s.Start(ctx, fmt.Sprintf("order-%06d", i), wide{ID: i, User: "ada"}))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		waiting := 0
		for range c.List(ctx, saga.Filter{States: []saga.State{saga.Waiting}}) {
			waiting++
		}
		require.Equal(t, n, waiting)
		assert.Equal(t, 0, c.Stats().Running)
		each := (heap() - before) / n
		t.Logf("%d bytes per saga", each)
		assert.True(t, each < 1000, each)
		stop()
		require.NoError(t, <-done)
		runtime.KeepAlive(store)
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
