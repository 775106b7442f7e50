package scatter_test

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
	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/scatter"
)

var errDown = errors.New("down")

func names(n int) []sharding.ID {
	ids := make([]sharding.ID, n)
	for i := range ids {
		ids[i] = sharding.ID(fmt.Sprintf("s%d", i))
	}
	return ids
}

func length(_ context.Context, id sharding.ID) (int, error) { return len(id), nil }

// T39: every distinct shard has a result, in the order of first appearance.
func TestEveryShardHasAResult(t *testing.T) {
	for _, n := range []int{5, 50} { // both ways to find doubles
		ids := append(names(n), names(n)...)
		var calls atomic.Int64
		results, err := scatter.Do(t.Context(), ids, scatter.Config{}, func(ctx context.Context, id sharding.ID) (int, error) {
			calls.Add(1)
			return length(ctx, id)
		})
		require.NoError(t, err)
		require.Equal(t, n, len(results))
		assert.Equal(t, int64(n), calls.Load())
		for i, r := range results {
			require.Equal(t, scatter.Result[int]{Shard: ids[i], Value: len(ids[i])}, r)
		}
	}
	results, err := scatter.Do(t.Context(), nil, scatter.Config{}, length)
	assert.Nil(t, results)
	assert.NoError(t, err)
}

// T39: a shard that failed is in the error; nothing is missing in silence.
func TestFailuresAreNamed(t *testing.T) {
	results, err := scatter.Do(t.Context(), names(3), scatter.Config{}, func(_ context.Context, id sharding.ID) (int, error) {
		if id == "s1" {
			return 0, errDown
		}
		return 1, nil
	})
	partial, ok := errors.AsType[*scatter.PartialError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, map[sharding.ID]error{"s1": errDown}, partial.Failed)
	assert.Equal(t, []sharding.ID{"s0", "s2"}, partial.OK)
	assert.ErrorIs(t, err, errDown)
	assert.False(t, partial.Retryable())
	assert.Equal(t, "scatter: 1 of 3 shards failed; s1: down", err.Error())
	assert.Equal(t, 1, results[2].Value, "the others' answers are there")
	again := &scatter.PartialError{Failed: map[sharding.ID]error{"a": sharding.ErrBlocked, "b": &sharding.MovedError{}}}
	assert.True(t, again.Retryable())
}

func TestBadConfigsCallNobody(t *testing.T) {
	for want, cfg := range map[string]scatter.Config{
		"Config.Need is 3, must be 0 to 2": {Need: 3},
		"Config.Need is -1":                {Need: -1},
		"Config.Limit is -1":               {Limit: -1},
		"Config.Timeout is -1s":            {Timeout: -time.Second},
	} {
		_, err := scatter.Do(t.Context(), []sharding.ID{"a", "b", "a"}, cfg, func(context.Context, sharding.ID) (int, error) {
			t.Error("called")
			return 0, nil
		})
		require.Error(t, err, want)
		assert.Contains(t, err.Error(), want)
	}
}

// T39: Need successes are enough; the rest is cut short and says so, and a
// success that comes late all the same counts.
func TestNeedIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		results, err := scatter.Do(t.Context(), names(4), scatter.Config{Need: 2, Limit: 3}, func(ctx context.Context, id sharding.ID) (int, error) {
			switch id {
			case "s0": // stubborn: succeeds late
				time.Sleep(3 * time.Second)
				return 1, nil
			case "s1":
				time.Sleep(time.Second)
				return 1, nil
			case "s2":
				time.Sleep(2 * time.Second)
				return 1, nil
			default:
				select {
				case <-time.After(time.Hour):
					return 1, nil
				case <-ctx.Done():
					assert.ErrorIs(t, context.Cause(ctx), scatter.ErrSkipped)
					return 0, ctx.Err()
				}
			}
		})
		require.NoError(t, err)
		assert.Equal(t, 3*time.Second, time.Since(began), "every call has returned")
		assert.NoError(t, results[0].Err)
		assert.Same(t, scatter.ErrSkipped, results[3].Err)
	})
}

func TestLimitIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most atomic.Int64
		began := time.Now()
		_, err := scatter.Do(t.Context(), names(10), scatter.Config{Limit: 3}, func(context.Context, sharding.ID) (int, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(time.Second)
			inside.Add(-1)
			return 0, nil
		})
		require.NoError(t, err)
		assert.Equal(t, int64(3), most.Load())
		assert.Equal(t, 4*time.Second, time.Since(began))
	})
}

func TestFailFastCancelsOnceNeedIsOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fast := range []bool{true, false} {
			began := time.Now()
			results, err := scatter.Do(t.Context(), names(4), scatter.Config{Need: 3, FailFast: fast}, func(ctx context.Context, id sharding.ID) (int, error) {
				switch id {
				case "s0", "s1":
					time.Sleep(time.Second)
					return 0, errDown
				}
				select {
				case <-time.After(time.Minute):
					return 1, nil
				case <-ctx.Done():
					return 0, ctx.Err()
				}
			})
			assert.ErrorIs(t, err, errDown)
			if fast {
				assert.Equal(t, time.Second, time.Since(began))
				assert.ErrorIs(t, results[3].Err, context.Canceled)
			} else {
				assert.Equal(t, time.Minute, time.Since(began))
				assert.NoError(t, results[3].Err)
			}
		}
	})
}

func TestTimeoutIsPerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results, err := scatter.Do(t.Context(), names(3), scatter.Config{Timeout: time.Second, Limit: 1}, func(ctx context.Context, id sharding.ID) (int, error) {
			if id == "s0" {
				<-ctx.Done()
			} else {
				time.Sleep(900 * time.Millisecond)
			}
			return 0, ctx.Err()
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NoError(t, results[1].Err)
		assert.NoError(t, results[2].Err)
	})
}

// T39: a panic cancels the rest and goes on here, with f's stack; so does
// Goexit. All calls have returned by then.
func TestCrashesGoOnHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		f := func(crash func()) func(context.Context, sharding.ID) (int, error) {
			return func(ctx context.Context, id sharding.ID) (int, error) {
				if id == "s1" {
					time.Sleep(time.Second) // so that the others are under way
					crash()
				}
				<-ctx.Done()
				others.Add(1)
				return 0, ctx.Err()
			}
		}
		value := assert.Panics(t, func() { _, _ = scatter.Do(t.Context(), names(3), scatter.Config{}, f(func() { panic(errDown) })) })
		crash, ok := value.(*scatter.PanicError)
		require.True(t, ok, "%v", value)
		assert.ErrorIs(t, crash, errDown)
		assert.Contains(t, crash.Error(), "scatter_test.go")
		assert.Equal(t, int64(2), others.Load())

		exited := false
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { exited = recover() == nil }()
			_, _ = scatter.Do(t.Context(), names(3), scatter.Config{}, f(runtime.Goexit))
			t.Error("Do returned")
		})
		wg.Wait()
		assert.True(t, exited)
		assert.Equal(t, int64(4), others.Load())
	})
}

// T39: an ended context makes no more calls, and is the error of those shards.
func TestCancelEndsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		results, err := scatter.Do(ctx, names(5), scatter.Config{Limit: 1}, func(context.Context, sharding.ID) (int, error) {
			if calls++; calls == 2 {
				cancel(gone)
			}
			return 1, nil
		})
		assert.ErrorIs(t, err, gone)
		assert.Equal(t, 2, calls)
		assert.NoError(t, results[1].Err)
		assert.ErrorIs(t, results[4].Err, gone)
	})
}
