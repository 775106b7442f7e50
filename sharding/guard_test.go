package sharding_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/sharding"
)

// at is a route to nowhere in particular, made under an epoch.
func at(epoch uint64) sharding.Route { return sharding.Route{Shard: "x", Epoch: epoch} }

// verdicts runs all three calls of a guard and says how each ended.
func verdicts(t *testing.T, g *sharding.Guard[int], key int, rt sharding.Route) (out [3]any) {
	t.Helper()
	for i, call := range []func(context.Context, int, sharding.Route, func(context.Context) error) error{g.Write, g.Read, g.Mirror} {
		ran := false
		err := call(t.Context(), key, rt, func(context.Context) error { ran = true; return nil })
		require.Equal(t, err == nil, ran, "f runs if and only if it is admitted")
		out[i] = err
		if moved, ok := errors.AsType[*sharding.MovedError](err); ok {
			out[i] = *moved
		}
	}
	return out
}

// The table of the guard: T32, T33, T34. Keys 40 to 60 move from a to b.
func TestGuardTable(t *testing.T) {
	from := ints(t, sharding.Between(0, 100, "a"))
	to, err := from.Move(sharding.Between(40, 60, "b"))
	require.NoError(t, err)
	ok, blocked := any(nil), any(sharding.ErrBlocked)
	moved := func(to sharding.ID, epoch uint64) any { return sharding.MovedError{To: to, Epoch: epoch} }
	r := routerOf[int](t, from, sharding.Config{})
	a, b, c := r.Guard("a"), r.Guard("b"), r.Guard("c")
	check := func(g *sharding.Guard[int], key int, epoch uint64, write, read, mirror any) {
		t.Helper()
		rt := at(epoch)
		assert.Equal(t, [3]any{write, read, mirror}, verdicts(t, g, key, rt), "key %d, route of epoch %d", key, epoch)
	}
	check(a, 50, 1, ok, ok, moved("a", 1))
	check(a, 50, 0, moved("a", 1), ok, moved("a", 1))
	check(b, 50, 1, moved("a", 1), moved("a", 1), moved("a", 1))

	install(t, r, sharding.Topology[int]{Epoch: 2, Map: from, Mirror: to})
	check(a, 50, 1, moved("a", 2), ok, moved("a", 2)) // T33: routed before mirroring
	check(a, 50, 2, ok, ok, moved("a", 2))
	check(b, 50, 1, moved("a", 2), moved("a", 2), moved("a", 2))
	check(b, 50, 2, moved("a", 2), moved("a", 2), ok)
	check(c, 50, 2, moved("a", 2), moved("a", 2), moved("a", 2))
	check(a, 10, 1, ok, ok, moved("a", 2)) // T32: did not move

	install(t, r, sharding.Topology[int]{Epoch: 3, Map: from, Mirror: to, ReadMirror: true})
	check(b, 50, 3, moved("a", 3), ok, ok)
	// T34: a route of before led to b because b was the owner; a may be ahead.
	check(b, 50, 1, moved("a", 3), moved("a", 3), moved("a", 3))

	install(t, r, sharding.Topology[int]{Epoch: 4, Map: from, Mirror: to, Block: true})
	check(a, 50, 4, blocked, ok, moved("a", 4))
	check(b, 50, 4, moved("a", 4), moved("a", 4), blocked)
	check(a, 50, 3, moved("a", 4), ok, moved("a", 4))
	check(a, 10, 1, ok, ok, moved("a", 4)) // T32: not even while the others are blocked

	install(t, r, sharding.Topology[int]{Epoch: 5, Map: to, Mirror: from, Block: true})
	check(a, 50, 4, moved("b", 5), moved("b", 5), moved("b", 5)) // T34: no old read
	check(b, 50, 5, blocked, ok, moved("b", 5))

	install(t, r, sharding.Topology[int]{Epoch: 6, Map: to, Mirror: from})
	check(b, 50, 6, ok, ok, moved("b", 6))
	check(b, 50, 5, moved("b", 6), ok, moved("b", 6))
	check(a, 50, 6, moved("b", 6), moved("b", 6), ok) // the old owner still gets copies
	check(a, 50, 4, moved("b", 6), moved("b", 6), moved("b", 6))
	check(a, 10, 1, ok, ok, moved("a", 6))

	assert.ErrorIs(t, a.Write(t.Context(), 100, at(6), nil), sharding.ErrNoOwner)
	assert.Same(t, errBroken, a.Write(t.Context(), 1, at(6), func(context.Context) error { return errBroken }))
}

