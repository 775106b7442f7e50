package shop_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// Replicas come and go without a failed request, and all of them are used.
func TestProductsScaleFromOneToFiveAndBack(t *testing.T) {
	visit(t, func(v visitor) {
		time.Sleep(time.Second)
		count := func() (seen map[string]int) {
			seen = map[string]int{}
			for range 200 {
				a := v.do("GET", "gateway", "/api/products/P-1", "")
				require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
				seen[a.Header.Get("Cache-Status")[:len("products-1")]]++
			}
			return seen
		}
		assert.Equal(t, 1, len(count()))
		require.NoError(t, v.shop.Scale("products", 5))
		time.Sleep(time.Second)
		seen := count()
		assert.Equal(t, 5, len(seen), "%v", seen)
		require.NoError(t, v.shop.Scale("products", 2))
		assert.Equal(t, 2, len(count()))
		require.NoError(t, v.shop.Scale("products", 3))
		time.Sleep(time.Second)
		assert.Equal(t, 3, len(count()))
		assert.Error(t, v.shop.Scale("products", 6))
		assert.Error(t, v.shop.Scale("products", 0))
		assert.Error(t, v.shop.Scale("orders", 2))
	})
}

// A15: a replica dies, and two are left: nobody who may be sent twice fails.
func TestADeadReplicaFailsNoRequest(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.Scale("products", 3))
		time.Sleep(time.Second)
		require.NoError(t, v.shop.KillService("products-2"))
		killed := time.Now()
		for range 300 {
			a := v.do("GET", "gateway", "/api/products/P-1", "")
			require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
			time.Sleep(5 * time.Millisecond)
		}
		passing := v.do("GET", "registry", "/v1/health/service/products?passing=1", "").body
		assert.False(t, strings.Contains(passing, "products-2"), "%s", passing)
		assert.True(t, time.Since(killed) < 2*time.Second)
		require.NoError(t, v.shop.StartService("products-2"))
		time.Sleep(time.Second)
		assert.Contains(t, v.do("GET", "registry", "/v1/health/service/products?passing=1", "").body, "products-2")
	})
}

// A10, T16: a change is seen on every replica within 100 ms of its acknowledgement,
// through whichever replica it went; and whoever has seen a version never sees an
// older one, not even from a replica that lags.
func TestNobodySeesAVersionFall(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.Scale("products", 3))
		time.Sleep(time.Second)
		for round := range 5 {
			for i := range 3 {
				v.product(fmt.Sprintf("products-%d", i+1), "P-1") // all have it in L1
			}
			cents := 300 + round
			a := v.do("PATCH", fmt.Sprintf("products-%d", 1+round%3), "/products/P-1", fmt.Sprintf(`{"priceCents":%d}`, cents))
			require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
			version := a.Header.Get("X-Version")
			for i := range 3 { // at once, by who has seen the new version
				p, got := v.product(fmt.Sprintf("products-%d", i+1), "P-1", "X-Min-Version", version)
				require.Equal(t, http.StatusOK, got.StatusCode, "%s", got.body)
				assert.Equal(t, int64(cents), p.Data.Cents)
			}
			time.Sleep(100 * time.Millisecond)
			for i := range 3 { // later, by anybody
				p, _ := v.product(fmt.Sprintf("products-%d", i+1), "P-1")
				assert.Equal(t, int64(cents), p.Data.Cents)
			}
		}
	})
}

// A replica that cannot keep up says so after 100 ms, and the gateway asks another.
func TestAReplicaThatLagsSendsOthersToTheWriter(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.Scale("products", 2))
		time.Sleep(time.Second)
		v.inject("products-1", "blackhole", "path=/log") // the replica hears of nothing any more
		v.inject("cache", "blackhole")
		time.Sleep(time.Second)
		a := v.do("PATCH", "products-1", "/products/P-1", `{"priceCents":777}`)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
		begin := time.Now()
		_, got := v.product("products-2", "P-1", "X-Min-Version", a.Header.Get("X-Version"))
		assert.Equal(t, http.StatusServiceUnavailable, got.StatusCode)
		took := time.Since(begin)
		assert.True(t, took >= 100*time.Millisecond && took < 250*time.Millisecond, "%v", took) // and what L2 takes to be given up
		highest := 0
		for range 50 {
			a := v.do("GET", "gateway", "/api/products/P-1", "")
			require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
			version, err := strconv.Atoi(a.Header.Get("X-Version"))
			require.NoError(t, err)
			assert.True(t, version >= highest, "%d after %d", version, highest)
			highest = max(highest, version)
		}
		assert.Equal(t, 2, highest)
	})
}
