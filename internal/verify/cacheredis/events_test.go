package cacheredis

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// pair are two nodes that have seen all keys.
func pair(t *testing.T, client func() redis.UniversalClient) (*source, []*cache.Cache[int, string]) {
	t.Helper()
	s := newSource(50)
	var nodes []*cache.Cache[int, string]
	for range 2 {
		nodes = append(nodes, node(t, client(), "pair", cache.Config[int, string]{Load: s.load, Policy: cache.Policy{TTL: time.Hour}}))
	}
	equal(t, s, nodes...)
	return s, nodes
}

// Whatever happens to the server, what is written before, while and after it is
// what all nodes read.
func TestNodesAgreeAfterEvents(t *testing.T) {
	for name, happen := range map[string]func(ctx context.Context, s *engine.Server, admin *redis.Client) error{
		"SCRIPT FLUSH": func(ctx context.Context, _ *engine.Server, admin *redis.Client) error {
			return admin.ScriptFlush(ctx).Err()
		},
		"FLUSHALL": func(ctx context.Context, _ *engine.Server, admin *redis.Client) error {
			return admin.FlushAll(ctx).Err()
		},
		"CLIENT KILL": func(ctx context.Context, _ *engine.Server, admin *redis.Client) error {
			return admin.ClientKillByFilter(ctx, "SKIPME", "yes").Err()
		},
		"restart": func(ctx context.Context, s *engine.Server, _ *redis.Client) error { return s.Restart(ctx) },
		"kill -9": func(ctx context.Context, s *engine.Server, _ *redis.Client) error {
			if err := s.Kill(); err != nil {
				return err
			}
			return s.Restart(ctx)
		},
		"pause": func(_ context.Context, s *engine.Server, _ *redis.Client) error {
			time.AfterFunc(time.Second, func() { s.Resume() })
			return s.Pause()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := engine.Redis(t)
			s, nodes := pair(t, func() redis.UniversalClient { return clientOf(t, server.Addr()) })
			agree(t, s, nodes, func() { require.NoError(t, happen(t.Context(), server, clientOf(t, server.Addr()))) })
		})
	}
}

// agree writes some keys before, while and after something happens.
func agree(t *testing.T, s *source, nodes []*cache.Cache[int, string], happen func()) {
	t.Helper()
	write := func(key int) {
		s.values[key].Add(1)
		if err := nodes[key%2].Invalidate(t.Context(), key); err != nil {
			require.ErrorIs(t, err, cache.ErrPending)
		}
	}
	for key := range 10 {
		write(key)
	}
	happened := make(chan struct{})
	go func() {
		defer close(happened)
		happen()
	}()
	for key := 10; key < 20; key++ {
		write(key)
	}
	<-happened
	for key := 20; key < 30; key++ {
		write(key)
	}
	equal(t, s, nodes...)
}

// A failover loses what was not replicated; WaitReplicas and the check of the
// position keep nodes from missing invalidations by that.
func TestNodesAgreeAfterASentinelFailover(t *testing.T) {
	t.Parallel()
	primary := engine.Redis(t)
	engine.RedisReplica(t, primary)
	sentinel := engine.RedisSentinel(t, primary)
	s, nodes := pair(t, func() redis.UniversalClient {
		client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{sentinel.Addr()}, ContextTimeoutEnabled: true})
		t.Cleanup(func() { client.Close() })
		return client
	})
	agree(t, s, nodes, func() { require.NoError(t, primary.Kill()) })
}

func TestNodesAgreeOnACluster(t *testing.T) {
	t.Parallel()
	servers := engine.RedisCluster(t, 3, 1)
	s, nodes := pair(t, func() redis.UniversalClient {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{servers[0].Addr(), servers[1].Addr(), servers[2].Addr()}})
		t.Cleanup(func() { client.Close() })
		return client
	})
	agree(t, s, nodes, func() { require.NoError(t, servers[1].Kill()) })
	for key := range s.values {
		got, err := nodes[0].Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, strconv.FormatInt(s.values[key].Load(), 10), got)
	}
}
