package check_test

import (
	"context"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/check"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestRunChecksOnceASecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		begin := time.Now()
		w.checker.Run(ctx)
		require.True(t, len(w.lamps) > 0)
		assert.Equal(t, begin.Add(3*time.Second).UnixMilli(), w.lamps[check.Load].CheckedAt)
	})
	inWorld(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 7500*time.Millisecond)
		defer cancel()
		begin := time.Now()
		w.atRest = true // every fourth second is enough
		w.checker.Run(ctx)
		assert.Equal(t, begin.Add(5*time.Second).UnixMilli(), w.lamps[check.Load].CheckedAt)
	})
}
