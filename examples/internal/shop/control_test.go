package shop_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A service that was started again has closed the connections that control kept.
func TestControlReachesAServiceThatWasStartedAgain(t *testing.T) {
	var asked atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 { // on the connection of the first
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				assert.NoError(t, conn.Close())
			}
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer service.Close()
	client := service.Client()
	require.NoError(t, shop.Put(t.Context(), client, service.URL))
	assert.NoError(t, shop.Put(t.Context(), client, service.URL))
	assert.Equal(t, int64(3), asked.Load())
}
