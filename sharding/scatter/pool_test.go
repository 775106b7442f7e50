package scatter_test

import (
	"context"
	"errors"
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

// conn is a client that knows whether it was closed.
type conn struct {
	id     sharding.ID
	closed atomic.Bool
}

func open(_ context.Context, id sharding.ID) (*conn, error) { return &conn{id: id}, nil }

func closing(c *conn) error {
	if c.closed.Swap(true) {
		return errors.New("closed twice")
	}
	return nil
}

func pool(t testing.TB, cfg scatter.PoolConfig[*conn]) *scatter.Pool[*conn] {
	t.Helper()
	if cfg.Open == nil {
		cfg.Open = open
	}
	if cfg.Close == nil {
		cfg.Close = closing
	}
	if cfg.OnError == nil {
		cfg.OnError = func(id sharding.ID, err error) { t.Errorf("%s: %v", id, err) }
	}
	return scatter.NewPool(cfg)
}

func get(t testing.TB, p *scatter.Pool[*conn], id sharding.ID) (*conn, func()) {
	t.Helper()
	c, release, err := p.Get(t.Context(), id)
	require.NoError(t, err)
	return c, release
}

// T40: a client is not closed while it is borrowed, and is when the last
// borrower lets go; to release twice is to release once.
func TestNoCloseWhileBorrowed(t *testing.T) {
	p := pool(t, scatter.PoolConfig[*conn]{})
	a1, release1 := get(t, p, "a")
	a2, release2 := get(t, p, "a")
	b, releaseB := get(t, p, "b")
	releaseB()
	assert.Same(t, a1, a2)
	p.Retain("c")
	assert.True(t, b.closed.Load(), "idle")
	assert.Equal(t, scatter.Stats{Open: 1, Borrowed: 2, Draining: 1}, p.Stats())
	release1()
	release1()
	assert.False(t, a1.closed.Load())
	_, _, err := p.Get(t.Context(), "a")
	assert.ErrorIs(t, err, scatter.ErrRetired)

	p.Retain("a") // again: opens anew while the old one drains
	again, releaseAgain := get(t, p, "a")
	assert.False(t, again == a1)
	release2()
	assert.True(t, a1.closed.Load())
	assert.False(t, again.closed.Load())
	releaseAgain()
	assert.False(t, again.closed.Load(), "retained")
	require.NoError(t, p.Close(t.Context()))
	assert.True(t, again.closed.Load())
	_, _, err = p.Get(t.Context(), "a")
	assert.Same(t, scatter.ErrClosed, err)
	assert.NoError(t, p.Close(t.Context()), "twice is once")
	assert.Panics(t, func() { scatter.NewPool(scatter.PoolConfig[*conn]{}) })
}

// T40: opening one shard delays no other, happens once, and a caller who gives
// up does not fail those who wait.
func TestOpenDelaysOnlyItsShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		p := pool(t, scatter.PoolConfig[*conn]{Open: func(ctx context.Context, id sharding.ID) (*conn, error) {
			if id == "slow" {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			opened++
			return open(ctx, id)
		}})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := make(chan error, 1)
		go func() { _, _, err := p.Get(ctx, "slow"); first <- err }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, release, err := p.Get(t.Context(), "slow")
				assert.NoError(t, err)
				release()
			})
		}
		synctest.Wait()
		began := time.Now()
		_, release := get(t, p, "fast")
		release()
		assert.Equal(t, time.Duration(0), time.Since(began))
		cancel(gone)
		assert.Error(t, <-first)
		wg.Wait()
		assert.Equal(t, 2, opened, "fast, and slow once")
		require.NoError(t, p.Close(t.Context()))
	})
}

