package messagingredis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/eventsource/messaging/internal/brokertest"
	"github.com/keelson-go/keelson/eventsource/messaging/messagingredis"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// T37: a handler that runs longer than MinIdle is not run a second time by another
// member, and nothing that a group has not acknowledged is trimmed.
func TestLongHandlersKeepWhatTheyHold(t *testing.T) {
	client := connect(t, engine.Redis(t).Addr())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	sub := messaging.Subscription{Topics: []string{"t"}, Group: "g"}
	var runs atomic.Int32
	began, release, others := make(chan string, 8), make(chan struct{}), make(chan string, 64)
	brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		if d.ID == "long" {
			runs.Add(1)
			began <- d.ID
			<-release
		} else {
			others <- d.ID
		}
		return nil
	})
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "long", Topic: "t"}))
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	brokertest.Await(t, "the long handler runs", began)
	stop := brokertest.Join(t, b, sub, func(_ context.Context, d messaging.Delivery) error {
		if d.ID == "long" {
			runs.Add(1)
			began <- d.ID
		} else {
			others <- d.ID
		}
		return nil
	})
	// Three times MinIdle pass by the server's clock, and messages around it are
	// acknowledged and trimmed.
	begun, err := client.Time(t.Context()).Result()
	require.NoError(t, err)
	for i := 0; ; i++ {
		require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: fmt.Sprint(i), Topic: "t"}))
		brokertest.Await(t, "another message", others)
		now, err := client.Time(t.Context()).Result()
		require.NoError(t, err)
		if now.Sub(begun) > 3*time.Second {
			break
		}
	}
	first, err := client.XRangeN(t.Context(), "keelson:t", "-", "+", 1).Result()
	require.NoError(t, err)
	assert.Equal(t, any("long"), first[0].Values["id"])
	letGo()
	stop()
	assert.Equal(t, int32(1), runs.Load())
}

func TestAcknowledgedEntriesAreTrimmed(t *testing.T) {
	client := connect(t, engine.Redis(t).Addr())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: 100 * time.Millisecond})
	handled := make(chan string, 1024)
	for _, group := range []string{"one", "two"} {
		brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t"}, Group: group, Concurrency: 4}, func(_ context.Context, d messaging.Delivery) error {
			handled <- d.ID
			return nil
		})
	}
	for i := range 200 {
		require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: fmt.Sprint(i), Topic: "t"}))
	}
	for range 400 {
		brokertest.Await(t, "a delivery", handled)
	}
	deadline := time.Now().Add(brokertest.Patience)
	for {
		n, err := client.XLen(t.Context(), "keelson:t").Result()
		require.NoError(t, err)
		if n <= 1 {
			break
		}
		require.True(t, time.Now().Before(deadline), fmt.Sprint(n, " entries are left"))
		_, _ = client.BLPop(t.Context(), time.Second, "nothing").Result()
	}
}

// A server that is killed comes back with what it acknowledged, and members find
// their way back by themselves.
func TestMembersSurviveAKilledServer(t *testing.T) {
	server := engine.Redis(t)
	client := connect(t, server.Addr())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	handled := make(chan string, 4096)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t"}, Group: "g", Concurrency: 4}, func(_ context.Context, d messaging.Delivery) error {
		handled <- d.ID
		return nil
	})
	seen := map[string]int{}
	next := 0
	for round := range 3 {
		for range 50 {
			require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: fmt.Sprint(next), Topic: "t"}))
			next++
		}
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()), fmt.Sprint("round ", round))
	}
	for len(seen) < next {
		seen[brokertest.Await(t, fmt.Sprintf("%d of %d messages", len(seen), next), handled)]++
	}
}

func TestGroupIsMadeAgainAfterTheServerLostItsData(t *testing.T) {
	client := connect(t, engine.Redis(t).Addr())
	b := messagingredis.New(client, messagingredis.Config{MinIdle: time.Second})
	handled := make(chan string, 16)
	brokertest.Join(t, b, messaging.Subscription{Topics: []string{"t"}, Group: "g"}, func(_ context.Context, d messaging.Delivery) error {
		handled <- d.ID
		return nil
	})
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "before", Topic: "t"}))
	assert.Equal(t, "before", brokertest.Await(t, "a delivery", handled))
	require.NoError(t, client.FlushAll(t.Context()).Err())
	require.NoError(t, b.Publish(t.Context(), messaging.Message{ID: "after", Topic: "t"}))
	assert.Equal(t, "after", brokertest.Await(t, "a delivery", handled))
}

func TestBadSettingsPanic(t *testing.T) {
	assert.Contains(t, fmt.Sprint(assert.Panics(t, func() { messagingredis.New(nil, messagingredis.Config{}) })), "client")
	client := connect(t, "127.0.0.1:1")
	assert.Contains(t, fmt.Sprint(assert.Panics(t, func() { messagingredis.New(client, messagingredis.Config{MinIdle: 1}) })), "MinIdle")
}
