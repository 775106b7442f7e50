package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second

func single(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func cluster(t *testing.T, nodes []*engine.Server) redis.UniversalClient {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestNewestClientIsABroker(t *testing.T) {
	t.Parallel()
	client := single(t, engine.Redis(t).Addr())
	eventtest.TestBroker(t, eventtest.Caps{CrashCount: true, Late: true}, func(*testing.T) eventtest.Broker {
		return messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	})
}

func TestClusterIsABroker(t *testing.T) {
	t.Parallel()
	client := cluster(t, engine.RedisCluster(t, 3, 0))
	eventtest.TestBroker(t, eventtest.Caps{CrashCount: true, Late: true}, func(*testing.T) eventtest.Broker {
		return messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	})
}

// What Publish has acknowledged arrives, and nothing stays pending, although the
// server is killed and started again under load, with handlers that fail.
func TestAcknowledgedMessagesSurviveAKilledServer(t *testing.T) {
	t.Parallel()
	server := engine.Redis(t)
	client := single(t, server.Addr())
	// The default syncs once a second, which loses the last second at a kill -9 of
	// the machine, not of the process.
	require.NoError(t, client.ConfigSet(t.Context(), "appendfsync", "always").Err())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	var mu sync.Mutex
	seen := map[string]bool{}
	news := make(chan struct{}, 1)
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	has := func(id string) bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[id]
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-news:
			case <-time.After(patience):
				t.Fatalf("within %v: %s", patience, what)
			}
		}
	}
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g", Concurrency: 4, MaxAttempts: -1, Backoff: func(int) time.Duration { return 10 * time.Millisecond }}
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	for range 2 {
		var n atomic.Int32
		background.Go(func() {
			_ = b.Subscribe(ctx, sub, func(_ context.Context, d messaging.Delivery) error {
				if n.Add(1)%5 == 0 {
					return errors.New("once in a while")
				}
				mu.Lock()
				seen[d.ID] = true
				mu.Unlock()
				select {
				case news <- struct{}{}:
				default:
				}
				return nil
			})
		})
	}
	var acknowledged []string
	publishing, stop := context.WithCancel(ctx)
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := 0; publishing.Err() == nil; i++ {
			id := fmt.Sprint(i)
			if b.Publish(publishing, messaging.Message{ID: id, Topic: "t", Key: fmt.Sprint("key-", i%16)}) == nil {
				acknowledged = append(acknowledged, id)
			}
		}
	}()
	for range 3 {
		before := count()
		until("load before the kill", func() bool { return count() >= before+200 })
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()))
	}
	before := count()
	until("load after the last kill", func() bool { return count() >= before+200 })
	stop()
	<-published
	for _, id := range acknowledged {
		until("message "+id, func() bool { return has(id) })
	}
	// Nothing is stuck: the group acknowledges all that it has been given.
	deadline := time.Now().Add(patience)
	for {
		pending, err := client.XPending(t.Context(), "keelson:t", "g").Result()
		require.NoError(t, err)
		if pending.Count == 0 {
			break
		}
		require.True(t, time.Now().Before(deadline), "%d messages are stuck", pending.Count)
		client.BLPop(t.Context(), time.Second, "nothing")
	}
	t.Logf("%d acknowledged, %d arrived", len(acknowledged), count())
}