func TestOpenFailuresAreNotRemembered(t *testing.T) {
	fail := true
	p := pool(t, scatter.PoolConfig[*conn]{Open: func(ctx context.Context, id sharding.ID) (*conn, error) {
		if fail {
			return nil, errDown
		}
		return open(ctx, id)
	}})
	_, release, err := p.Get(t.Context(), "a")
	assert.ErrorIs(t, err, errDown)
	assert.True(t, release == nil)
	fail = false
	_, release = get(t, p, "a")
	release()
	require.NoError(t, p.Close(t.Context()))
}

// A panic in Open leaves the pool as it was.
func TestOpenMayPanic(t *testing.T) {
	crash := true
	p := pool(t, scatter.PoolConfig[*conn]{Open: func(ctx context.Context, id sharding.ID) (*conn, error) {
		if crash {
			panic("driver")
		}
		return open(ctx, id)
	}})
	assert.Equal(t, "driver", assert.Panics(t, func() { _, _, _ = p.Get(t.Context(), "a") }))
	crash = false
	_, release := get(t, p, "a")
	release()
	require.NoError(t, p.Close(t.Context()))
}

// A client that was retired while it was opened is closed and not handed out.
func TestRetireWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made *conn
		p := pool(t, scatter.PoolConfig[*conn]{Open: func(ctx context.Context, id sharding.ID) (*conn, error) {
			time.Sleep(time.Second)
			made, _ = open(ctx, id)
			return made, nil
		}})
		got := make(chan error, 1)
		go func() { _, _, err := p.Get(t.Context(), "a"); got <- err }()
		synctest.Wait()
		p.Retain("b")
		assert.ErrorIs(t, <-got, scatter.ErrRetired)
		assert.True(t, made.closed.Load())

		go func() { _, _, err := p.Get(t.Context(), "b"); got <- err }()
		synctest.Wait()
		require.NoError(t, p.Close(t.Context()), "waits for what is being opened")
		assert.Same(t, scatter.ErrClosed, <-got)
		assert.True(t, made.closed.Load())
	})
}

// Close drains until its context ends, then closes what is left and names it.
func TestCloseNamesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, scatter.PoolConfig[*conn]{})
		a, releaseA := get(t, p, "a")
		b, releaseB := get(t, p, "b")
		time.AfterFunc(time.Second, releaseA)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := p.Close(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Contains(t, err.Error(), "closed b while it was borrowed")
		assert.True(t, a.closed.Load() && b.closed.Load())
		releaseB() // late: must not close again
		assert.Equal(t, scatter.Stats{}, p.Stats())
	})
}

// OnError hears of a Close that failed.
func TestCloseErrorsAreTold(t *testing.T) {
	var told []sharding.ID
	p := pool(t, scatter.PoolConfig[*conn]{
		Close:   func(*conn) error { return errDown },
		OnError: func(id sharding.ID, err error) { assert.Same(t, errDown, err); told = append(told, id) },
	})
	_, release := get(t, p, "a")
	release()
	_, release = get(t, p, "b")
	p.Retain()
	release()
	assert.Equal(t, []sharding.ID{"a", "b"}, told)
}

// T40 under the race detector: borrowers never see a closed client while the
// membership changes, and every client is closed once in the end.
func TestPoolUnderChange(t *testing.T) {
	var mu sync.Mutex
	var all []*conn
	p := pool(t, scatter.PoolConfig[*conn]{Open: func(ctx context.Context, id sharding.ID) (*conn, error) {
		c, err := open(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
		return c, err
	}})
	var wg sync.WaitGroup
	ids := names(4)
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				c, release, err := p.Get(context.Background(), ids[(i+g)%4])
				if err != nil {
					if !errors.Is(err, scatter.ErrRetired) {
						t.Error(err)
					}
					continue
				}
				if c.closed.Load() {
					t.Error("closed while borrowed")
				}
				release()
			}
		})
	}
	for i := range 500 {
		p.Retain(ids[i%4], ids[(i+1)%4])
	}
	p.Retain(ids...)
	wg.Wait()
	require.NoError(t, p.Close(t.Context()))
	for _, c := range all {
		require.True(t, c.closed.Load())
	}
}
