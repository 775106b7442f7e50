package shoptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A breaker whose probe waits for a request that nobody makes is no work: the shop comes to
// rest all the same.
func TestAShopRestsWithABreakerHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network := &meter{requests: map[string]int{}}
		s, err := shop.Start(shop.Config{Engines: shop.Engines{Network: network}, Preset: preset, Seed: 1, RPS: 50})
		require.NoError(t, err)
		defer s.Close()
		time.Sleep(time.Second)
		rule, err := fault.Parse("users", []string{"error=100%"})
		require.NoError(t, err)
		_, err = s.Inject(rule)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.Equal(t, "open", shoptest.BreakerState(t, s, "orders/users"))
		s.SetLoad(0, nil)
		require.NoError(t, s.Clear("all"))
		time.Sleep(10 * time.Second)
		require.Equal(t, "half-open", shoptest.BreakerState(t, s, "orders/users"))
		network.take()

		time.Sleep(30 * time.Second)
		_, _, requests := network.take()
		assert.True(t, requests["POST /ingest"] > 0 && requests["POST /ingest"] <= 11*16, "telemetry: %d", requests["POST /ingest"])
		require.Equal(t, "half-open", shoptest.BreakerState(t, s, "orders/users"))
	})
}
