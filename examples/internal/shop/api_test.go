package shop_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// visitor is a client of a shop without load, in fake time.
type visitor struct {
	t     *testing.T
	shop  *shop.Shop
	http  *http.Client
	token string // of Bob, who may do all, unmetered; sent to the gateway unless the test sends another
}

func visit(t *testing.T, test func(v visitor)) {
	t.Helper()
	visitWith(t, shop.Config{}, test)
}

// visitWith visits a shop that is as c says, but for where it runs.
func visitWith(t *testing.T, c shop.Config, test func(v visitor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network := &wire.Pipe{}
		c.Engines.Network, c.Seed = network, 1
		if c.Preset.Name == "" {
			c.Preset = preset
		}
		s, err := shop.Start(c)
		require.NoError(t, err)
		transport := &http.Transport{DialContext: network.DialContext}
		v := visitor{t: t, shop: s, http: &http.Client{Transport: transport}}
		v.token = v.signIn(`{"userId":2}`, "X-Shop-Secret", s.Secret())
		v.do("GET", "gateway", "/api/orders?userId=2", "") // the gateway knows the session from now on
		test(v)
		transport.CloseIdleConnections()
		s.Close()
	})
}

// impatient is a shop that gives up soon, for tests that wait until it does: fake time
// is not free of charge.
func impatient(t *testing.T) shop.Config {
	t.Helper()
	preset, err := shop.FindPreset("fast")
	require.NoError(t, err)
	preset.Wire.SagaDeadline, preset.Wire.SharedTTL = 6*time.Second, 6*time.Second
	require.NoError(t, preset.Validate())
	return shop.Config{Preset: preset}
}

// answer is what came back, body and all.
type answer struct {
	*http.Response
	body string
}

// signIn returns a token.
func (v visitor) signIn(body string, headers ...string) string {
	v.t.Helper()
	a := v.do("POST", "users", "/sessions", body, headers...)
	require.Equal(v.t, http.StatusCreated, a.StatusCode, "%s", a.body)
	var in struct{ Token string }
	require.NoError(v.t, json.Unmarshal([]byte(a.body), &in))
	return in.Token
}

func (v visitor) do(method, service, path, body string, headers ...string) answer {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.shop.URL(service)+path, strings.NewReader(body))
	require.NoError(v.t, err)
	if service == "gateway" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := v.http.Do(req)
	require.NoError(v.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	return answer{resp, string(text)}
}

// problem reads an error answer and checks what all of them have in common.
func (a answer) problem(t *testing.T) wire.Problem {
	t.Helper()
	var p wire.Problem
	assert.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(a.body), &p), "%s", a.body)
	assert.Equal(t, a.StatusCode, p.Status)
	assert.True(t, p.TraceID != "")
	return p
}

