package shop_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func (v visitor) stats(service string) (s wire.Stats) {
	v.t.Helper()
	a := v.do("GET", service, "/stats", "", "X-Shop-Secret", v.shop.Secret())
	require.NoError(v.t, json.Unmarshal([]byte(a.body), &s))
	return s
}

// loads counts how often the store was read.
func (v visitor) loads() int {
	v.t.Helper()
	var cache map[string]struct {
		Query struct{ Loads int }
		Store struct{ Admitted int }
	}
	require.NoError(v.t, json.Unmarshal(v.stats("products").Sections["cache"], &cache))
	return cache["products-1"].Store.Admitted
}

// T12: each layer that is switched off is missed, and back when it is on again.
func TestEachLayerCanBeSwitchedOff(t *testing.T) {
	visit(t, func(v visitor) {
		time.Sleep(time.Second)
		layer := func() string {
			p, a := v.product("products", "P-1")
			require.Equal(t, 200, a.StatusCode, "%s", a.body)
			return p.Layer
		}
		set := func(name, value string) { require.NoError(t, v.shop.SetSwitch(name, value)) }
		layer()
		assert.Equal(t, "l1", layer())
		set("l1", "off")
		assert.Equal(t, "l2", layer())
		set("l2", "off")
		layer()
		assert.Equal(t, "query", layer())
		set("query-cache", "off")
		assert.Equal(t, "store", layer())
		set("l1", "on")
		layer()
		assert.Equal(t, "l1", layer())
		set("l2", "on")
		set("query-cache", "on")
		assert.Equal(t, "l1", layer())
	})
}

// A11: a thousand readers of a hot key that nobody has are one read of the store, and
// with coalescing off they are as many as the store can take.
func TestAThousandReadersAreOneRead(t *testing.T) {
	visit(t, func(v visitor) {
		time.Sleep(time.Second)
		stampede := func() int {
			before := v.loads()
			require.Equal(t, 200, v.do("POST", "products", "/_control/cache/invalidate", `{"key":"P-1"}`, "X-Shop-Secret", v.shop.Secret()).StatusCode)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					_, a := v.product("products", "P-1")
					assert.Equal(t, 200, a.StatusCode)
				})
			}
			wg.Wait()
			return v.loads() - before
		}
		assert.Equal(t, 1, stampede())
		require.NoError(t, v.shop.SetSwitch("coalescing", "off"))
		assert.True(t, stampede() > 50)
	})
}

// Chatty services make a call for each kind, and a sign-up that waits for the mail
// fails with the mailer.
func TestAntiPatternsShow(t *testing.T) {
	visit(t, func(v visitor) {
		calls := func() uint64 {
			before := v.stats("products").Requests
			v.do("POST", "orders", "/orders", `{"userId":1,"items":[{"sku":"P-1","qty":1},{"sku":"P-2","qty":1},{"sku":"P-3","qty":1}]}`)
			time.Sleep(time.Second)
			return v.stats("products").Requests - before
		}
		few := calls()
		require.NoError(t, v.shop.SetSwitch("chatty", "on"))
		assert.Equal(t, 3*few, calls())
		signUp := func() int {
			return v.do("POST", "users", "/users", `{"name":"U","email":"u@example.org"}`).StatusCode
		}
		require.NoError(t, v.shop.StopService("mailer"))
		assert.Equal(t, 201, signUp())
		require.NoError(t, v.shop.SetSwitch("sync-mail", "on"))
		assert.Equal(t, 503, signUp())
	})
}
