package consume

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var errFails = errors.New("fails")

// member returns one whose functions succeed, for a test to replace.
func member(concurrency int) *Member[string] {
	return &Member[string]{
		Settings: Settings{Concurrency: concurrency, MaxAttempts: 3, Backoff: func(int) time.Duration { return time.Second }, DeadLetter: "dead"},
		Handle:   func(context.Context, string, int) error { return nil },
		Ack:      func(context.Context, string) error { return nil },
		Bury:     func(context.Context, string, int, error) error { return nil },
	}
}

// T39: as long as the dead letter topic does not take the message it stays, its
// key waits behind it, and the handler is not asked again.
func TestFailingDeadLetterKeepsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q, m := NewQueue[string](), member(1)
		var handled, buried int
		var others []string
		m.Handle = func(_ context.Context, v string, _ int) error {
			if v != "poison" {
				others = append(others, v)
				return nil
			}
			handled++
			return errFails
		}
		m.Bury = func(_ context.Context, _ string, attempts int, cause error) error {
			assert.Equal(t, 3, attempts)
			assert.ErrorIs(t, cause, errFails)
			if buried++; buried < 5 {
				return errors.New("the topic is not there")
			}
			return nil
		}
		var outcomes []Outcome
		m.Observe = func(v string, o Outcome) {
			if v == "poison" {
				outcomes = append(outcomes, o)
			}
		}
		q.Push("poison", "k", 0)
		q.Push("behind", "k", 0)
		q.Push("beside", "", 0)
		go func() { _ = m.Run(ctx, q) }()
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, []string{"beside"}, others)
		assert.Equal(t, Counts{Acked: 1, Redelivered: 5}, q.Counts(), "2 failed attempts, 3 failed burials")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"beside", "behind"}, others)
		assert.Equal(t, 3, handled)
		assert.Equal(t, Counts{Acked: 2, Redelivered: 6, DeadLettered: 1}, q.Counts())
		last := outcomes[len(outcomes)-1]
		assert.True(t, last.DeadLettered && last.Attempt == 3)
		assert.ErrorIs(t, last.Err, errFails)
		assert.False(t, outcomes[len(outcomes)-2].DeadLettered)
	})
}

func TestDeliveriesThatTheBrokerCountedAreBuriedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q, m := NewQueue[string](), member(1)
		m.Handle = func(context.Context, string, int) error {
			t.Error("the handler that kills its process runs again")
			return nil
		}
		m.Bury = func(_ context.Context, _ string, attempts int, cause error) error {
			assert.Equal(t, 3, attempts)
			assert.Contains(t, cause.Error(), "3 deliveries")
			cancel()
			return nil
		}
		q.Push("killer", "", 3)
		assert.ErrorIs(t, m.Run(ctx, q), context.Canceled)
		assert.Equal(t, Counts{DeadLettered: 1}, q.Counts())
	})
}

// T25: wherever user code panics or exits, the item is settled or back in the
// queue, the others of the member have returned, and their panic is not lost.
func TestUserCodeThatDoesNotReturn(t *testing.T) {
	boom := func() { panic("boom") }
	for name, exit := range map[string]func(){"panic": boom, "Goexit": runtime.Goexit} {
		for place, arrange := range map[string]func(m *Member[string]){
			"Handle":  func(m *Member[string]) { m.Handle = func(context.Context, string, int) error { exit(); return nil } },
			"Ack":     func(m *Member[string]) { m.Ack = func(context.Context, string) error { exit(); return nil } },
			"Observe": func(m *Member[string]) { m.Concurrency, m.Observe = 1, func(string, Outcome) { exit() } },
			"Backoff": func(m *Member[string]) {
				m.Handle = func(context.Context, string, int) error { return errFails }
				m.Backoff = func(int) time.Duration { exit(); return 0 }
			},
			"Bury": func(m *Member[string]) {
				m.MaxAttempts = 1
				m.Handle = func(context.Context, string, int) error { return errFails }
				m.Bury = func(context.Context, string, int, error) error { exit(); return nil }
			},
			"Error": func(m *Member[string]) { m.Handle = func(context.Context, string, int) error { return exits{exit} } },
		} {
			t.Run(name+" in "+place, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					q, m := NewQueue[string](), member(2)
					arrange(m)
					q.Push("1", "k", 0)
					q.Push("2", "k", 0)
					err := m.Run(t.Context(), q)
					if name == "panic" {
						var p *Panicked
						require.True(t, errors.As(err, &p))
						assert.Equal(t, any("boom"), p.Value)
						assert.Contains(t, string(p.Stack), "run_test.go")
					} else {
						assert.ErrorIs(t, err, errGoexit)
					}
					left := 2
					if place == "Observe" {
						left = 1 // told after the fact
					}
					assert.Equal(t, left, q.Len())
					assert.Equal(t, 0, q.Load().Running)
					assert.True(t, q.take() != nil, "the key is free again")
				})
			})
		}
	}
}