func TestGuardIsOnePerShard(t *testing.T) {
	r := routerOf[int](t, ints(t, all[int]("a")), sharding.Config{})
	assert.Same(t, r.Guard("a"), r.Guard("a"), "a Fence must know of the calls of all")
	assert.Panics(t, func() { r.Guard("") })
}

// A route of a later topology makes the guard refresh before it decides.
func TestGuardCatchesUp(t *testing.T) {
	in(t, func(t *testing.T) {
		r, s := opened(t, sharding.Config{})
		g := r.Guard("b")
		s.put(t, 40)
		ran := false
		require.NoError(t, g.Write(t.Context(), 45, at(2), func(context.Context) error { ran = true; return nil }))
		assert.True(t, ran)
		// T30: it installs nothing that is not stored, and says ErrStale.
		err := g.Write(t.Context(), 45, at(3), func(context.Context) error { t.Error("admitted"); return nil })
		assert.ErrorIs(t, err, sharding.ErrStale)
		_, moved := errors.AsType[*sharding.MovedError](err)
		assert.False(t, moved)
		s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) {
			return sharding.Document{}, errBroken
		})
		err = g.Read(t.Context(), 45, at(3), nil)
		assert.ErrorIs(t, err, sharding.ErrStale)
		assert.ErrorIs(t, err, errBroken)
		// Only Since counts: a route of epoch 9 whose part is old needs nothing.
		var rt sharding.Route
		require.NoError(t, rt.UnmarshalText([]byte("9.2.b")))
		assert.NoError(t, g.Write(t.Context(), 45, rt, func(context.Context) error { return nil }))
	})
}

// T31: Fence returns after the last call admitted earlier has ended, in any
// way: by returning, by a panic, by Goexit.
func TestFenceWaitsForEarlierCalls(t *testing.T) {
	for name, end := range map[string]func(){"return": func() {}, "panic": func() { panic("f") }, "goexit": runtime.Goexit} {
		in(t, func(t *testing.T) {
			m := ints(t, all[int]("a"))
			r := routerOf[int](t, m, sharding.Config{})
			g := r.Guard("a")
			var ended atomic.Bool
			for _, call := range []func(context.Context, int, sharding.Route, func(context.Context) error) error{g.Write, g.Read} {
				go func() {
					defer func() { _ = recover() }()
					_ = call(t.Context(), 1, at(1), func(context.Context) error {
						time.Sleep(time.Second)
						ended.Store(true)
						end()
						return nil
					})
				}()
			}
			synctest.Wait()
			install(t, r, sharding.Topology[int]{Epoch: 2, Map: m})
			began := time.Now()
			require.NoError(t, g.Fence(t.Context(), 2), name)
			assert.True(t, ended.Load(), name)
			assert.Equal(t, time.Second, time.Since(began))
			require.NoError(t, g.Fence(t.Context(), 1))
			assert.Equal(t, time.Second, time.Since(began), "an older epoch is in force already")
		})
	}
}

