package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func msg(topic, id string) messaging.Message { return messaging.Message{Topic: topic, ID: id} }

// collect subscribes and returns what arrived once nothing more does.
func collect(t *testing.T, m *messaging.Memory, topic, group string) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Subscribe(ctx, messaging.Subscription{Topics: []string{topic}, Group: group}, func(_ context.Context, d messaging.Delivery) error {
			ids = append(ids, d.ID)
			return nil
		})
	}()
	synctest.Wait()
	cancel()
	<-done
	return ids
}

func TestLateGroupsGetWhatIsRetained(t *testing.T) {
	for retain, want := range map[int]string{-1: "", 0: "1 2 3 4 5 6", 4: "3 4 5 6", 6: "1 2 3 4 5 6"} {
		synctest.Test(t, func(t *testing.T) {
			m := messaging.NewMemory(messaging.Config{Retain: retain})
			m.Declare("t", "early")
			for id := 1; id <= 6; id++ {
				require.NoError(t, m.Publish(t.Context(), msg("t", fmt.Sprint(id))))
			}
			assert.Equal(t, "1 2 3 4 5 6", strings.Join(collect(t, m, "t", "early"), " "), "a declared group misses nothing")
			assert.Equal(t, want, strings.Join(collect(t, m, "t", "late"), " "), fmt.Sprint("Retain ", retain))
		})
	}
}

func TestPublishWaitsForTheSlowestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := messaging.NewMemory(messaging.Config{Capacity: 2})
		m.Declare("t", "slow")
		m.Declare("t", "quick")
		require.NoError(t, m.Publish(t.Context(), msg("t", "1"), msg("t", "2")))
		assert.Equal(t, 2, len(collect(t, m, "t", "quick")))

		cause := errors.New("no patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		require.ErrorIs(t, m.Publish(ctx, msg("t", "3")), cause)
		require.NoError(t, m.Publish(t.Context(), msg("elsewhere", "1")))

		published := make(chan error)
		go func() { published <- m.Publish(t.Context(), msg("t", "4")) }()
		synctest.Wait()
		assert.Equal(t, "1 2 4", strings.Join(collect(t, m, "t", "slow"), " "))
		require.NoError(t, <-published)
		assert.Equal(t, "4", strings.Join(collect(t, m, "t", "quick"), " "))
	})
}

func TestStatsCountByGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := messaging.NewMemory(messaging.Config{})
		m.Declare("t", "idle")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			sub := messaging.Subscription{
				Topics: []string{"t"}, Group: "busy", Concurrency: 2, MaxAttempts: 2,
				Backoff: func(int) time.Duration { return time.Hour },
			}
			_ = m.Subscribe(ctx, sub, func(ctx context.Context, d messaging.Delivery) error {
				switch d.ID {
				case "poison", "waits":
					return errors.New("fails")
				case "runs":
					<-ctx.Done()
				}
				return nil
			})
		}()
		require.NoError(t, m.Publish(t.Context(), msg("t", "poison")))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.NoError(t, m.Publish(t.Context(), msg("t", "done"), msg("t", "waits"),
			messaging.Message{Topic: "t", ID: "runs", Key: "k"}, messaging.Message{Topic: "t", ID: "behind", Key: "k"}))
		synctest.Wait()
		assert.Equal(t, []messaging.GroupStats{
			{Topic: "t", Group: "busy", Ready: 1, Running: 1, Delayed: 1, Acked: 1, Redelivered: 2, DeadLettered: 1},
			{Topic: "t", Group: "idle", Ready: 5},
		}, m.Stats())
		cancel()
		<-done
	})
}

func TestBadSettingsPanicWithTheField(t *testing.T) {
	assert.Contains(t, fmt.Sprint(assert.Panics(t, func() { messaging.NewMemory(messaging.Config{Capacity: -1}) })), "Capacity is -1")
	m := messaging.NewMemory(messaging.Config{})
	assert.Contains(t, fmt.Sprint(assert.Panics(t, func() { m.Declare("", "g") })), "topic")
	assert.Contains(t, fmt.Sprint(assert.Panics(t, func() { m.Declare("t", "g/h") })), "group")
}

func TestDeadLetterNameMustFit(t *testing.T) {
	m := messaging.NewMemory(messaging.Config{})
	sub := messaging.Subscription{Topics: []string{strings.Repeat("t", 150)}, Group: strings.Repeat("g", 60)}
	err := m.Subscribe(t.Context(), sub, func(context.Context, messaging.Delivery) error { return nil })
	require.ErrorIs(t, err, messaging.ErrInvalid)
	assert.Contains(t, err.Error(), "DeadLetter")
}

// A message that no handler can be given is no reason to try again: the errors
// of this package say so to whoever asks.
func TestInvalidIsNotRetryable(t *testing.T) {
	err := messaging.NewMemory(messaging.Config{}).Publish(t.Context(), messaging.Message{})
	says, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](err)
	require.True(t, ok)
	assert.False(t, says.Retryable())
}

func BenchmarkMemory(b *testing.B) {
	m := messaging.NewMemory(messaging.Config{Retain: -1})
	m.Declare("t", "g")
	ctx, cancel := context.WithCancel(b.Context())
	var handled atomic.Int64
	go func() {
		_ = m.Subscribe(ctx, messaging.Subscription{Topics: []string{"t"}, Group: "g"}, func(context.Context, messaging.Delivery) error {
			handled.Add(1)
			return nil
		})
	}()
	out := messaging.Message{ID: "1", Topic: "t", Key: "k", Body: make([]byte, 256)}
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		if err := m.Publish(ctx, out); err != nil {
			b.Fatal(err)
		}
		n++
	}
	for handled.Load() < n {
		runtime.Gosched()
	}
	cancel()
}
