// Package shoptest starts shops for tests, in memory and in fake time.
package shoptest

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/require"
)

// Busy calls test with a shop under load, in fake time and on a network in memory, once
// the load has lasted for as long as warm says: every second of it costs the machine a
// tenth of one. The shop ends with the test, whose bubble fails if a goroutine is left.
func Busy(t *testing.T, warm time.Duration, test func(t *testing.T, s *shop.Shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		s, err := shop.Start(shop.Config{Engines: shop.Engines{Network: &wire.Pipe{}}, Preset: preset, Seed: 1, RPS: 50})
		require.NoError(t, err)
		defer s.Close()
		time.Sleep(warm)
		test(t, s)
	})
}

// BreakerState is what /state says of a breaker.
func BreakerState(t *testing.T, s *shop.Shop, name string) string {
	t.Helper()
	var b struct{ State string }
	require.NoError(t, json.Unmarshal(s.State().Breakers[name], &b))
	return b.State
}
