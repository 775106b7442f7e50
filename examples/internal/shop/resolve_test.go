package shop_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/scenario"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T4: a compensation that cannot be done stops its saga and says why; the others go
// on, and a decision made as the page makes it ends the one that is stuck.
func TestAStuckSagaIsShownAndResolved(t *testing.T) {
	shoptest.Busy(t, 3*time.Second, func(t *testing.T, s *shop.Shop) {
		rule, err := fault.Parse("payments", []string{"refuse=100%", "path=/reservations/", "for=3s"})
		require.NoError(t, err)
		s.SetLoad(10, map[string]int{"browse": 1})
		time.Sleep(2 * time.Second)
		_, err = s.Inject(rule)
		require.NoError(t, err)
		_, err = s.Do(t.Context(), scenario.Action{Verb: "buy", Target: "P-9", N: 1})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, s.State().Sagas.Stuck)

		status, answer, err := s.Ask(t.Context(), "orders", http.MethodGet, "/_control/sagas?states=stuck", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		var stuck []struct{ ID, State, Step, Cause, Why string }
		require.NoError(t, json.Unmarshal(answer, &stuck))
		require.Equal(t, 1, len(stuck))
		assert.Equal(t, "stuck", stuck[0].State)
		assert.Equal(t, "payment", stuck[0].Step)
		assert.Contains(t, stuck[0].Cause, "sold out", "why it is undone")
		assert.Contains(t, stuck[0].Why, "on purpose", "and why it is not")

		decide := "/_control/sagas/" + stuck[0].ID + "/resolve"
		status, _, err = s.Ask(t.Context(), "orders", http.MethodPost, decide, []byte(`{"action":"retry"}`))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnprocessableEntity, status, "nobody has decided it")
		status, answer, err = s.Ask(t.Context(), "orders", http.MethodPost, decide, []byte(`{"action":"retry","by":"test","reason":"payment is well again"}`))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "%s", answer)
		time.Sleep(3 * time.Second)
		assert.Equal(t, 0, s.State().Sagas.Stuck)
		assert.Equal(t, uint64(1), s.State().Sagas.Compensated)
		s.Settle(t.Context())
		for name, lamp := range s.State().Lamps {
			assert.Equal(t, "ok", lamp.Status, "%s: %s", name, lamp.Detail)
		}
	})
}

// What control may do to a service is for control alone.
func TestControlIsForControlAlone(t *testing.T) {
	shoptest.Busy(t, 3*time.Second, func(t *testing.T, s *shop.Shop) {
		client := http.Client{Transport: &http.Transport{DialContext: s.Network().DialContext, DisableKeepAlives: true}}
		for _, path := range []string{"/_control/breakers/users/trip", "/_control/sagas/x/resolve"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL("orders")+path, nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, http.StatusNotFound, resp.StatusCode, "%s", path)
		}
		status, answer, err := s.Ask(t.Context(), "orders", http.MethodPost, "/_control/breakers/payments/hold", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "%s", answer)
		time.Sleep(5 * time.Second)
		assert.Equal(t, "open", shoptest.BreakerState(t, s, "orders/payments"), "held, and no probe closes it")
		_, _, err = s.Ask(t.Context(), "orders", http.MethodPost, "/_control/breakers/payments/release", nil)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		assert.Equal(t, "closed", shoptest.BreakerState(t, s, "orders/payments"))
	})
}
