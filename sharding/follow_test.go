package sharding_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// follow runs Follow until the test is over, in its bubble.
func follow(t *testing.T, r *sharding.Router[int]) (stop func()) {
	t.Helper()
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Follow(ctx) }()
	synctest.Wait()
	return func() {
		cancel(over)
		assert.ErrorIs(t, <-done, over)
	}
}

func TestFollowInstallsWhatIsPut(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		defer follow(t, r)()
		for range 20 { // each at once: the epoch grew, so nothing is spaced
			epoch := s.put(t, 60)
			synctest.Wait()
			require.Equal(t, epoch, r.Stats().Epoch)
		}
		assert.Contains(t, r.Follow(context.Background()).Error(), "running already")
	})
}

// T27: if the watch is lost, Follow catches up by polling within 1.2 * Poll.
func TestFollowSurvivesALostWatch(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{Poll: 10 * time.Second})
		s.wait = func(ctx context.Context, _ uint64) error { <-ctx.Done(); return context.Cause(ctx) }
		defer follow(t, r)()
		for range 10 {
			epoch := s.put(t, 60)
			waitEpoch(t, r, epoch, 12*time.Second+50*time.Millisecond)
			time.Sleep(3 * time.Second)
		}
	})
}

// T27: a watch that always hints does not make Follow spin: loads that find
// nothing new are at least 50 ms apart.
func TestFollowDoesNotSpin(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		s.wait = func(context.Context, uint64) error { return nil }
		defer follow(t, r)()
		before := s.count()
		time.Sleep(10 * time.Second)
		loads := s.count() - before
		assert.True(t, loads <= 200, "%d loads in 10 s", loads)
		assert.True(t, loads >= 190, "%d loads in 10 s", loads)
		waitEpoch(t, r, s.put(t, 60), 60*time.Millisecond)
	})
}

// A watch that fails is an event and polling goes on, ever more slowly.
func TestFollowSurvivesABrokenWatch(t *testing.T) {
	in(t, func(t *testing.T) {
		var failures int
		r, s := opened(t, sharding.Config{Poll: 10 * time.Second, OnEvent: func(e sharding.Event) {
			if errors.Is(e.Err, errBroken) {
				failures++
			}
		}})
		s.wait = func(context.Context, uint64) error { return errBroken }
		defer follow(t, r)()
		time.Sleep(time.Hour)
		synctest.Wait()
		loads := s.count()
		assert.True(t, loads < 1500, "%d loads in an hour", loads)
		assert.True(t, failures >= loads-2, "%d failures told", failures)
		waitEpoch(t, r, s.put(t, 60), 10*time.Second+50*time.Millisecond)
	})
}

// Failed loads are an event and a line of the log each, come ever more rarely,
// and leave the topology in force.
func TestFollowBacksOffWhileLoadsFail(t *testing.T) {
	in(t, func(t *testing.T) {
		var log strings.Builder
		failures := 0
		r, s := opened(t, sharding.Config{
			Poll:    10 * time.Second,
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
			OnEvent: func(e sharding.Event) { assert.ErrorIs(t, e.Err, errBroken); failures++ },
		})
		s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) {
			return sharding.Document{}, errBroken
		})
		stop := follow(t, r)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.True(t, failures > 500 && failures < 1500, "%d failures in an hour", failures)
		assert.Equal(t, failures, strings.Count(log.String(), "load failed"))
		assert.Equal(t, uint64(failures), r.Stats().LoadErrors)
		assert.Equal(t, sharding.ID("a"), route(t, r, 49).Shard)
		stop()
		assert.Equal(t, failures, strings.Count(log.String(), "load failed"), "the end is no failure")
	})
}
