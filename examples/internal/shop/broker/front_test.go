package broker_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/broker"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// group is a broker, and a service that subscribes.
type group struct {
	memory         *messaging.Memory
	front, service *wire.Node
	joins, polls   atomic.Int64
}

// member runs a group in fake time, whose service handles what comes by handle.
func member(t *testing.T, handle messaging.Handler, test func(t *testing.T, g *group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network, g := &wire.Pipe{}, &group{memory: messaging.NewMemory(messaging.Config{})}
		g.memory.Declare("topic", "group")
		g.front = wire.NewNode(wire.Config{Name: "broker", Network: network, Settings: preset.Wire})
		serve(t, network, g.front, "127.0.0.1:1", func(n *wire.Node) (*http.ServeMux, error) {
			inner, err := broker.NewFront(g.memory).Routes(n)
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/members":
					g.joins.Add(1)
				case r.Method == http.MethodGet:
					g.polls.Add(1)
				}
				inner.ServeHTTP(w, r)
			})
			return mux, err
		})
		g.service = wire.NewNode(wire.Config{
			Name: "service", Network: network, Settings: preset.Wire, Broker: broker.Dial,
			Peers: map[string][]wire.Instance{"broker": {{Name: "broker", URL: "http://127.0.0.1:1"}}},
		})
		serve(t, network, g.service, "127.0.0.1:2", func(n *wire.Node) (*http.ServeMux, error) {
			b := n.Broker()
			n.Go("work", func(ctx context.Context) error {
				return b.Subscribe(ctx, messaging.Subscription{Topics: []string{"topic"}, Group: "group"}, handle)
			})
			return http.NewServeMux(), nil
		})
		time.Sleep(time.Second)
		test(t, g)
		g.service.Stop(t.Context())
		g.front.Stop(t.Context()) // also if the test has stopped it
	})
}

// A member to which nothing comes for long asks rarely and stays a member: it joins
// once, and what is published then is delivered at once and once.
func TestAMemberAtRestStaysOne(t *testing.T) {
	came := make(chan time.Time, 10)
	handle := func(context.Context, messaging.Delivery) error {
		came <- time.Now()
		return nil
	}
	member(t, handle, func(t *testing.T, g *group) {
		time.Sleep(20 * time.Second)
		g.polls.Store(0)
		time.Sleep(time.Minute)
		assert.True(t, g.polls.Load() <= 16, "%d polls in a minute at rest", g.polls.Load())
		assert.Equal(t, int64(1), g.joins.Load())
		now := time.Now()
		require.NoError(t, g.memory.Publish(t.Context(), messaging.Message{ID: "1", Topic: "topic", Key: "k"}))
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, len(came))
		assert.True(t, (<-came).Sub(now) < 10*time.Millisecond)
	})
}

// A handler that has taken long says what has become of its delivery while a long poll
// waits. That is a sign of life, and none that cuts the poll's time short.
func TestAVerdictDuringALongPollEndsNoMember(t *testing.T) {
	var handled atomic.Int64
	handle := func(context.Context, messaging.Delivery) error {
		time.Sleep(11200 * time.Millisecond)
		handled.Add(1)
		return nil
	}
	member(t, handle, func(t *testing.T, g *group) {
		require.NoError(t, g.memory.Publish(t.Context(), messaging.Message{ID: "1", Topic: "topic", Key: "k"}))
		time.Sleep(30 * time.Second)
		assert.Equal(t, int64(1), handled.Load())
		assert.Equal(t, int64(1), g.joins.Load())
	})
}

// A broker that stops lets nobody wait for what will not come any more.
func TestABrokerThatStopsAnswersThoseWhoWait(t *testing.T) {
	member(t, func(context.Context, messaging.Delivery) error { return nil }, func(t *testing.T, g *group) {
		time.Sleep(20 * time.Second) // the polls are long by now
		begin := time.Now()
		g.front.Stop(t.Context())
		assert.True(t, time.Since(begin) < 500*time.Millisecond, "%v", time.Since(begin)) // fake time: net/http looks now and then who is still there
	})
}
