package shop_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestClosingReturnsWithinTwoSecondsUnderABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		s, err := shop.Start(shop.Config{Engines: shop.Engines{Network: &wire.Pipe{}}, Preset: preset, Seed: 1, RPS: 200})
		require.NoError(t, err)
		rule, err := fault.Parse("users", []string{"blackhole"})
		require.NoError(t, err)
		_, err = s.Inject(rule)
		require.NoError(t, err)
		time.Sleep(700 * time.Millisecond)
		begin := time.Now()
		s.Close()
		assert.True(t, time.Since(begin) < 2*time.Second, "took %v", time.Since(begin))
	})
}
