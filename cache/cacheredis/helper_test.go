package cacheredis_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

// names numbers the stores, so that each has keys of its own.
var names atomic.Int64

func newName() string { return fmt.Sprintf("test-%d", names.Add(1)) }

// connect returns a client of one node that keeps to deadlines.
func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func open(t *testing.T, client redis.UniversalClient, c cacheredis.Config) *cacheredis.Store {
	t.Helper()
	s, err := cacheredis.New(client, newName(), c)
	require.NoError(t, err)
	return s
}

// one starts a node and returns a client of it.
func one(t *testing.T) *redis.Client {
	t.Helper()
	return connect(t, engine.Redis(t).Addr())
}

// trips counts round trips of a client: each write of a command or a pipeline.
type trips struct{ n atomic.Int64 }

func (h *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmds)
	}
}
