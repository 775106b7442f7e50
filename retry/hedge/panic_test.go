package hedge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry/hedge"
)

// T32: a panic in an extra attempt reaches the caller, who may recover, with
// the value and the stack of where it happened. The process lives.
func TestExtraAttemptThatPanics(t *testing.T) {
	r := play(t, nil, 0, ok(time.Second), script{takes: ms, leave: panics})
	p, ok := r.thrown.(*hedge.PanicError)
	require.True(t, ok, "%v", r.thrown)
	assert.Same(t, errDown, p.Value)
	assert.ErrorIs(t, p, errDown)
	assert.Contains(t, string(p.Stack), "hedge_test.init")
	assert.Contains(t, p.Error(), "connection refused")
	assert.Equal(t, 101*ms, r.took, "the primary is cancelled")
	assert.True(t, errors.Unwrap(&hedge.PanicError{Value: "text"}) == nil)
}

// T32: a panic in discard, on an extra attempt's goroutine, too.
func TestDiscardThatPanics(t *testing.T) {
	defer func() {
		p, ok := recover().(*hedge.PanicError)
		require.True(t, ok)
		assert.Equal(t, "in discard", p.Value)
	}()
	first := make(chan struct{})
	_, _ = hedge.Do(t.Context(), &hedge.Policy{Delay: -1}, func(ctx context.Context) (int, error) {
		if hedge.Index(ctx) == 1 {
			<-ctx.Done() // the primary has won
		} else {
			close(first)
		}
		<-first
		return hedge.Index(ctx), nil
	}, func(v int) {
		if v == 1 {
			panic("in discard")
		}
	})
	t.Error("no panic")
}

// T33: a Goexit in any attempt neither hangs nor leaves a goroutine; on another
// goroutine than the caller's it ends the caller's too.
func TestGoexit(t *testing.T) {
	exit := script{takes: 150 * ms, leave: exits}
	r := play(t, nil, 0, exit, ok(time.Second))
	assert.True(t, r.exited)
	assert.Equal(t, 150*ms, r.took)
	r = play(t, nil, 0, ok(time.Second), exit)
	assert.True(t, r.exited)
	assert.Equal(t, 250*ms, r.took)
}

// A panic on the caller's own goroutine passes through as it is, after the rest
// was cancelled and waited for.
func TestPrimaryThatPanics(t *testing.T) {
	r := play(t, nil, 0, script{takes: 150 * ms, leave: panics}, ok(time.Second))
	assert.Same(t, errDown, r.thrown)
	assert.Equal(t, 150*ms, r.took)
	assert.Equal(t, 0, r.alive)

	r = play(t, nil, 0, script{takes: 10 * ms, leave: panics}, ok(time.Second))
	assert.Same(t, errDown, r.thrown)
	assert.Equal(t, 10*ms, r.took, "the delay is not waited for")
	assert.Equal(t, 1, len(r.started))
}

// A panic of the replacement of a failed primary is one on the caller's own
// goroutine, too.
func TestReplacementThatPanics(t *testing.T) {
	r := play(t, nil, 0, fails(ms, errDown), script{leave: panics})
	assert.Same(t, errDown, r.thrown)
}

// A winner that is not returned, because the beaten primary panics, is
// discarded.
func TestWinnerIsDiscardedWhenTheCallPanics(t *testing.T) {
	late := script{takes: time.Second, leave: panics, stubborn: true}
	r := play(t, nil, 0, late, ok(ms))
	assert.Same(t, errDown, r.thrown)
	assert.Equal(t, []int{101}, r.dropped)
	r = play(t, nil, 0, ok(150*ms), script{takes: time.Second, leave: panics, stubborn: true})
	assert.NotNil(t, r.thrown)
	assert.Equal(t, []int{100}, r.dropped)
}

func TestOnEventThatPanics(t *testing.T) {
	p := &hedge.Policy{OnEvent: func(context.Context, hedge.Event) { panic(errDown) }}
	r := play(t, p, 0, ok(time.Second), ok(ms))
	assert.Same(t, errDown, r.thrown)
	assert.Equal(t, []int{101}, r.dropped)
}