type exits struct{ exit func() }

func (e exits) Error() string   { return "exits" }
func (e exits) Retryable() bool { e.exit(); return true }

// T25: a panic after the end of ctx is raised all the same.
func TestPanicWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q, m := NewQueue[string](), member(1)
		m.Handle = func(ctx context.Context, _ string, _ int) error {
			cancel()
			<-ctx.Done()
			panic("late")
		}
		q.Push("1", "", 0)
		var p *Panicked
		require.True(t, errors.As(m.Run(ctx, q), &p))
		assert.Equal(t, 1, q.Len())
	})
}

func TestDrainUsesUpNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, m := NewQueue[string](), member(1)
		m.MaxAttempts = 1
		q.Push("1", "", 0)
		for range 3 {
			ctx, cancel := context.WithCancelCause(t.Context())
			m.Handle = func(_ context.Context, _ string, attempt int) error {
				assert.Equal(t, 1, attempt)
				cancel(errFails)
				return errors.New("stopped")
			}
			assert.ErrorIs(t, m.Run(ctx, q), errFails)
		}
		assert.Equal(t, Load{Ready: 1}, q.Load())
	})
}

func TestAcknowledgementHasALiveContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q, m := NewQueue[string](), member(1)
		m.Handle = func(context.Context, string, int) error { cancel(); return nil }
		m.Ack = func(ctx context.Context, _ string) error { return ctx.Err() }
		m.Observe = func(_ string, o Outcome) { assert.NoError(t, o.Err) }
		q.Push("1", "", 0)
		assert.ErrorIs(t, m.Run(ctx, q), context.Canceled)
		assert.Equal(t, Counts{Acked: 1}, q.Counts())
	})
}

// Two topics of one member: the queues know nothing of each other, the member
// still runs one of a key at a time.
func TestOneKeyInSeveralQueuesRunsOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b, m := NewQueue[string](), NewQueue[string](), member(4)
		var running, done atomic.Int32
		m.Handle = func(context.Context, string, int) error {
			assert.Equal(t, int32(1), running.Add(1))
			time.Sleep(time.Second)
			running.Add(-1)
			if done.Add(1) == 20 {
				cancel()
			}
			return nil
		}
		for range 10 {
			a.Push("a", "k", 0)
			b.Push("b", "k", 0)
		}
		assert.ErrorIs(t, m.Run(ctx, a, b), context.Canceled)
	})
}

func TestBusyTopicDoesNotStarveAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		busy, quiet, m := NewQueue[string](), NewQueue[string](), member(1)
		n := 0
		m.Handle = func(_ context.Context, v string, _ int) error {
			if n++; v == "quiet" {
				cancel()
			}
			busy.Push("busy", "", 0)
			return nil
		}
		busy.Push("busy", "", 0)
		busy.Push("busy", "", 0)
		quiet.Push("quiet", "", 0)
		_ = m.Run(ctx, busy, quiet)
		assert.True(t, n <= 2)
	})
}

func TestWaitBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[string]()
		q.Push("1", "", 0)
		q.Push("2", "", 0)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errFails)
		defer cancel()
		assert.ErrorIs(t, q.WaitBelow(ctx, 2), errFails)
		below := make(chan error)
		go func() { below <- q.WaitBelow(t.Context(), 2) }()
		synctest.Wait()
		q.settle(q.take(), false)
		assert.NoError(t, <-below)
	})
}
