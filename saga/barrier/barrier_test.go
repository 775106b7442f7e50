package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
)

var (
	do   = saga.Call{Saga: "order-17", Step: "pay"}
	undo = saga.Call{Saga: "order-17", Step: "pay", Undo: true}
)

// account counts effects.
type account struct{ done, undone int }

func (a *account) call(t *testing.T, g *barrier.Guard, c saga.Call) (string, error) {
	t.Helper()
	return barrier.Do(t.Context(), g, c, func(context.Context) (string, error) {
		if c.Undo {
			a.undone++
			return fmt.Sprint("undone ", a.undone), nil
		}
		a.done++
		return fmt.Sprint("done ", a.done), nil
	})
}

// T20: all orders of action, undo and duplicates, up to five calls: never two
// effects, never an undo without its effect, never an effect after its undo.
func TestEveryOrderOfActionAndUndo(t *testing.T) {
	for length := 1; length <= 5; length++ {
		for bits := range 1 << length {
			g, a := barrier.NewMemory(0), &account{}
			var order string
			undid := false
			for i := range length {
				c := do
				if bits>>i&1 == 1 {
					c = undo
				}
				order += " " + c.Key()
				answer, err := a.call(t, g, c)
				switch {
				case c.Undo && a.done == 0:
					require.NoError(t, err, order)
					assert.Equal(t, "", answer, order)
				case c.Undo:
					require.NoError(t, err, order)
					assert.Equal(t, "undone 1", answer, order)
				case undid && a.done == 0:
					require.ErrorIs(t, err, barrier.ErrLate, order)
				default:
					require.NoError(t, err, order)
					assert.Equal(t, "done 1", answer, order)
				}
				undid = undid || c.Undo
			}
			assert.True(t, a.done <= 1 && a.undone <= a.done, order)
		}
	}
}

// A saga treats the late action as one that had no effect.
func TestLateIsARefusal(t *testing.T) {
	says, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](barrier.ErrLate)
	require.True(t, ok)
	assert.False(t, says.Retryable())
}

func TestFailureLeavesNoTrace(t *testing.T) {
	g := barrier.NewMemory(0)
	failure := errors.New("no money")
	fail := func(context.Context) error { return failure }
	require.ErrorIs(t, barrier.Run(t.Context(), g, do, fail), failure)
	assert.Equal(t, any("boom"), assert.Panics(t, func() {
		_ = barrier.Run(t.Context(), g, do, func(context.Context) error { panic("boom") })
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = barrier.Run(t.Context(), g, do, func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-done
	_, err := barrier.Do(t.Context(), g, do, func(context.Context) (chan int, error) { return make(chan int), nil })
	require.Error(t, err, "an answer that does not encode")

	a := &account{}
	_, err = a.call(t, g, do)
	require.NoError(t, err)
	assert.Equal(t, 1, a.done)
	require.ErrorIs(t, barrier.Run(t.Context(), g, undo, fail), failure)
	_, err = a.call(t, g, undo)
	require.NoError(t, err)
	assert.Equal(t, 1, a.undone)
}

func TestConcurrentDuplicatesWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := barrier.NewMemory(0)
		var calls atomic.Int32
		slow := func(context.Context) (int32, error) {
			time.Sleep(time.Second)
			if n := calls.Add(1); n > 1 {
				return n, nil
			}
			return 0, errors.New("the first fails")
		}
		var group sync.WaitGroup
		var answered atomic.Int32
		for range 10 {
			group.Go(func() {
				if n, err := barrier.Do(t.Context(), g, do, slow); err == nil {
					assert.Equal(t, int32(2), n)
					answered.Add(1)
				}
			})
		}
		group.Wait()
		assert.Equal(t, int32(2), calls.Load())
		assert.Equal(t, int32(9), answered.Load())
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := barrier.NewMemory(0)
		go func() {
			_ = barrier.Run(t.Context(), g, do, func(context.Context) error { time.Sleep(time.Hour); return nil })
		}()
		synctest.Wait()
		cause := errors.New("no patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		require.ErrorIs(t, barrier.Run(ctx, g, undo, func(context.Context) error { return nil }), cause)
		time.Sleep(2 * time.Hour)
	})
}

func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a := barrier.NewMemory(time.Hour), &account{}
		for range 3 {
			_, err := a.call(t, g, do)
			require.NoError(t, err)
			time.Sleep(40 * time.Minute)
		}
		assert.Equal(t, 2, a.done, "once within an hour, and once more")
	})
}

func TestCallWithoutNameIsRefused(t *testing.T) {
	err := barrier.Run(t.Context(), barrier.NewMemory(0), saga.Call{Saga: "x"}, func(context.Context) error { return nil })
	require.Error(t, err)
	assert.Contains(t, err.Error(), "Call")
}

// A payment is booked once however often the message comes, and not at all once it
// has been taken back.
func ExampleDo() {
	ctx, guard := context.Background(), barrier.NewMemory(24*time.Hour)
	balance := 100
	reserve := func(context.Context) (int, error) { balance -= 30; return balance, nil }
	release := func(context.Context) (int, error) { balance += 30; return balance, nil }

	pay := saga.Call{Saga: "order-17", Step: "pay"}
	fmt.Println(barrier.Do(ctx, guard, pay, reserve))
	fmt.Println(barrier.Do(ctx, guard, pay, reserve)) // sent twice
	pay.Undo = true
	fmt.Println(barrier.Do(ctx, guard, pay, release))

	lost := saga.Call{Saga: "order-18", Step: "pay", Undo: true}
	fmt.Println(barrier.Do(ctx, guard, lost, release)) // nothing came that could be undone
	lost.Undo = false
	_, err := barrier.Do(ctx, guard, lost, reserve) // and now it does
	fmt.Println(balance, errors.Is(err, barrier.ErrLate))
	// Output:
	// 70 <nil>
	// 70 <nil>
	// 100 <nil>
	// 0 <nil>
	// 100 true
}
