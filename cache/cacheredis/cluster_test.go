package cacheredis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cacheredis"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/redis/go-redis/v9"
)

// T23: among others the keys "", "}", "{a}b" and one of a megabyte.
func TestClusterKeepsTheContracts(t *testing.T) {
	nodes := engine.RedisCluster(t, 3, 0)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[1].Addr()}})
	defer client.Close()
	t.Run("remote", func(t *testing.T) {
		cachetest.TestRemote(t, func(t *testing.T) cache.Remote { return open(t, client, cacheredis.Config{}) })
	})
	t.Run("bus", func(t *testing.T) {
		cachetest.TestBus(t, func(t *testing.T) cache.Bus { return open(t, client, cacheredis.Config{}) })
	})
	t.Run("pubsub", func(t *testing.T) {
		cachetest.TestBus(t, func(t *testing.T) cache.Bus { return open(t, client, cacheredis.Config{PubSub: true}) })
	})
}

// T48: replicas lag, and what they say about leases and stamps is of the past.
func TestReplicasAreNeverAsked(t *testing.T) {
	nodes := engine.RedisCluster(t, 3, 1)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ReadOnly: true, RouteRandomly: true})
	defer client.Close()
	s := open(t, client, cacheredis.Config{WaitReplicas: 1})
	h := subscribe(t, s, 0)
	h.next(t)
	var queries []cache.Query
	for key := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		queries = append(queries, cache.Query{Key: key})
	}
	for _, n := range []int{1, len(queries)} {
		for range 20 {
			for _, lease := range []time.Duration{0, time.Minute} {
				_, err := s.Get(t.Context(), queries[:n], lease)
				require.NoError(t, err)
			}
			generations(t, s, "t")
			done := invalidate(t, s, cache.Message{Keys: []string{"a", "b", "c", "d"}, Tags: []string{"t"}})
			assert.Equal(t, done.Seq, message(t, h).Seq)
		}
	}
	h.next(t) // a beat
	for _, replica := range nodes[3:] {
		stats, err := connect(t, replica.Addr()).Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		for _, command := range []string{"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall_ro", "get", "mget", "getrange", "xread", "xrange"} {
			assert.False(t, strings.Contains(stats, "cmdstat_"+command+":"), "a replica has run %s", command)
		}
	}
}