func TestAPI(t *testing.T) {
	visit(t, func(v visitor) {
		for _, c := range []struct {
			method, path, body string
			status             int
			say                string
		}{
			{"GET", "/api/users", "", 200, `[{"id":1,"name":"Alice"},{"id":2,"name":"Bob"}]`},
			{"GET", "/api/users?after=1&limit=1", "", 200, `[{"id":2,"name":"Bob"}]`},
			{"GET", "/api/users?limit=-1", "", 422, "limit"},
			{"GET", "/api/users/2", "", 200, `{"id":2,"name":"Bob"}`},
			{"GET", "/api/users/3", "", 404, "User not found"},
			{"GET", "/api/users/x", "", 404, "User not found"},
			{"POST", "/api/users", `{"name":"Carol","email":"carol@example.org"}`, 201, `{"id":3,"name":"Carol","email":"carol@example.org","secret":`},
			{"POST", "/api/users", `{"id":7,"name":"Mallory"}`, 422, `"fields":["id"]`},
			{"POST", "/api/users", `{"ID":7,"name":"Mallory"}`, 422, `"fields":["ID"]`},
			{"POST", "/api/users", `{"name":""}`, 422, `"fields":["name"]`},
			{"POST", "/api/users", `{"name":5}`, 422, `name must be a string, not number","fields":["name"]`},
			{"POST", "/api/users", `{"name":`, 400, "JSON object"},
			{"POST", "/api/users", `{"name":"` + strings.Repeat("x", 70<<10) + `"}`, 413, "64 KiB"},
			{"POST", "/api/orders?wait=2s", `{"userId":1}`, 201, `"userId":1,"status":"confirmed","totalCents":199`},
			{"GET", "/api/products/P-1", "", 200, `"data":{"sku":"P-1","name":"Teapot","priceCents":199,"version":1}`},
			{"GET", "/api/products/P-99", "", 404, "Product not found"},
			{"POST", "/api/orders", `{"userId":3}`, 201, `"userId":3`},
			{"POST", "/api/orders", `{"userId":99}`, 404, "User not found"},
			{"POST", "/api/orders", `{}`, 422, `"fields":["userId"]`},
			{"POST", "/api/orders", `{"userId":1,"id":"mine"}`, 422, `"fields":["id"]`},
			{"GET", "/api/orders/none", "", 404, "Order not found"},
			{"DELETE", "/api/users/1", "", 405, "GET, HEAD"},
			{"GET", "/api/bank", "", 404, "no such path"},
			{"GET", "/log", "", 404, "no such path"},
			{"GET", "/stats", "", 404, "no such path"},
			{"PUT", "/_control/faults", "[]", 404, "no such path"},
		} {
			a := v.do(c.method, "gateway", c.path, c.body)
			assert.Equal(t, c.status, a.StatusCode, "%s %s: %s", c.method, c.path, a.body)
			assert.Contains(t, a.body, c.say)
			if c.status >= 400 {
				a.problem(t)
			}
		}
	})
}

func TestAnOrderCanBeLookedAtWhereItsLocationSays(t *testing.T) {
	visit(t, func(v visitor) {
		made := v.do("POST", "gateway", "/api/orders?wait=1s", `{"userId":2}`)
		seen := v.do("GET", "gateway", made.Header.Get("Location"), "")
		assert.Equal(t, http.StatusOK, seen.StatusCode)
		assert.Equal(t, made.body, seen.body)
	})
}

// An order while users is down is refused with the time to come back, by each of
// the ways in which users can be down, and never with a 500.
func TestAnOrderWithoutUsersIsA503ThatSaysWhenToComeBack(t *testing.T) {
	for _, kind := range []string{"blackhole", "error=100%", "latency=2s", "stopped"} {
		t.Run(kind, func(t *testing.T) {
			visit(t, func(v visitor) {
				if kind == "stopped" {
					require.NoError(t, v.shop.StopService("users"))
				} else {
					rule, err := fault.Parse("users", []string{kind})
					require.NoError(t, err)
					_, err = v.shop.Inject(rule)
					require.NoError(t, err)
				}
				for range 20 {
					a := v.do("POST", "gateway", "/api/orders", `{"userId":1}`)
					assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode, "%s", a.body)
					assert.True(t, a.Header.Get("Retry-After") != "")
					assert.Equal(t, "users", a.Header.Get("X-Gave-Up"))
					a.problem(t)
				}
			})
		})
	}
}

// T9: a service that has given up is not asked again by the layer above it: ten
// orders are ten requests to orders, whatever became of them.
func TestRetriesDoNotMultiplyOverLayers(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.StopService("users"))
		for range 10 {
			v.do("POST", "gateway", "/api/orders", `{"userId":1}`, "Idempotency-Key", "k")
		}
		var stats wire.Stats
		require.NoError(t, json.Unmarshal([]byte(v.do("GET", "orders", "/stats", "").body), &stats))
		assert.Equal(t, uint64(11), stats.Requests, "and one when the visitor came")
	})
}

// T10: refusals of a callee that is itself well open no breaker.
func TestGivenUpAnswersOpenNoBreaker(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.StopService("users"))
		for range 50 {
			v.do("POST", "gateway", "/api/orders", `{"userId":1}`)
		}
		time.Sleep(time.Second) // until the collector has heard
		assert.Contains(t, string(v.shop.State().Breakers["gateway/orders"]), `"state":"closed"`)
		assert.Contains(t, string(v.shop.State().Breakers["orders/users"]), `"state":"open"`)
	})
}

