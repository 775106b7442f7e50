package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// shopping runs the load against handler for some seconds of fake time, with sessions
// and products, and returns the generator once all is over.
func shopping(t *testing.T, c load.Config, span time.Duration, handler http.HandlerFunc) (g *load.Generator) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network, end := gateway(t, handler)
		c.Target, c.Network, c.Seed, c.Patience, c.Products = "http://127.0.0.1:8000", network, 1, 3*time.Second, true
		if c.Login == nil {
			c.Login = func(_ context.Context, user int, _ string) (string, error) { return fmt.Sprint("token-", user), nil }
		}
		g = load.New(c)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		time.Sleep(span)
		g.Settle(ctx)
		cancel()
		wg.Wait()
		end()
	})
	return g
}

// shop answers as the gateway does: sign-ups with ids that count up, an order per key,
// articles of version 1.
func shop() http.HandlerFunc {
	var mu sync.Mutex
	users, orders := 2, map[string]string{}
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/api/users":
			users++
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":%d,"secret":"s"}`, users)
		case r.Method == http.MethodPost:
			key := r.Header.Get("Idempotency-Key")
			if orders[key] == "" {
				orders[key] = fmt.Sprint("order-", len(orders))
			}
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":%q,"status":"confirmed","totalCents":10000}`, orders[key])
		case strings.HasPrefix(r.URL.Path, "/api/products/"):
			fmt.Fprint(w, `{"data":{"version":1},"ageMs":5}`)
		default:
			fmt.Fprint(w, `[]`)
		}
	}
}

func TestEveryCallIsInTheHistoryTwice(t *testing.T) {
	var history bytes.Buffer
	g := shopping(t, load.Config{RPS: 50, History: &history}, 10*time.Second, shop())
	require.NoError(t, g.Flush())
	begun, ended, orders := map[uint64]load.Record{}, 0, 0
	dec := json.NewDecoder(&history)
	for {
		var r load.Record
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if r.Type == load.Invoke {
			begun[r.Call] = r
			continue
		}
		ended++
		assert.Equal(t, load.OK, r.Type, "%+v", r)
		assert.Equal(t, begun[r.Call].Key, r.Key)
		if r.Op == load.Order {
			orders++
			assert.True(t, r.Key != "" && strings.HasPrefix(r.Order, "order-") && r.Status == "confirmed" && r.User > 0, "%+v", r)
		}
	}
	assert.InDelta(t, 500, float64(len(begun)), 2)
	assert.Equal(t, len(begun), ended)
	assert.True(t, orders > 100, "%d orders", orders)
}

// An answer that nobody got says nothing, a 4xx says no, and a 503 may hide an effect.
func TestTheHistoryKnowsWhatAnAnswerSays(t *testing.T) {
	for status, want := range map[int]string{201: load.OK, 422: load.Fail, 503: load.Unknown, 0: load.Unknown} {
		var history bytes.Buffer
		g := shopping(t, load.Config{RPS: 10, Mix: load.Mix{load.Order: 1}, History: &history}, time.Second, func(w http.ResponseWriter, _ *http.Request) {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, `{"type":"/problems/x","detail":"because"}`)
		})
		require.NoError(t, g.Flush())
		assert.Contains(t, history.String(), fmt.Sprintf(`"type":%q`, want), "%d", status)
		if status >= 400 {
			assert.Contains(t, history.String(), `"problem":"/problems/x: because"`)
		}
	}
}

// A16: what was refused or cut is sent again where that does no harm, and only there: an
// order bears a key, a sign-up does not. An answer is an answer, whatever it says.
func TestWhatGotNoAnswerIsSentAgain(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{} // by key, or path
	answer := shop()
	g := shopping(t, load.Config{RPS: 50, Mix: load.Mix{load.Order: 1, load.Browse: 1, load.Signup: 1}}, 4*time.Second, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		at := r.Method + r.URL.Path + r.Header.Get("Idempotency-Key")
		seen[at]++
		n := seen[at]
		mu.Unlock()
		switch {
		case r.Method == http.MethodPost && n%2 == 1:
			panic(http.ErrAbortHandler) // each order the first time, and every second sign-up
		case r.Method == http.MethodGet && n%2 == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			answer(w, r)
		}
	})
	totals := g.Totals()
	assert.Equal(t, uint64(0), totals[load.Order].Unserved(), "%+v", totals[load.Order].Counts)
	assert.InDelta(t, float64(totals[load.Signup].Sent)/2, float64(totals[load.Signup].Broken), 1)
	assert.InDelta(t, float64(totals[load.Browse].Sent)/2, float64(totals[load.Browse].Broken), float64(skus))
	assert.True(t, g.Resent() > 0, "the first on each connection; on one that has been used net/http does so itself")
	for at, n := range seen {
		if strings.HasPrefix(at, "POST/api/orders") {
			assert.True(t, n == 2 || n == 4, "%s came %d times", at, n) // 4: a repeat, as by a client who has lost the answer
		}
	}
}

const skus = 9 // articles and the list of them, each with a first look of its own

