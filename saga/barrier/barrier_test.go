package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/saga"
	"github.com/keelson-go/keelson/saga/barrier"
)

var (
	action = saga.Call{Saga: "order-1", Step: "pay", Attempt: 1}
	undo   = saga.Call{Saga: "order-1", Step: "pay", Undo: true, Attempt: 1}
)

// participant counts what really happens.
type participant struct {
	guard *barrier.Guard
	calls atomic.Int64
}

func (p *participant) call(ctx context.Context, c saga.Call) (int64, error) {
	return barrier.Do(ctx, p.guard, c, func(context.Context) (int64, error) { return p.calls.Add(1), nil })
}

// T20: every order of an action, its undo and their duplicates.
func TestMemoryAllOrders(t *testing.T) {
	for _, c := range []struct {
		order  string // d: action, u: undo
		calls  int64
		answer string
	}{
		{"d", 1, "1"},
		{"dd", 1, "1 1"},
		{"du", 2, "1 2"},
		{"duu", 2, "1 2 2"},
		{"dudu", 2, "1 2 1 2"},
		{"ddu", 2, "1 1 2"},
		{"u", 0, "0"},
		{"uu", 0, "0 0"},
		{"ud", 0, "0 late"},
		{"udud", 0, "0 late 0 late"},
		{"uudd", 0, "0 0 late late"},
	} {
		p := &participant{guard: barrier.NewMemory(0)}
		var got strings.Builder
		for _, x := range c.order {
			call := action
			if x == 'u' {
				call = undo
			}
			v, err := p.call(t.Context(), call)
			switch {
			case errors.Is(err, barrier.ErrLate):
				got.WriteString(" late")
			case err != nil:
				got.WriteString(" " + err.Error())
			default:
				got.WriteString(fmt.Sprint(" ", v))
			}
		}
		assert.Equal(t, " "+c.answer, got.String(), c.order)
		assert.Equal(t, c.calls, p.calls.Load(), c.order)
	}
}

// T20: what fails leaves no trace, so that the next attempt runs.
func TestMemoryFailureIsForgotten(t *testing.T) {
	g := barrier.NewMemory(0)
	boom := errors.New("boom")
	for _, c := range []saga.Call{action, undo} {
		assert.ErrorIs(t, barrier.Run(t.Context(), g, c, func(context.Context) error { return boom }), boom)
		func() {
			defer func() { assert.Equal(t, any("crash"), recover()) }()
			_ = barrier.Run(t.Context(), g, c, func(context.Context) error { panic("crash") })
		}()
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = barrier.Run(t.Context(), g, c, func(context.Context) error { runtime.Goexit(); return nil })
		})
		wg.Wait()
		n := 0
		for range 2 {
			assert.NoError(t, barrier.Run(t.Context(), g, c, func(context.Context) error { n++; return nil }))
		}
		assert.Equal(t, 1, n)
	}
}

// T20: calls of one step wait for each other, so that an undo sees how its action
// ended.
func TestMemoryUndoWaitsForItsAction(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := barrier.NewMemory(0)
			order := ""
			go func() {
				_ = barrier.Run(t.Context(), g, action, func(context.Context) error {
					time.Sleep(time.Second)
					order += "action "
					if fails {
						return errors.New("refused")
					}
					return nil
				})
			}()
			synctest.Wait()
			assert.NoError(t, barrier.Run(t.Context(), g, undo, func(context.Context) error { order += "undo"; return nil }))
			if fails {
				assert.Equal(t, "action ", order)
			} else {
				assert.Equal(t, "action undo", order)
			}
		})
	}
}

func TestMemoryManyDuplicatesRunOnce(t *testing.T) {
	p := &participant{guard: barrier.NewMemory(0)}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			v, err := p.call(t.Context(), action)
			assert.NoError(t, err)
			assert.Equal(t, int64(1), v)
		})
	}
	wg.Wait()
}

func TestMemoryForgetsAfterKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &participant{guard: barrier.NewMemory(time.Hour)}
		for _, want := range []int64{1, 1, 2} {
			v, err := p.call(t.Context(), action)
			assert.NoError(t, err)
			assert.Equal(t, want, v)
			time.Sleep(31 * time.Minute)
		}
	})
}

func TestEndedContextStopsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, barrier.Run(ctx, barrier.NewMemory(0), action, func(context.Context) error { return nil }), context.Canceled)
}

func TestCallWithoutASagaIsAnError(t *testing.T) {
	err := barrier.Run(t.Context(), barrier.NewMemory(0), saga.CallFrom(t.Context()), func(context.Context) error { return nil })
	assert.Error(t, err)
}

func TestErrLateIsARefusal(t *testing.T) {
	var says interface{ Retryable() bool }
	assert.True(t, errors.As(barrier.ErrLate, &says) && !says.Retryable())
}
