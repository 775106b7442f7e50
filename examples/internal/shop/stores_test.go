package shop_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A database per service: what is written lies in the directories of those who wrote
// it, there is nothing beside, and none can open another's.
func TestNoForeignStore(t *testing.T) {
	preset, err := shop.FindPreset("classic") // whose limits hold on a busy machine
	require.NoError(t, err)
	data := t.TempDir()
	s, err := shop.Start(shop.Config{Preset: preset, Data: data, FreePorts: true, Seed: 1})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL("orders")+"/orders?wait=5s", strings.NewReader(`{"userId":1}`))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusCreated, resp.StatusCode)
	s.Close()
	http.DefaultClient.CloseIdleConnections()

	var found []string
	for _, pattern := range []string{"*", "*/*"} {
		paths, err := filepath.Glob(filepath.Join(data, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			name, err := filepath.Rel(data, path)
			require.NoError(t, err)
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.True(t, info.IsDir(), name)
			found = append(found, filepath.ToSlash(name))
		}
	}
	assert.Equal(t, []string{
		"inventory", "mailer", "orders", "payments", "products", "shipping", "users",
		"inventory/events", "mailer/events", "orders/events", "orders/sagas", "payments/events", "products/events", "shipping/events",
		"users/shard-0", "users/shard-1", "users/shard-2", "users/shard-3",
	}, found)
	for _, part := range []string{"../payments/events", "/etc", ""} {
		_, err := shop.OpenStore(t.TempDir(), "orders", part)
		assert.Error(t, err, part)
	}
}