// A16: nobody at the door for half a second is a pause and no failure, also for what must
// not be sent twice, as nothing was sent.
func TestAShutDoorIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		g := load.New(load.Config{
			Target: "http://127.0.0.1:8000", Network: network, RPS: 50, Mix: load.Mix{load.Signup: 1, load.Order: 1}, Patience: 3 * time.Second,
			Login: func(context.Context, int, string) (string, error) { return "t", nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		time.Sleep(500 * time.Millisecond)
		ln, err := network.Listen("127.0.0.1:8000")
		require.NoError(t, err)
		server := &http.Server{Handler: shop(), ReadHeaderTimeout: time.Second}
		wg.Go(func() { _ = server.Serve(ln) })
		time.Sleep(time.Second)
		g.Settle(ctx)
		c := sum(g.Totals())
		assert.True(t, c.Sent == c.OK && c.Sent > 50, "%+v", c)
		cancel()
		require.NoError(t, server.Close())
		wg.Wait()
	})
}

// What no client should see is counted: a version that falls, an old answer that does
// not say so, two orders for one key.
func TestTheWitness(t *testing.T) {
	var n atomic.Int64
	lying := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost && r.URL.Path != "/api/users":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":"order-%d","status":"confirmed"}`, n.Add(1)) // another one each time
		case strings.HasPrefix(r.URL.Path, "/api/products/"):
			fmt.Fprintf(w, `{"data":{"version":%d},"ageMs":%d}`, 1+n.Add(1)%2, 90_000)
		default:
			shop()(w, r)
		}
	}
	w := shopping(t, load.Config{RPS: 50, FreshFor: time.Minute}, 10*time.Second, lying).Witness()
	assert.True(t, w.Falls > 10 && strings.Contains(w.LastFall, "version 1 after 2"), "%+v", w)
	assert.True(t, w.Unlabelled == w.Reads && w.Reads > 100, "%+v", w)
	assert.True(t, w.TwoForOne > 0 && strings.Contains(w.LastDoubled, "key load-1-"), "%+v", w)

	w = shopping(t, load.Config{RPS: 50, FreshFor: time.Minute}, 10*time.Second, shop()).Witness()
	assert.True(t, w.Falls == 0 && w.Unlabelled == 0 && w.TwoForOne == 0 && w.Reads > 100 && len(w.Promised) > 100, "%+v", w)
}

// T16: an answer that says it is stale is a fallback, and no complaint.
func TestALabelledStaleAnswerIsAFallback(t *testing.T) {
	g := shopping(t, load.Config{RPS: 50, FreshFor: time.Minute, Mix: load.Mix{load.Browse: 1}}, 4*time.Second, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"version":1},"ageMs":90000,"stale":true}`)
	})
	c := sum(g.Totals())
	assert.Equal(t, c.Sent, c.Fallback, "%+v", c)
	assert.Equal(t, uint64(0), g.Witness().Unlabelled)
}

// Who has spent nearly all buys no more, or his rejections would pass for faults.
// Everybody has a thousand, and an order costs a hundred here.
func TestNobodySpendsMoreThanHeHas(t *testing.T) {
	var mu sync.Mutex
	spent := map[float64]int{}
	answer := shop()
	shopping(t, load.Config{RPS: 50, Mix: load.Mix{load.Order: 4, load.Signup: 1}}, 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/orders" {
			var in struct{ UserID float64 }
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&in))
			assert.Equal(t, fmt.Sprint("Bearer token-", in.UserID), r.Header.Get("Authorization"))
			mu.Lock()
			spent[in.UserID] += 100
			mu.Unlock()
		}
		answer(w, r)
	})
	assert.True(t, len(spent) > 20, "%d customers", len(spent))
	for user, sum := range spent {
		assert.True(t, user == 1 || sum <= 1000, "customer %v has spent %d", user, sum)
	}
}

func TestABurstIsSentBesideTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flash, signups atomic.Int64
		answer := shop()
		network, end := gateway(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/orders" {
				body, _ := io.ReadAll(r.Body) //nolint:errcheck // a body in memory
				if strings.Contains(string(body), `"P-9"`) {
					flash.Add(1)
				}
			}
			if r.Method == http.MethodPost && r.URL.Path == "/api/users" {
				signups.Add(1)
			}
			answer(w, r)
		})
		g := load.New(load.Config{
			Target: "http://127.0.0.1:8000", Network: network, Patience: 3 * time.Second, Products: true,
			Login: func(context.Context, int, string) (string, error) { return "t", nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		g.Burst("P-9", 500)
		time.Sleep(3 * time.Second)
		assert.Equal(t, int64(500), flash.Load())
		assert.Equal(t, int64(100), signups.Load())
		cancel()
		wg.Wait()
		end()
	})
}

func TestMixes(t *testing.T) {
	m, err := load.ParseMix([]string{"browse=3", "order=1"})
	require.NoError(t, err)
	g := shopping(t, load.Config{RPS: 100, Mix: m}, 10*time.Second, shop())
	totals := g.Totals()
	assert.InDelta(t, 750, float64(totals[load.Browse].Sent), 60)
	assert.InDelta(t, 250, float64(totals[load.Order].Sent), 60)
	assert.Equal(t, uint64(0), totals[load.View].Sent+totals[load.Signup].Sent)
	for _, words := range [][]string{{"steal=1"}, {"browse"}, {"browse=-1"}, {"browse=0"}} {
		_, err := load.ParseMix(words)
		assert.Error(t, err, "%v", words)
	}
	assert.Error(t, g.SetMix(load.Mix{}))
	assert.Error(t, g.SetMix(load.Mix{"steal": 1}))
}
