package sharding_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// asked runs a Do whose answers come from answer and returns the shards asked.
func asked(ctx context.Context, r *sharding.Router[int], key int, answer func(n int, rt sharding.Route) error) (shards []sharding.ID, err error) {
	err = r.Run(ctx, key, func(_ context.Context, rt sharding.Route) error {
		shards = append(shards, rt.Shard)
		return answer(len(shards), rt)
	})
	return shards, err
}

func TestDoReturnsWhatIsNoRefusal(t *testing.T) {
	r := routerOf[int](t, ints(t, sharding.Between(0, 10, "a")), sharding.Config{})
	for _, want := range []error{nil, errBroken, sharding.ErrConflict, sharding.ErrNoOwner} {
		v, err := sharding.Do(context.Background(), r, 1, func(context.Context, sharding.Route) (int, error) { return 7, want })
		assert.Same(t, want, err)
		assert.Equal(t, 7, v)
	}
	shards, err := asked(context.Background(), r, 10, func(int, sharding.Route) error { return nil })
	assert.ErrorIs(t, err, sharding.ErrNoOwner)
	assert.Equal(t, 0, len(shards), "f is not called")
}

// Rule (a): the router has learnt more than the route: at once.
func TestDoUsesWhatTheRouterLearnt(t *testing.T) {
	in(t, func(t *testing.T) {
		r := routerOf[int](t, ints(t, all[int]("a")), sharding.Config{})
		began := time.Now()
		shards, err := asked(t.Context(), r, 1, func(n int, rt sharding.Route) error {
			if n == 1 {
				install(t, r, sharding.Topology[int]{Epoch: 2, Map: ints(t, all[int]("b"))})
				return sharding.ErrStale
			}
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, []sharding.ID{"a", "b"}, shards)
		assert.Equal(t, time.Duration(0), time.Since(began))
		assert.Equal(t, uint64(1), r.Stats().Redirects)
	})
}

// Rule (b): a refusal of a later epoch makes the router refresh: at once.
func TestDoRefreshesWhenBehind(t *testing.T) {
	in(t, func(t *testing.T) {
		var events []sharding.Event
		r, s := opened(t, sharding.Config{OnEvent: func(e sharding.Event) { events = append(events, e) }})
		s.put(t, 40)
		began := time.Now()
		shards, err := asked(t.Context(), r, 45, func(n int, rt sharding.Route) error {
			if rt.Epoch < 2 {
				return &sharding.MovedError{To: "b", Epoch: 2}
			}
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, []sharding.ID{"a", "b"}, shards)
		assert.Equal(t, time.Duration(0), time.Since(began))
		require.Equal(t, 2, len(events))
		assert.Equal(t, uint64(2), events[0].Epoch, "the install")
		assert.ErrorIs(t, events[1].Err, sharding.ErrStale)
		assert.Equal(t, uint64(1), events[1].Previous)
	})
}

// T30: a source behind the shard that refuses: the named owner is asked, with
// the epoch that the refusal named.
func TestDoAsksTheNamedOwner(t *testing.T) {
	in(t, func(t *testing.T) {
		for _, broken := range []bool{false, true} {
			r, s := opened(t, sharding.Config{})
			if broken {
				s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) {
					return sharding.Document{}, errBroken
				})
			}
			shards, err := asked(t.Context(), r, 1, func(n int, rt sharding.Route) error {
				if n == 1 {
					return &sharding.MovedError{To: "c", Epoch: 9}
				}
				assert.Equal(t, uint64(9), rt.Epoch)
				assert.Equal(t, uint64(9), rt.Since())
				return nil
			})
			require.NoError(t, err)
			assert.Equal(t, []sharding.ID{"a", "c"}, shards)
			assert.Equal(t, uint64(1), r.Stats().Epoch, "a hint is no topology")
		}
	})
}

