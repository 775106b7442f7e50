package shop_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/products"
	"github.com/keelson-go/keelson/examples/internal/shop/registry"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func (v visitor) product(service, sku string, headers ...string) (products.Answer, answer) {
	v.t.Helper()
	a := v.do("GET", service, "/products/"+sku, "", headers...)
	var p products.Answer
	if a.StatusCode == http.StatusOK {
		require.NoError(v.t, json.Unmarshal([]byte(a.body), &p), "%s", a.body)
	}
	return p, a
}

// T16: every answer says which layer it comes from, and how old it is.
func TestAnAnswerSaysWhereItComesFrom(t *testing.T) {
	visit(t, func(v visitor) {
		time.Sleep(time.Second) // until the bus is linked: before, L1 is not trusted unseen
		layer := func() string {
			p, _ := v.product("products", "P-1")
			return p.Source + " " + p.Layer
		}
		assert.Equal(t, "store store", layer())
		assert.Equal(t, "cache l1", layer())
		time.Sleep(2 * time.Second)
		p, a := v.product("products", "P-1")
		assert.InDelta(t, 2000, p.AgeMs, 50)
		assert.Equal(t, "products-1-l1; hit", a.Header.Get("Cache-Status"))
		time.Sleep(4 * time.Second) // beyond the life in L1
		assert.Equal(t, "cache l2", layer())
		require.NoError(t, v.shop.RestartService("products"))
		assert.Equal(t, "cache l2", layer(), "what L2 has outlives the replica")
		require.NoError(t, v.shop.KillService("cache"))
		require.NoError(t, v.shop.RestartService("products"))
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, "store store", layer(), "without L2 the store answers")
	})
}

// A10, on one node: after an acknowledged change nobody sees the old price.
func TestAChangedPriceIsSeenAtOnce(t *testing.T) {
	visit(t, func(v visitor) {
		v.product("products", "P-1")
		a := v.do("PATCH", "products", "/products/P-1", `{"priceCents":250}`)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
		p, got := v.product("products", "P-1")
		assert.Equal(t, int64(250), p.Data.Cents)
		assert.Equal(t, "2", got.Header.Get("X-Version"))
		o, _ := v.buy(`{"userId":1}`)
		assert.Equal(t, int64(250), o.TotalCents)
		assert.Equal(t, http.StatusNotModified, v.do("GET", "products", "/products/P-1", "", "If-None-Match", got.Header.Get("ETag")).StatusCode)
		assert.Equal(t, http.StatusNotFound, v.do("PATCH", "products", "/products/P-99", `{"priceCents":250}`).StatusCode)
		assert.Equal(t, http.StatusUnprocessableEntity, v.do("PATCH", "products", "/products/P-1", `{"priceCents":0}`).StatusCode)
	})
}

// T8: a registry that starts again knows nobody; until it has heard of all, the lists
// that it gave before are good.
func TestARegistryThatLosesEverythingFailsNoRequest(t *testing.T) {
	visit(t, func(v visitor) {
		found := func() string { return v.do("GET", "registry", "/v1/health/service/users?passing=1", "").body }
		time.Sleep(time.Second)
		assert.Contains(t, found(), `"ID":"users"`)
		require.NoError(t, v.shop.KillService("registry"))
		for range 10 {
			o, _ := v.buy(`{"userId":1}`)
			assert.Equal(t, "confirmed", o.Status)
			time.Sleep(200 * time.Millisecond)
		}
		require.NoError(t, v.shop.StartService("registry"))
		for range 10 {
			o, _ := v.buy(`{"userId":1}`)
			assert.Equal(t, "confirmed", o.Status)
			time.Sleep(200 * time.Millisecond)
		}
		assert.Contains(t, found(), `"ID":"users"`)

		// A list without anybody is not believed: users is well, only its health is not.
		v.inject("users", "blackhole", "path=/health")
		time.Sleep(2 * time.Second)
		assert.Equal(t, "[]\n", found())
		o, _ := v.buy(`{"userId":1}`)
		assert.Equal(t, "confirmed", o.Status)
		v.clear()
		require.NoError(t, v.shop.StopService("users"))
		assert.Equal(t, "[]\n", found(), "who stops signs off")
	})
}

func TestTheRegistryAsksForHealth(t *testing.T) {
	visit(t, func(v visitor) {
		time.Sleep(time.Second)
		v.inject("shipping", "blackhole")
		time.Sleep(2500 * time.Millisecond) // it is at rest, and asked every two seconds
		passing := v.do("GET", "registry", "/v1/health/service/shipping?passing=1", "").body
		assert.Equal(t, "[]\n", passing)
		all := v.do("GET", "registry", "/v1/catalog/service/shipping", "").body
		assert.Contains(t, all, `"ServiceID":"shipping"`)
		v.clear()
		time.Sleep(time.Second)
		assert.Contains(t, v.do("GET", "registry", "/v1/health/service/shipping?passing=1", "").body, `"Status":"passing"`)
		for _, bad := range []string{`{`, `{"Name":""}`, `{"Name":"x","Address":"example.org","Port":1}`, `{"Name":"x","Address":"127.0.0.1"}`} {
			a := v.do("PUT", "registry", "/v1/agent/service/register", bad)
			assert.True(t, a.StatusCode == 400 || a.StatusCode == 422, "%d", a.StatusCode)
		}
	})
}

// A registry that is not the shop's own is used like it: here the same service, on a
// node of its own.
func TestAnotherRegistryServesAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network := &wire.Pipe{}
		n := wire.NewNode(wire.Config{Name: "consul", Network: network, Settings: preset.Wire})
		mux, err := registry.New(n)
		require.NoError(t, err)
		ln, err := network.Listen("127.0.0.1:18500")
		require.NoError(t, err)
		n.Serve(ln, mux)
		s, err := shop.Start(shop.Config{
			Engines: shop.Engines{Network: network}, Preset: preset, Seed: 1, Registry: "http://127.0.0.1:18500",
		})
		require.NoError(t, err)
		time.Sleep(time.Second)
		v := visitor{t: t, shop: s, http: &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}}
		assert.Equal(t, "[]\n", v.do("GET", "registry", "/v1/health/service/users", "").body, "the own one has nothing to do")
		require.NoError(t, s.Scale("products", 2))
		time.Sleep(time.Second)
		found, err := v.http.Get("http://127.0.0.1:18500/v1/health/service/products?passing=1") //nolint:noctx // of a test
		require.NoError(t, err)
		text, err := io.ReadAll(found.Body)
		require.NoError(t, err)
		found.Body.Close()
		assert.Contains(t, string(text), "products-2")
		s.Close()
		v.http.CloseIdleConnections()
		n.Stop(t.Context())
	})
}
