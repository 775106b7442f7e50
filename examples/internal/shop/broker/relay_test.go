package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/broker"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T26: a Relay does not overtake itself. The broker refuses one request of seven;
// the events of one key, so long that a batch of them takes several requests, are held
// by it in their order all the same. That some are held twice is allowed.
func TestARelayDoesNotOvertakeItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		preset.Wire.FailureRate = -1 // the breaker would make it a matter of patience
		network, memory, log := &wire.Pipe{}, messaging.NewMemory(messaging.Config{}), eventsource.NewMemory()
		memory.Declare("topic", "group")

		rule, err := fault.Parse("broker", []string{"error=15%", "path=/messages"})
		require.NoError(t, err)
		front := wire.NewNode(wire.Config{
			Name: "broker", Network: network, Settings: preset.Wire, Seed: 1,
			Faults: fault.Orders{Version: 1, Rules: []fault.Rule{rule}},
		})
		serve(t, network, front, "127.0.0.1:1", broker.NewFront(memory).Routes)
		service := wire.NewNode(wire.Config{
			Name: "service", Network: network, Settings: preset.Wire, Broker: broker.Dial,
			Peers: map[string][]wire.Instance{"broker": {{Name: "broker", URL: "http://127.0.0.1:1"}}},
		})
		serve(t, network, service, "127.0.0.1:2", func(n *wire.Node) (*http.ServeMux, error) {
			n.Relay("relay", log, eventsource.All(), "topic")
			return http.NewServeMux(), nil
		})

		const events = 200
		for i := range events {
			_, err := log.Append(t.Context(), []eventsource.Event{{
				ID: fmt.Sprintf("%03d", i), Stream: "key", Type: "Happened", Data: []byte(strings.Repeat("x", 6000)),
			}})
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var mu sync.Mutex
		var first []string
		copies := 0
		_ = memory.Subscribe(ctx, messaging.Subscription{Topics: []string{"topic"}, Group: "group"}, func(_ context.Context, d messaging.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if copies++; !slices.Contains(first, d.ID) {
				first = append(first, d.ID)
			}
			return nil
		})
		service.Stop(t.Context())
		front.Stop(t.Context())
		assert.True(t, slices.IsSorted(first), "%v", first)
		assert.Equal(t, events, len(first))
		assert.True(t, copies > events, "nothing was published again: the test has not seen a retry")
	})
}

// serve builds a service on a node and serves it.
func serve(t *testing.T, network wire.Network, n *wire.Node, addr string, build func(*wire.Node) (*http.ServeMux, error)) {
	t.Helper()
	ln, err := network.Listen(addr)
	require.NoError(t, err)
	mux, err := build(n)
	require.NoError(t, err)
	n.Serve(ln, mux)
}
