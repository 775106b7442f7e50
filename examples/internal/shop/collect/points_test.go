package collect_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T28: the charts have five points a second under load and one at rest, and two minutes
// of either.
func TestPointsAreOfTwoMinutes(t *testing.T) {
	for rps, points := range map[int]int{1: 600, 0: 121} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
			defer cancel()
			g := load.New(load.Config{Network: &wire.Pipe{}, RPS: rps})
			c := collect.New(collect.Config{Run: "RUN", Load: g})
			c.Run(ctx)
			frames, err := c.Hub.Join("").Take()
			require.NoError(t, err)
			var doc struct{ Points []collect.Point }
			require.NoError(t, json.Unmarshal(frames[0].Data, &doc))
			assert.Equal(t, points, len(doc.Points), "%d rps", rps)
			span := doc.Points[len(doc.Points)-1].At - doc.Points[0].At
			assert.InDelta(t, 120_000, float64(span), 1000)
		})
	}
}