// T31: calls admitted under the new topology do not delay a Fence, however
// many and long they are.
func TestFenceDoesNotStarve(t *testing.T) {
	in(t, func(t *testing.T) {
		m := ints(t, all[int]("a"))
		r := routerOf[int](t, m, sharding.Config{})
		g := r.Guard("a")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for i := range 20 { // at every moment many calls are in flight
			go func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				for ctx.Err() == nil {
					_ = g.Write(ctx, 1, at(1), func(context.Context) error { time.Sleep(2 * time.Second); return nil })
				}
			}()
		}
		for epoch := uint64(2); epoch < 10; epoch++ {
			time.Sleep(5 * time.Second)
			install(t, r, sharding.Topology[int]{Epoch: epoch, Map: m})
			began := time.Now()
			require.NoError(t, g.Fence(t.Context(), epoch))
			require.True(t, time.Since(began) <= 2*time.Second, "%v", time.Since(began))
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestFenceWaitsForTheEpoch(t *testing.T) {
	in(t, func(t *testing.T) {
		m := ints(t, all[int]("a"))
		r := routerOf[int](t, m, sharding.Config{})
		time.AfterFunc(3*time.Second, func() { _ = r.Install(sharding.Topology[int]{Epoch: 4, Map: m}) })
		began := time.Now()
		require.NoError(t, r.Guard("a").Fence(t.Context(), 3))
		assert.Equal(t, 3*time.Second, time.Since(began))

		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		assert.ErrorIs(t, r.Guard("a").Fence(ctx, 9), gone)

		ro, s := opened(t, sharding.Config{})
		s.put(t, 60)
		require.NoError(t, ro.Guard("a").Fence(t.Context(), 2), "it refreshes")
		s.onLoad(func(context.Context, sharding.Document) (sharding.Document, error) {
			return sharding.Document{}, errBroken
		})
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		err := ro.Guard("a").Fence(ctx, 9)
		assert.ErrorIs(t, err, gone)
		assert.ErrorIs(t, err, errBroken)
	})
}

// A Fence inside f waits for the call that it is part of, until ctx ends.
func TestFenceInsideACallWaitsForItself(t *testing.T) {
	in(t, func(t *testing.T) {
		m := ints(t, all[int]("a"))
		r := routerOf[int](t, m, sharding.Config{})
		g := r.Guard("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Write(ctx, 1, at(1), func(ctx context.Context) error {
			install(t, r, sharding.Topology[int]{Epoch: 2, Map: m})
			return g.Fence(ctx, 2)
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NoError(t, g.Fence(t.Context(), 2), "nothing is left behind")
	})
}

// T31: a caller who found a generation and was stopped until it is retired
// must not get in: the Fence has counted without it.
func TestNobodyJoinsARetiredGeneration(t *testing.T) {
	m := ints(t, all[int]("a"))
	r := routerOf[int](t, m, sharding.Config{})
	assert.False(t, sharding.JoinsRetired(r.Guard("a"), func() { install(t, r, sharding.Topology[int]{Epoch: 2, Map: m}) }))
	assert.True(t, sharding.JoinsRetired(r.Guard("a"), func() {}))
}

// T31: a leaver who saw the last call end and was stopped must not declare the
// generation empty when others have come in since.
func TestALateLeaverDoesNotDrain(t *testing.T) {
	m := ints(t, all[int]("a"))
	r := routerOf[int](t, m, sharding.Config{})
	assert.False(t, sharding.DrainsUnder(r.Guard("a"), func() { install(t, r, sharding.Topology[int]{Epoch: 2, Map: m}) }))
}

// T31: after a Fence no call of an older epoch begins or runs. More threads
// than processors stop at any instruction, also between the steps of entering
// a generation.
func TestFenceAgainstCalls(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	from, to := ints(t, all[int]("a")), ints(t, all[int]("b"))
	r := routerOf[int](t, from, sharding.Config{})
	g := r.Guard("a")
	var inside atomic.Int64
	var fenced, done atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				rt, _ := r.Route(1)
				_ = g.Write(context.Background(), 1, rt, func(context.Context) error {
					inside.Add(1)
					defer inside.Add(-1)
					if fenced.Load() {
						t.Error("a call is admitted after the Fence")
					}
					return nil
				})
			}
		})
	}
	for epoch := uint64(2); epoch < 200; epoch += 2 {
		install(t, r, sharding.Topology[int]{Epoch: epoch, Map: to})
		require.NoError(t, g.Fence(context.Background(), epoch))
		assert.Equal(t, int64(0), inside.Load(), "a owns nothing in epoch %d", epoch)
		fenced.Store(true)
		for began := time.Now(); time.Since(began) < 5*time.Millisecond; {
			runtime.Gosched()
		}
		fenced.Store(false)
		install(t, r, sharding.Topology[int]{Epoch: epoch + 1, Map: from})
		for began := time.Now(); time.Since(began) < time.Millisecond; {
			runtime.Gosched()
		}
	}
	done.Store(true)
	wg.Wait()
}

func TestGuardDoesNotAllocate(t *testing.T) {
	r := routerOf[int](t, ints(t, all[int]("a")), sharding.Config{})
	g, rt, ctx := r.Guard("a"), route(t, r, 1), context.Background()
	f := func(context.Context) error { return nil }
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
		if err := g.Write(ctx, 1, rt, f); err != nil {
			t.Error(err)
		}
	}))
}
