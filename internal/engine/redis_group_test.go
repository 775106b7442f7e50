//go:build unix

package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// ask sends a command that any Redis server answers with one string.
func ask(t *testing.T, s *engine.Server, command ...string) string {
	t.Helper()
	opened := dial(t, s, openRedis).(*redisSession)
	reply, err := opened.do(command...)
	require.NoError(t, err)
	return reply
}

func TestRedisReplicaFollows(t *testing.T) {
	t.Parallel()
	primary := engine.Redis(t)
	require.NoError(t, dial(t, primary, openRedis).put("a", "x"))
	replica := engine.RedisReplica(t, primary)
	assert.Equal(t, "x", ask(t, replica, "GET", "a"))
}

func TestRedisSentinelReplacesTheDead(t *testing.T) {
	t.Parallel()
	primary := engine.Redis(t)
	replica := engine.RedisReplica(t, primary)
	sentinel := engine.RedisSentinel(t, primary)
	assert.Contains(t, ask(t, sentinel, "INFO", "sentinel"), "address="+primary.Addr())
	require.NoError(t, primary.Kill())
	deadline := time.Now().Add(time.Minute)
	for promoted := false; !promoted; {
		require.True(t, time.Now().Before(deadline), "the replica is not promoted")
		// A server that changes its role drops its connections.
		info, err := dial(t, replica, openRedis).(*redisSession).do("INFO", "replication")
		promoted = err == nil && strings.Contains(info, "role:master")
	}
}

func TestRedisClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	nodes := engine.RedisCluster(t, 3, 1)
	require.Equal(t, 6, len(nodes))
	for i, n := range nodes {
		info := ask(t, n, "CLUSTER", "INFO")
		assert.Contains(t, info, "cluster_state:ok")
		role := "role:master"
		if i >= 3 {
			role = "role:slave"
		}
		assert.Contains(t, ask(t, n, "INFO", "replication"), role)
	}
}