// T11: each hop has less time than the one before it, whatever a client claims.
func TestRemainingTimeIsTheShopsOwnAtTheEntry(t *testing.T) {
	visit(t, func(v visitor) {
		a := v.do("GET", "gateway", "/api/users/1", "", "X-Timeout-Ms", "1")
		assert.Equal(t, http.StatusOK, a.StatusCode)
		a = v.do("GET", "users", "/users/1", "", "X-Timeout-Ms", "soon")
		assert.Equal(t, http.StatusBadRequest, a.StatusCode)
		// Of 5 ms orders keeps 5 for its own answer, so users is not even asked.
		a = v.do("POST", "orders", "/orders", `{"userId":1}`, "X-Timeout-Ms", "5")
		assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	})
}

// A burst beyond what the gateway can carry is told to come back, at once, while
// the requests that have a place are answered as ever.
func TestTheGatewayShedsABurst(t *testing.T) {
	visit(t, func(v visitor) {
		rule, err := fault.Parse("users", []string{"latency=200ms"})
		require.NoError(t, err)
		_, err = v.shop.Inject(rule)
		require.NoError(t, err)
		var served, shed atomic.Int64
		var wg sync.WaitGroup
		for range 400 {
			wg.Go(func() {
				start := time.Now()
				switch a := v.do("GET", "gateway", "/api/users/1", ""); a.StatusCode {
				case http.StatusOK:
					served.Add(1)
				case http.StatusServiceUnavailable:
					shed.Add(1)
					assert.Equal(t, "1", a.Header.Get("Retry-After"))
					assert.Equal(t, "gateway", a.Header.Get("X-Gave-Up"))
					assert.Equal(t, time.Duration(0), time.Since(start))
				default:
					t.Error(a.StatusCode, a.body)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, [2]int64{256, 144}, [2]int64{served.Load(), shed.Load()})
		assert.Equal(t, http.StatusOK, v.do("GET", "gateway", "/api/users/1", "").StatusCode, "all places are free again")
	})
}

func TestABrowseThatTimesOutIsA504(t *testing.T) {
	visit(t, func(v visitor) {
		rule, err := fault.Parse("users", []string{"blackhole", "path=/users"})
		require.NoError(t, err)
		_, err = v.shop.Inject(rule)
		require.NoError(t, err)
		a := v.do("GET", "gateway", "/api/users/1", "")
		assert.Equal(t, http.StatusGatewayTimeout, a.StatusCode)
		a.problem(t)
		assert.Equal(t, http.StatusOK, v.do("GET", "users", "/health", "").StatusCode, "the fault is on /users alone")
	})
}

func TestInjectedErrorsSayThatTheyAre(t *testing.T) {
	visit(t, func(v visitor) {
		rule, err := fault.Parse("users", []string{"error=100%", "status=501"})
		require.NoError(t, err)
		rule, err = v.shop.Inject(rule)
		require.NoError(t, err)
		a := v.do("GET", "users", "/users/1", "")
		assert.Equal(t, http.StatusNotImplemented, a.StatusCode)
		assert.Equal(t, rule.ID, a.Header.Get("X-Fault"))
		assert.True(t, strings.HasSuffix(a.problem(t).Type, "/injected"))
	})
}

func TestTheTraceIDIsTheShopsOwnAndStays(t *testing.T) {
	visit(t, func(v visitor) {
		a := v.do("POST", "gateway", "/api/orders", `{"userId":99}`, "X-Trace-Id", "made-up")
		assert.NotEqual(t, "made-up", a.Header.Get("X-Trace-Id"))
		assert.Equal(t, a.Header.Get("X-Trace-Id"), a.problem(t).TraceID)
	})
}

func TestARestartedServiceHasItsStoresAndTheFaultsInForce(t *testing.T) {
	visit(t, func(v visitor) {
		v.do("POST", "gateway", "/api/users", `{"name":"Carol"}`)
		rule, err := fault.Parse("users", []string{"error=100%", "path=/users/1"})
		require.NoError(t, err)
		_, err = v.shop.Inject(rule)
		require.NoError(t, err)
		require.NoError(t, v.shop.RestartService("users"))
		assert.Equal(t, http.StatusOK, v.do("GET", "users", "/users/3", "").StatusCode)
		a := v.do("POST", "gateway", "/api/users", `{"name":"Dave"}`)
		assert.Contains(t, a.body, `"id":103`, "the rest of the block is never used, and no id twice")
		assert.Equal(t, http.StatusInternalServerError, v.do("GET", "users", "/users/1", "").StatusCode)
	})
}

func TestHealthEndpoints(t *testing.T) {
	visit(t, func(v visitor) {
		for _, service := range []string{"gateway", "orders", "users"} {
			assert.Equal(t, http.StatusOK, v.do("GET", service, "/health", "").StatusCode)
			assert.Equal(t, http.StatusOK, v.do("GET", service, "/health/live", "").StatusCode)
			assert.Contains(t, v.do("GET", service, "/stats", "", "X-Shop-Secret", v.shop.Secret()).body, `"requests":`)
		}
	})
}

func TestTheGatewayKeepsToHTTP(t *testing.T) {
	visit(t, func(v visitor) {
		a := v.do("HEAD", "gateway", "/api/users", "")
		assert.Equal(t, http.StatusOK, a.StatusCode)
		assert.Equal(t, "", a.body)
		a = v.do("POST", "gateway", "/api/users/1", "{}")
		assert.Equal(t, http.StatusMethodNotAllowed, a.StatusCode)
		assert.Equal(t, "GET, HEAD", a.Header.Get("Allow"), "of what there is")
	})
}

// What a client may store decides how long an answer can get.
func TestAFullPageOfUsersIsWhole(t *testing.T) {
	visit(t, func(v visitor) {
		long := strings.Repeat("b", 253)
		assert.Equal(t, 422, v.do("POST", "gateway", "/api/users", `{"name":"x","email":"@`+long+`b"}`).StatusCode)
		for range 100 {
			v.do("POST", "gateway", "/api/users", `{"name":"`+strings.Repeat("\\u0000", 100)+`","email":"@`+long+`"}`)
		}
		var page []any
		require.NoError(t, json.Unmarshal([]byte(v.do("GET", "gateway", "/api/users?after=2", "").body), &page))
		assert.Equal(t, 100, len(page))
	})
}

// T10, the other half: clients that leave open no breaker either.
func TestClientsThatLeaveOpenNoBreaker(t *testing.T) {
	visit(t, func(v visitor) {
		rule, err := fault.Parse("users", []string{"latency=200ms"})
		require.NoError(t, err)
		_, err = v.shop.Inject(rule)
		require.NoError(t, err)
		for range 30 {
			ctx, cancel := context.WithCancel(v.t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			req, err := http.NewRequestWithContext(ctx, "POST", v.shop.URL("gateway")+"/api/orders", strings.NewReader(`{"userId":1}`))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+v.token)
			_, err = v.http.Do(req) //nolint:bodyclose // there is none
			require.Error(t, err)
		}
		time.Sleep(time.Second)
		for _, name := range []string{"gateway/orders", "orders/users"} {
			assert.Contains(t, string(v.shop.State().Breakers[name]), `"state":"closed"`)
			assert.Contains(t, string(v.shop.State().Breakers[name]), `"failed":0`)
		}
	})
}

// Whatever several people do to a service at once, what is in force at the end is
// what the page shows.
func TestFaultsAndRestartsAtOnceEndWell(t *testing.T) {
	visit(t, func(v visitor) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					rule, err := v.shop.Inject(fault.Rule{Target: "users", Kind: fault.Error, Share: 1, Status: 500})
					assert.NoError(t, err)
					assert.NoError(t, v.shop.RestartService("users"))
					assert.NoError(t, v.shop.ClearFault(rule.ID))
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 0, len(v.shop.State().Faults))
		assert.Equal(t, http.StatusOK, v.do("GET", "users", "/users/1", "").StatusCode)
	})
}
