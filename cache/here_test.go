package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// hanging is a Remote whose next reads hang until their ctx ends.
type hanging struct {
	cache.Remote
	hangs, reads atomic.Int64
	deaf         bool // looks at deadlines alone, as go-redis does
}

func (h *hanging) Get(ctx context.Context, q []cache.Query, lease time.Duration) ([]cache.Record, error) {
	h.reads.Add(1)
	if h.hangs.Add(-1) >= 0 {
		if h.deaf {
			deadline, _ := ctx.Deadline()
			time.Sleep(time.Until(deadline))
			return nil, context.DeadlineExceeded
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Remote.Get(ctx, q, lease)
}

// withHanging opens a cache on a Remote that has a record of "a".
func withHanging(t *testing.T, src *source, p cache.Policy) (*store, *hanging) {
	t.Helper()
	cluster := cachetest.NewCluster(1)
	conf := config{Load: src.load, RemoteTimeout: 10 * time.Second, Policy: p}
	other, _ := node(t, cluster, conf)
	get(t, other, "a")
	get(t, other, "b")
	n := cluster.Node()
	h := &hanging{Remote: n}
	conf.Remote, conf.Bus = h, n
	c := open(t, conf)
	synctest.Wait()
	return c, h
}

// T24: who began a read of the Remote, and makes it itself, is a caller like any
// other: it leaves when its ctx ends, and the others get an answer all the same.
func TestCallerWhoReadsTheRemoteMayLeave(t *testing.T) {
	reads := map[string]func(ctx context.Context, c *store) error{
		"Get":     func(ctx context.Context, c *store) error { _, err := c.Get(ctx, "a"); return err },
		"GetMany": func(ctx context.Context, c *store) error { _, err := c.GetMany(ctx, []string{"a", "b"}); return err },
		"Lookup":  func(ctx context.Context, c *store) error { _, err := c.Lookup(ctx, "a"); return err },
	}
	for name, read := range reads {
		bubble(t, func(t *testing.T) {
			src := newSource("a", "1", "b", "1")
			c, h := withHanging(t, src, cache.Policy{TTL: time.Hour})
			h.hangs.Store(1)
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("client hung up")
			left, begun := make(chan error), time.Now()
			go func() { left <- read(ctx, c) }()
			synctest.Wait()
			waiter := async(t.Context(), c, "a")
			synctest.Wait()
			cancel(cause)
			assert.ErrorIs(t, <-left, cause, "%s", name)
			assert.Equal(t, time.Duration(0), time.Since(begun), "%s", name)
			assert.Equal(t, "1", (<-waiter).value, "%s", name)
			assert.Equal(t, int64(2), src.loads.Load(), "%s: those of the other node", name)
			assert.Equal(t, int64(0), c.Stats().RemoteErrors, "%s: a caller who leaves is no failure", name)
		})
	}
}

// T25, T37: its deadline reaches the Remote, and if nobody else waits, the read is
// over with it and the slot is free.
func TestDeadlineOfTheOnlyCallerEndsTheRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1", "b", "1")
		c, h := withHanging(t, src, cache.Policy{TTL: time.Hour})
		h.hangs.Store(1)
		h.deaf = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := <-async(ctx, c, "a")
		assert.ErrorIs(t, late.err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, late.took)
		assert.Equal(t, int64(0), c.Stats().RemoteErrors)
		synctest.Wait()
		h.reads.Store(0)
		time.Sleep(time.Second)
		assert.Equal(t, int64(0), h.reads.Load(), "nobody reads on")
		assert.Equal(t, "1", get(t, c, "a"))
		assert.Equal(t, int64(1), h.reads.Load())
	})
}

// SoftTimeout holds beside a Remote that hangs, too.
func TestSoftTimeoutDoesNotWaitForTheRemote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		src := newSource("a", "1", "b", "1")
		c, h := withHanging(t, src, cache.Policy{TTL: time.Second, StaleIfError: time.Hour, SoftTimeout: 50 * time.Millisecond})
		require.Equal(t, "1", get(t, c, "a"))
		time.Sleep(2 * time.Second)
		h.hangs.Store(1)
		got := <-async(t.Context(), c, "a")
		assert.Equal(t, outcome{value: "1", took: 50 * time.Millisecond}, got)

		synctest.Wait()
		require.Equal(t, "1", get(t, c, "b"))
		time.Sleep(2 * time.Second)
		h.hangs.Store(1)
		begun := time.Now()
		many, err := c.GetMany(t.Context(), []string{"b"})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"b": "1"}, many)
		assert.Equal(t, 50*time.Millisecond, time.Since(begun))
	})
}
