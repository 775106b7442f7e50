package shop_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/users"
	"github.com/keelson-go/keelson/examples/internal/token"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// first signs in Alice or Bob with what is printed at the start.
func (v visitor) first(id int) (bearer string) {
	v.t.Helper()
	return "Bearer " + v.signIn(fmt.Sprintf(`{"userId":%d,"secret":%q}`, id, users.FirstSecret(v.shop.Key(), id)))
}

// A14: who may do what.
func TestTheGatewayLetsEachDoWhatIsHis(t *testing.T) {
	visit(t, func(v visitor) {
		alice, bob := v.first(1), v.first(2)
		placed := v.do("POST", "gateway", "/api/orders?wait=1s", `{"userId":2}`, "Authorization", bob)
		bobs := placed.Header.Get("Location")
		for _, c := range []struct {
			method, path, body string
			nobody, alice, bob int
		}{
			{"GET", "/api/products", "", 200, 200, 200},
			{"GET", "/api/products/P-1", "", 200, 200, 200},
			{"GET", "/api/users", "", 200, 200, 200},
			{"POST", "/api/users", `{"name":"X"}`, 201, 201, 201},
			{"PATCH", "/api/products/P-1", `{"priceCents":300}`, 401, 403, 200},
			{"GET", "/api/orders?userId=1", "", 401, 200, 200},
			{"GET", "/api/orders?userId=2", "", 401, 403, 200},
			{"POST", "/api/orders", `{"userId":1}`, 401, 201, 201},
			{"POST", "/api/orders", `{"userId":2}`, 401, 403, 201},
			{"GET", bobs, "", 401, 403, 200},
			{"GET", bobs + "/history", "", 401, 403, 200},
			{"POST", bobs + "/return", "", 401, 403, 202},
			{"GET", "/api/wallet/1", "", 401, 200, 200},
			{"GET", "/api/wallet/2", "", 401, 403, 200},
			{"POST", "/api/wallet/2/withdrawals", `{"amountCents":1}`, 401, 403, 201},
			{"POST", "/api/stock/P-9", `{"add":1}`, 401, 403, 201},
			{"GET", "/api/stock", "", 401, 403, 200},
			{"GET", "/api/mail/dead", "", 401, 403, 200},
			{"GET", "/api/nothing", "", 404, 404, 404},
			{"PUT", "/api/orders", "", 405, 405, 405},
		} {
			for who, want := range map[string]int{"": c.nobody, alice: c.alice, bob: c.bob} {
				a := v.do(c.method, "gateway", c.path, c.body, "Authorization", who, "X-Role", "operator", "X-User-Id", "2")
				assert.Equal(t, want, a.StatusCode, "%s %s %.20s: %s", c.method, c.path, who, a.body)
				if want == 401 {
					assert.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
				}
				if who != "" && want < 400 {
					assert.Equal(t, "private", a.Header.Get("Cache-Control"))
				}
			}
		}
	})
}

// J1 to J7 at the gateway: one answer, whatever is wrong.
func TestATokenThatDoesNotHoldIsA401(t *testing.T) {
	visit(t, func(v visitor) {
		good := v.first(1)
		now := time.Now()
		sign := func(c token.Claims) string {
			keys, err := token.NewKeys("users", "gateway", v.shop.Key())
			require.NoError(t, err)
			text, err := keys.Sign(c)
			require.NoError(t, err)
			return "Bearer " + text
		}
		claims := token.Claims{Subject: "1", IssuedAt: token.At(now), Expires: token.At(now.Add(time.Minute)), Session: "1.made-up"}
		bodies := map[string]bool{}
		for name, bad := range map[string]string{
			"none": "", "another scheme": "Basic x", "changed": good[:len(good)-4] + "AAAA", "no session": sign(claims),
			"of nobody": sign(token.Claims{IssuedAt: token.At(now), Expires: token.At(now.Add(time.Minute)), Session: "1.x"}),
			"expired":   sign(token.Claims{Subject: "1", IssuedAt: token.At(now.Add(-time.Hour)), Expires: token.At(now.Add(-time.Minute)), Session: "1.x"}),
		} {
			a := v.do("GET", "gateway", "/api/orders?userId=1", "", "Authorization", bad)
			assert.Equal(t, http.StatusUnauthorized, a.StatusCode, name)
			bodies[strings.Split(a.body, `"traceId"`)[0]] = true
		}
		assert.Equal(t, 1, len(bodies), "%v", bodies)
		assert.Equal(t, 401, v.do("GET", "gateway", "/api/orders?userId=1&access_token="+strings.TrimPrefix(good, "Bearer "), "", "Authorization", "").StatusCode)
	})
}

// A session that has ended is no session; J9: one that has not outlives a gateway, and
// while users is out those who were signed in stay so.
func TestSessionsEndWhenTheyAreEnded(t *testing.T) {
	visitWith(t, impatient(t), func(v visitor) {
		time.Sleep(time.Second)
		alice := v.first(1)
		look := func() int {
			return v.do("GET", "gateway", "/api/orders?userId=1", "", "Authorization", alice).StatusCode
		}
		assert.Equal(t, 200, look())
		require.NoError(t, v.shop.RestartService("gateway"))
		assert.Equal(t, 200, look())
		require.NoError(t, v.shop.StopService("users"))
		time.Sleep(8 * time.Second) // beyond every life in the caches
		assert.Equal(t, 200, look(), "stale, and better than nothing")
		require.NoError(t, v.shop.StartService("users"))
		time.Sleep(5 * time.Second)
		assert.Equal(t, 200, look())
		claims, err := token.NewKeys("users", "gateway", v.shop.Key())
		require.NoError(t, err)
		c, err := claims.Verify(strings.TrimPrefix(alice, "Bearer "), time.Now())
		require.NoError(t, err)
		a := v.do("DELETE", "gateway", "/api/sessions/"+c.Session, "", "Authorization", alice)
		assert.Equal(t, http.StatusNoContent, a.StatusCode)
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, 401, look())
	})
}

// T23: the meter itself is tested beside it; here, that it is in force, per client.
func TestAHundredRequestsAMinute(t *testing.T) {
	visit(t, func(v visitor) {
		alice, bob := v.first(1), v.first(2)
		get := func(who string) answer {
			return v.do("GET", "gateway", "/api/products/P-1", "", "Authorization", who)
		}
		for range 100 {
			require.Equal(t, 200, get(alice).StatusCode)
		}
		a := get(alice)
		assert.Equal(t, http.StatusTooManyRequests, a.StatusCode)
		a.problem(t)
		assert.Equal(t, "60", a.Header.Get("Retry-After"))
		assert.Equal(t, 200, get(bob).StatusCode, "others are others")
		for range 110 { // the load of the demo is not metered
			require.Equal(t, 200, get("Bearer "+v.token).StatusCode)
		}
	})
}
