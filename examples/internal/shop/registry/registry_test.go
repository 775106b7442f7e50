package registry_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/registry"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A node at rest registers every other beat. If it fails its checks in between it is not
// given out, and it is again with the first check that it passes, not when it registers
// next; one that has not registered for long is dropped.
func TestWhoFailsBetweenTwoRegistrationsIsBackWithHisHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network := &wire.Pipe{}
		n := wire.NewNode(wire.Config{Name: "registry", Network: network, Settings: preset.Wire})
		mux, err := registry.New(n)
		require.NoError(t, err)
		ln, err := network.Listen("127.0.0.1:8500")
		require.NoError(t, err)
		n.Serve(ln, mux)
		defer n.Stop(t.Context())

		var ill atomic.Bool
		ln, err = network.Listen("127.0.0.1:3000")
		require.NoError(t, err)
		instance := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if ill.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})}
		go func() { _ = instance.Serve(ln) }()
		defer instance.Close()

		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}}
		ask := func(method, path, body string) []byte {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:8500/v1/"+path, strings.NewReader(body))
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
			return text
		}
		passing := func(query string) int {
			t.Helper()
			var found []registry.Found
			require.NoError(t, json.Unmarshal(ask(http.MethodGet, "health/service/users"+query, ""), &found))
			return len(found)
		}
		ask(http.MethodPut, "agent/service/register", fmt.Sprintf(
			`{"ID":"users","Name":"users","Address":"127.0.0.1","Port":3000,"Check":{"HTTP":"/health","Interval":%q,"Timeout":%q}}`,
			preset.HealthEvery, preset.HealthLimit))

		time.Sleep(2*wire.Rest - 2*time.Second) // it will register again in more than two seconds
		ill.Store(true)
		time.Sleep(2*time.Second + preset.HealthLimit)
		assert.Equal(t, 0, passing("?passing=1"))
		assert.Equal(t, 1, passing(""))
		ill.Store(false)
		time.Sleep(2 * preset.HealthEvery)
		assert.Equal(t, 1, passing("?passing=1"))

		ill.Store(true)
		time.Sleep(6 * wire.Rest)
		assert.Equal(t, 0, passing(""), "nobody has renewed it for long")
	})
}
