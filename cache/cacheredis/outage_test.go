package cacheredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

// broken is a store behind a proxy, and one that is not.
func broken(t *testing.T, c cacheredis.Config) (behind, direct *cacheredis.Store, proxy *engine.Proxy, server *engine.Server) {
	t.Helper()
	server = engine.Redis(t)
	proxy = engine.ProxyTo(t, server.Addr())
	name := newName()
	open := func(addr string) *cacheredis.Store {
		s, err := cacheredis.New(connect(t, addr), name, c)
		require.NoError(t, err)
		return s
	}
	return open(proxy.Addr()), open(server.Addr()), proxy, server
}

// T43: the reply of a Get that took a lease is lost, and so is the lease; others
// wait until it ends.
func TestLostReplyDelaysOthersByTheLease(t *testing.T) {
	behind, direct, proxy, _ := broken(t, cacheredis.Config{})
	look(t, behind, "other") // a connection is there
	require.NoError(t, proxy.Set(engine.Fault{Stall: engine.ToClient}))
	begun := time.Now()
	_, err := behind.Get(under(t, 100*time.Millisecond), []cache.Query{{Key: "a"}}, time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, look(t, direct, "a").Held, "the effect has come about")
	eventually(t, "the lost lease ends", func() bool {
		records, err := direct.Get(t.Context(), []cache.Query{{Key: "a"}}, time.Minute)
		require.NoError(t, err)
		return records[0].Token != 0
	})
	assert.True(t, time.Since(begun) >= time.Second)
}

// T43: when go-redis asks again by itself, the lease is known as its own.
func TestLostReplyIsMadeUpForByARetry(t *testing.T) {
	behind, direct, proxy, _ := broken(t, cacheredis.Config{})
	look(t, behind, "other")
	require.NoError(t, proxy.Set(engine.Fault{Stall: engine.ToClient}))
	tokens := make(chan uint64)
	go func() {
		records, err := behind.Get(under(t, 20*time.Second), []cache.Query{{Key: "a"}}, time.Minute)
		assert.NoError(t, err)
		tokens <- records[0].Token
	}()
	eventually(t, "the lease is taken", func() bool { return look(t, direct, "a").Held })
	proxy.Cut()
	require.NoError(t, proxy.Set(engine.Fault{}))
	token := <-tokens
	require.True(t, token != 0, "the second attempt gets the lease of the first")

	fill := cache.Fill{Key: "a", Data: []byte("x"), Version: 1, Token: token}
	require.True(t, put(t, direct, fill))
	assert.True(t, put(t, direct, fill), "nor is a fill refused that an earlier attempt has stored")
	invalidate(t, direct, cache.Message{Keys: []string{"a"}, Soft: true})
	assert.False(t, put(t, direct, fill))
}

// T44: an invalidation that took effect although it failed does so again.
func TestInvalidationMayBeRepeated(t *testing.T) {
	behind, direct, proxy, _ := broken(t, cacheredis.Config{})
	invalidate(t, behind, cache.Message{Clear: true}) // a connection is there, and knows the script
	require.True(t, put(t, behind, cache.Fill{Key: "a", Data: []byte("x"), Version: 1}))
	h := subscribe(t, direct, 0)
	head := h.next(t).Seq
	require.NoError(t, proxy.Set(engine.Fault{Stall: engine.ToClient}))
	m := cache.Message{Keys: []string{"a"}, Tags: []string{"t"}}
	_, err := behind.Invalidate(under(t, 100*time.Millisecond), m)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, uint64(0), look(t, direct, "a").Version)
	first := generations(t, direct, "t").Tags[0]

	require.NoError(t, proxy.Set(engine.Fault{}))
	again := invalidate(t, behind, m)
	assert.True(t, again.Generation > first)
	assert.Equal(t, again.Generation, generations(t, direct, "t").Tags[0], "what was stamped since is fenced too")
	assert.Equal(t, head+1, message(t, h).Seq)
	assert.True(t, again.Seq > head+1)
}

// message skips positions.
func message(t *testing.T, h *heard) cache.Message {
	t.Helper()
	for {
		if m := h.next(t); m.Keys != nil || m.Tags != nil || m.Clear {
			return m
		}
	}
}

// A server that hangs costs a call its deadline and no more, whether or not
// go-redis was told to look at deadlines.
func TestCallsEndWithTheirContext(t *testing.T) {
	server := engine.Redis(t)
	nodes := engine.RedisCluster(t, 3, 0)
	addrs := []string{nodes[0].Addr()}
	gone := context.Canceled
	for name, client := range map[string]redis.UniversalClient{
		"plain":           redis.NewClient(&redis.Options{Addr: server.Addr()}),
		"bounded":         redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}),
		"cluster":         redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs}),
		"bounded cluster": redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true}),
	} {
		t.Run(name, func(t *testing.T) {
			defer client.Close()
			s := open(t, client, cacheredis.Config{})
			// A node that was away for long, here or on a busy machine, has others say
			// CLUSTERDOWN for a while.
			eventually(t, "the key is served", func() bool {
				_, err := s.Get(t.Context(), []cache.Query{{Key: "a"}}, 0)
				return err == nil
			})
			for _, n := range append(nodes, server) {
				require.NoError(t, n.Pause())
				defer n.Resume()
			}
			begun := time.Now()
			_, err := s.Get(under(t, 100*time.Millisecond), []cache.Query{{Key: "a"}}, 0)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = s.Invalidate(under(t, 100*time.Millisecond), cache.Message{Keys: []string{"a"}})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			_, err = s.Generations(ctx, nil)
			assert.ErrorIs(t, err, gone)
			assert.True(t, time.Since(begun) < 2*time.Second, "took %v; ReadTimeout is 3 s", time.Since(begun))
		})
	}
}

// A Cluster client that knows where the key is and not yet what its commands are
// asks for them first, for up to 5 s.
func TestCallEndsWithItsContextOnAColdCluster(t *testing.T) {
	nodes := engine.RedisCluster(t, 3, 0)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ContextTimeoutEnabled: true})
	defer client.Close()
	s := open(t, client, cacheredis.Config{})
	_, err := client.MasterForKey(t.Context(), "a")
	require.NoError(t, err)
	for _, n := range nodes {
		require.NoError(t, n.Pause())
		defer n.Resume()
	}
	begun := time.Now()
	_, err = s.Get(under(t, 100*time.Millisecond), []cache.Query{{Key: "a"}}, 0)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, time.Since(begun) < 2*time.Second, "took %v", time.Since(begun))
}

func TestReplicasConfirmInvalidations(t *testing.T) {
	primary := engine.Redis(t)
	replica := engine.RedisReplica(t, primary)
	client := connect(t, primary.Addr())
	s := open(t, client, cacheredis.Config{WaitReplicas: 1})
	require.True(t, put(t, s, cache.Fill{Key: "a", Data: []byte("x"), Version: 1}))
	invalidate(t, s, cache.Message{Keys: []string{"a"}})
	require.NoError(t, replica.Pause())
	require.True(t, put(t, s, cache.Fill{Key: "a", Data: []byte("x"), Version: 1}), "fills need no confirmation")
	_, err := s.Invalidate(under(t, time.Second), cache.Message{Keys: []string{"a"}})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "0 of 1 replicas")
	require.NoError(t, replica.Resume())
	invalidate(t, s, cache.Message{Keys: []string{"a"}})
}