// T30: a shard behind its router cannot answer yet: Do waits.
func TestDoWaitsForAShardThatIsBehind(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := opened(t, sharding.Config{})
		began := time.Now()
		shards, err := asked(t.Context(), r, 1, func(int, sharding.Route) error {
			if time.Since(began) < 2*time.Second {
				return &sharding.MovedError{To: "z", Epoch: 1} // older than the route, or of its age
			}
			return nil
		})
		require.NoError(t, err)
		assert.True(t, len(shards) < 40, "%d calls", len(shards))
		for _, id := range shards {
			require.Equal(t, sharding.ID("a"), id)
		}
		assert.Equal(t, uint64(len(shards)-1), r.Stats().Waits)
	})
}

// T29: two shards that name each other are asked a bounded number of times,
// and Patience ends it with the last refusal.
func TestTwoShardsThatNameEachOther(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := opened(t, sharding.Config{Patience: 10 * time.Second})
		began := time.Now()
		shards, err := asked(t.Context(), r, 1, func(_ int, rt sharding.Route) error {
			if rt.Shard == "a" {
				return &sharding.MovedError{To: "b", Epoch: 5}
			}
			return &sharding.MovedError{To: "a", Epoch: 5}
		})
		assert.ErrorIs(t, err, sharding.ErrStale)
		assert.Equal(t, 10*time.Second, time.Since(began))
		assert.True(t, len(shards) < 100, "%d calls", len(shards))
		assert.Equal(t, uint64(1), r.Stats().Redirects, "once per epoch")
	})
}

// A cutover is sat out; the install that ends it wakes Do at once.
func TestDoSitsOutABlock(t *testing.T) {
	in(t, func(t *testing.T) {
		m := ints(t, all[int]("a"))
		r := routerOf[int](t, m, sharding.Config{})
		go func() {
			time.Sleep(1234 * time.Millisecond)
			_ = r.Install(sharding.Topology[int]{Epoch: 2, Map: m})
		}()
		began := time.Now()
		_, err := asked(t.Context(), r, 1, func(_ int, rt sharding.Route) error {
			if rt.Epoch < 2 {
				return sharding.ErrBlocked
			}
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, 1234*time.Millisecond, time.Since(began))
	})
}

func TestDoStopsWithItsContext(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{Patience: time.Hour})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		_, err := asked(ctx, r, 1, func(int, sharding.Route) error { return sharding.ErrBlocked })
		assert.ErrorIs(t, err, gone)
		assert.ErrorIs(t, err, sharding.ErrBlocked)

		// Neither does a source that hangs hold it longer than Patience.
		s.onLoad(func(ctx context.Context, doc sharding.Document) (sharding.Document, error) {
			<-ctx.Done()
			return doc, ctx.Err()
		})
		short, s2 := opened(t, sharding.Config{Patience: time.Second})
		s2.onLoad(s.load)
		began := time.Now()
		refusal := &sharding.MovedError{To: "b", Epoch: 9}
		_, err = asked(t.Context(), short, 1, func(int, sharding.Route) error { return refusal })
		assert.Same(t, error(refusal), err)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestNegativePatienceIsOneCall(t *testing.T) {
	r, _ := opened(t, sharding.Config{Patience: -1})
	shards, err := asked(t.Context(), r, 1, func(int, sharding.Route) error { return sharding.ErrBlocked })
	assert.Same(t, sharding.ErrBlocked, err)
	assert.Equal(t, 1, len(shards))
}

// Waiting leaves no goroutine and no timer behind: the bubble would not end.
func TestDoLeavesNothingBehind(t *testing.T) {
	in(t, func(t *testing.T) {
		r, _ := opened(t, sharding.Config{Patience: time.Second})
		_, err := asked(t.Context(), r, 1, func(int, sharding.Route) error { return sharding.ErrBlocked })
		assert.ErrorIs(t, err, sharding.ErrBlocked)
		synctest.Wait()
	})
}
