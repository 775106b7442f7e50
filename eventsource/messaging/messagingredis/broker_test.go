package messagingredis_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/eventtest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/redis/go-redis/v9"
)

// connect returns a client of a node.
func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestRedisIsABroker(t *testing.T) {
	client := connect(t, engine.Redis(t).Addr())
	eventtest.TestBroker(t, eventtest.Caps{CrashCount: true, Late: true}, func(*testing.T) eventtest.Broker {
		return messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	})
}
