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

// A member to which nothing comes for long asks rarely and stays a member: it joins
// once, and what is published then is delivered at once and once.
func TestAMemberAtRestStaysOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network, memory := &wire.Pipe{}, messaging.NewMemory(messaging.Config{})
		memory.Declare("topic", "group")
		front := wire.NewNode(wire.Config{Name: "broker", Network: network, Settings: preset.Wire})
		var joins, polls atomic.Int64
		serve(t, network, front, "127.0.0.1:1", func(n *wire.Node) (*http.ServeMux, error) {
			inner, err := broker.NewFront(memory).Routes(n)
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/members":
					joins.Add(1)
				case r.Method == http.MethodGet:
					polls.Add(1)
				}
				inner.ServeHTTP(w, r)
			})
			return mux, err
		})
		service := wire.NewNode(wire.Config{
			Name: "service", Network: network, Settings: preset.Wire, Broker: broker.Dial,
			Peers: map[string][]wire.Instance{"broker": {{Name: "broker", URL: "http://127.0.0.1:1"}}},
		})
		came := make(chan time.Time, 10)
		serve(t, network, service, "127.0.0.1:2", func(n *wire.Node) (*http.ServeMux, error) {
			b := n.Broker()
			n.Go("work", func(ctx context.Context) error {
				return b.Subscribe(ctx, messaging.Subscription{Topics: []string{"topic"}, Group: "group"}, func(context.Context, messaging.Delivery) error {
					came <- time.Now()
					return nil
				})
			})
			return http.NewServeMux(), nil
		})
		time.Sleep(20 * time.Second)
		polls.Store(0)
		time.Sleep(time.Minute)
		assert.True(t, polls.Load() <= 16, "%d polls in a minute at rest", polls.Load())
		assert.Equal(t, int64(1), joins.Load())
		now := time.Now()
		require.NoError(t, memory.Publish(t.Context(), messaging.Message{ID: "1", Topic: "topic", Key: "k"}))
		assert.True(t, (<-came).Sub(now) < 10*time.Millisecond)
		time.Sleep(5 * time.Second)
		assert.Equal(t, 0, len(came))
		service.Stop(t.Context())
		front.Stop(t.Context())
	})
}
