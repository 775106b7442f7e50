package page_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// inSpan is what a number has gained in a second and a half.
func inSpan(s *shop.Shop, number func(collect.State) float64) float64 {
	before := number(s.State())
	time.Sleep(1500 * time.Millisecond)
	return number(s.State()) - before
}

func tries(s collect.State) float64    { return float64(s.Retry["gateway/products"].Attempts) }
func requests(s collect.State) float64 { return float64(s.Retry["gateway/products"].Requests) }
func rejected(s collect.State) (n float64) {
	var b struct{ Rejected float64 }
	_ = json.Unmarshal(s.Breakers["gateway/products-1"], &b) // 0 shows as 0
	return b.Rejected
}

func asked(layer string) func(collect.State) float64 {
	return func(s collect.State) float64 { return float64(s.Cache[layer].Hits + s.Cache[layer].Misses) }
}

// T12: every switch moves a number of its own in /state, and moves it back. A switch
// without effect is worse than none: it teaches that the pattern does nothing.
func TestEverySwitchShows(t *testing.T) {
	t.Parallel()
	sick := func(t *testing.T, s *shop.Shop) {
		rule, err := fault.Parse("products", []string{"error=100%"})
		require.NoError(t, err)
		_, err = s.Inject(rule)
		require.NoError(t, err)
	}
	off := func(names ...string) func(*testing.T, *shop.Shop) {
		return func(t *testing.T, s *shop.Shop) {
			for _, name := range names {
				require.NoError(t, s.SetSwitch(name, "off"))
			}
		}
	}
	ratio := func(t *testing.T, s *shop.Shop) float64 {
		r := requests(s.State())
		return inSpan(s, tries) / max(1, requests(s.State())-r)
	}
	for name, c := range map[string]struct {
		before  func(*testing.T, *shop.Shop)
		measure func(t *testing.T, s *shop.Shop) float64
		on, off func(v float64) bool // with the pattern, and without it
	}{
		"breakers": {
			sick, func(t *testing.T, s *shop.Shop) float64 { return inSpan(s, rejected) },
			func(v float64) bool { return v > 5 }, func(v float64) bool { return v == 0 },
		},
		"retries": {
			func(t *testing.T, s *shop.Shop) { sick(t, s); off("breakers", "budget")(t, s) }, ratio,
			func(v float64) bool { return v > 1.8 }, func(v float64) bool { return v < 1.1 },
		},
		"budget": {
			func(t *testing.T, s *shop.Shop) { sick(t, s); off("breakers")(t, s) }, ratio,
			func(v float64) bool { return v < 1.3 }, func(v float64) bool { return v > 1.8 },
		},
		"l1": {
			nil, func(t *testing.T, s *shop.Shop) float64 { return inSpan(s, asked("l1")) },
			func(v float64) bool { return v > 20 }, func(v float64) bool { return v == 0 },
		},
		"l2": {
			off("l1"), func(t *testing.T, s *shop.Shop) float64 { return inSpan(s, asked("l2")) },
			func(v float64) bool { return v > 20 }, func(v float64) bool { return v == 0 },
		},
		"query-cache": {
			off("l1", "l2"), func(t *testing.T, s *shop.Shop) float64 { return inSpan(s, asked("query")) },
			func(v float64) bool { return v > 20 }, func(v float64) bool { return v == 0 },
		},
		"coalescing": {
			nil, func(t *testing.T, s *shop.Shop) float64 {
				_, answer, err := s.Ask(t.Context(), "products", http.MethodPost, "/_control/cache/stampede", []byte(`{"key":"P-8"}`))
				var out struct{ Loads float64 }
				if err != nil || json.Unmarshal(answer, &out) != nil {
					return -1
				}
				return out.Loads
			},
			func(v float64) bool { return v >= 0 && v <= 2 }, func(v float64) bool { return v > 100 },
		},
		"sync-mail": {
			func(_ *testing.T, s *shop.Shop) { s.SetLoad(20, load.Mix{load.Signup: 1}) },
			func(t *testing.T, s *shop.Shop) float64 {
				before := mailerRequests(t, s)
				time.Sleep(1500 * time.Millisecond)
				return mailerRequests(t, s) - before
			},
			func(v float64) bool { return v > 10 }, func(v float64) bool { return v < 1 },
		},
		// Prices are asked for twice an order, by the handler and by the saga. Two orders of
		// three have two articles.
		"chatty": {
			func(_ *testing.T, s *shop.Shop) { s.SetLoad(20, load.Mix{load.Order: 5, load.Signup: 1}) },
			func(_ *testing.T, s *shop.Shop) float64 {
				orders := s.Totals()[load.Order].Sent
				asked := inSpan(s, func(s collect.State) float64 { return float64(s.Retry["orders/products"].Attempts) })
				return asked / max(1, float64(s.Totals()[load.Order].Sent-orders))
			},
			func(v float64) bool { return v > 2.6 }, func(v float64) bool { return v > 1.5 && v < 2.5 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			shoptest.Busy(t, time.Second, func(t *testing.T, s *shop.Shop) {
				if c.before != nil {
					c.before(t, s)
					time.Sleep(time.Second)
				}
				first := scenario.Switches()[name]
				holds := map[string]func(float64) bool{"on": c.on, "off": c.off}
				seen := []float64{}
				for _, value := range []string{first, opposite(first), first} {
					require.NoError(t, s.SetSwitch(name, value))
					time.Sleep(500 * time.Millisecond)
					v := c.measure(t, s)
					seen = append(seen, v)
					assert.True(t, holds[value](v), "%s is %s: %v", name, value, v)
					assert.Equal(t, value, s.State().Switches[name])
				}
				t.Logf("%s: %.2f", name, seen)
			})
		})
	}
	assert.Error(t, scenario.CheckSwitch("rain", "on"))
}

// mailerRequests is what the mailer itself counts, as GET /stats shows it.
func mailerRequests(t *testing.T, s *shop.Shop) float64 {
	t.Helper()
	status, answer, err := s.Ask(t.Context(), "mailer", http.MethodGet, "/stats", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	var stats struct{ Requests float64 }
	require.NoError(t, json.Unmarshal(answer, &stats))
	return stats.Requests
}

func opposite(value string) string {
	if value == "on" {
		return "off"
	}
	return "on"
}

// T12: a replica that lags says so, and catches up when the switch is off.
func TestReplicaLagShows(t *testing.T) {
	shoptest.Busy(t, 3*time.Second, func(t *testing.T, s *shop.Shop) {
		require.NoError(t, s.Scale("products", 2))
		time.Sleep(2 * time.Second)
		for _, value := range []string{"on", "off"} {
			require.NoError(t, s.SetSwitch("replica-lag", value))
			time.Sleep(100 * time.Millisecond)
			body := fmt.Appendf(nil, `{"priceCents":%d}`, 500+len(value))
			status, answer, err := s.Ask(t.Context(), "products-1", http.MethodPatch, "/products/P-1", body)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, "%s", answer)
			time.Sleep(time.Second)
			lag := s.State().Lag["replication/products-2"]
			assert.Equal(t, value == "on", lag > 500, "%s: %v ms", value, lag)
			time.Sleep(3 * time.Second)
			assert.Equal(t, 0.0, s.State().Lag["replication/products-2"])
		}
		assert.Equal(t, "ok", s.State().Lamps["lag"].Status, "a lag on purpose is no broken lamp")
	})
}
