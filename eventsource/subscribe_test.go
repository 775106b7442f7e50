package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// tail subscribes and ends after the batch that reaches a position.
func tail(t *testing.T, s eventsource.Store, q eventsource.Query, after, until eventsource.Position) (all []eventsource.Recorded) {
	through := after
	for b, err := range eventsource.Subscribe(t.Context(), s, q, after) {
		if !assert.NoError(t, err) {
			return all
		}
		assert.True(t, b.Through >= through && len(b.Events) <= 512, "%d after %d", b.Through, through)
		for _, r := range b.Events {
			assert.True(t, r.Position > through && r.Position <= b.Through, "%d in (%d, %d]", r.Position, through, b.Through)
		}
		through = b.Through
		if all = append(all, b.Events...); through >= until {
			return all
		}
	}
	return all
}

func TestSubscribeGivesHistoryThenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := eventsource.NewMemory()
		for range 1000 {
			put(t, m, "a", deposited{1})
		}
		type step struct {
			events   int
			through  eventsource.Position
			caughtUp bool
		}
		var steps []step
		for b, err := range eventsource.Subscribe(t.Context(), m, eventsource.Stream("a"), 10) {
			require.NoError(t, err)
			assert.False(t, b.Replay)
			steps = append(steps, step{len(b.Events), b.Through, b.CaughtUp})
			if len(steps) == 2 {
				time.AfterFunc(time.Hour, func() { put(t, m, "b", deposited{1}) })
				time.AfterFunc(2*time.Hour, func() { put(t, m, "a", deposited{1}) })
			}
			if b.Through == 1002 {
				break
			}
		}
		assert.Equal(t, []step{{512, 522, false}, {478, 1000, true}, {0, 1001, true}, {1, 1002, true}}, steps)
	})
}

func TestSubscribeAtHeadSaysSo(t *testing.T) {
	m := eventsource.NewMemory()
	for _, after := range []eventsource.Position{0, 1} {
		for b, err := range eventsource.Subscribe(t.Context(), m, eventsource.All(), after) {
			require.NoError(t, err)
			assert.Equal(t, eventsource.Batch{Through: after, CaughtUp: true}, b)
			break
		}
		put(t, m, "a", deposited{1})
	}
}

// T21: where nothing matches Through moves all the same.
func TestRangeWithoutMatchesMovesThrough(t *testing.T) {
	m := eventsource.NewMemory()
	put(t, m, "a", deposited{1}, deposited{1}, deposited{1})
	for _, q := range []eventsource.Query{nil, eventsource.Stream("b")} {
		for b, err := range eventsource.Subscribe(t.Context(), m, q, 1) {
			require.NoError(t, err)
			assert.Equal(t, eventsource.Batch{Through: 3, CaughtUp: true}, b)
			break
		}
	}
}

func TestSubscribeEndsWithTheError(t *testing.T) {
	down := errors.New("down")
	m := &hooked{Memory: eventsource.NewMemory(), onHead: func() error { return down }}
	n := 0
	for b, err := range eventsource.Subscribe(t.Context(), m, eventsource.All(), 0) {
		n++
		assert.Same(t, down, err)
		assert.Equal(t, eventsource.Batch{}, b)
	}
	assert.Equal(t, 1, n)

	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		var last error
		for _, err := range eventsource.Subscribe(ctx, eventsource.NewMemory(), eventsource.All(), 0) {
			last = err
		}
		assert.ErrorIs(t, last, stop)
	})
}

// T12: what draws its position first and commits last is not passed by.
func TestSubscribeWaitsForLateCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLateStore()
		event := eventsource.Event{Type: "x"}
		late, lost := s.hold(event), s.hold(event)
		_, err := s.Append(t.Context(), []eventsource.Event{event})
		require.NoError(t, err)
		time.AfterFunc(time.Hour, func() { late(true) })
		time.AfterFunc(2*time.Hour, func() { lost(false) }) // T14: a hole
		assert.Equal(t, []eventsource.Position{1, 3}, positions(tail(t, s, eventsource.All(), 0, 3)))
	})
}

// T20: subscriptions that start at every position while writers run receive
// exactly the tail, and one that stalls holds no append back.
func TestSwitchStorm(t *testing.T) {
	const writers, each = 4, 100
	m := eventsource.NewMemory()
	// The stalled one has begun, and its consumer does not come back until the
	// last append is done.
	next, stop := iter.Pull2(eventsource.Subscribe(t.Context(), m, eventsource.All(), 0))
	defer stop()
	_, err, ok := next()
	require.True(t, ok)
	require.NoError(t, err)

	var wg, subs sync.WaitGroup
	got := make([][]eventsource.Recorded, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := put(t, m, fmt.Sprint("w", w), deposited{i})
				subs.Go(func() { // it starts after this event, amid the others
					got[r.Last-1] = tail(t, m, eventsource.All(), r.Last, writers*each)
				})
			}
		})
	}
	wg.Wait()
	subs.Wait()
	all := read(t, m, eventsource.All())
	require.Equal(t, writers*each, len(all))
	for i, tail := range got {
		assert.Equal(t, positions(all[i+1:]), positions(tail))
	}
	var slow []eventsource.Recorded
	for len(slow) < len(all) {
		b, err, _ := next()
		require.NoError(t, err)
		slow = append(slow, b.Events...)
	}
	assert.Equal(t, positions(all), positions(slow))
}
