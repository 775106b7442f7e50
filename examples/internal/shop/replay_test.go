package shop_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A13: every read model of the shop, folded anew from zero while orders come in, some of
// which are undone, is what it was.
func TestEveryProjectionIsTheFoldOfItsLog(t *testing.T) {
	shoptest.Busy(t, 3*time.Second, func(t *testing.T, s *shop.Shop) {
		rule, err := fault.Parse("shipping", []string{"refuse=30%"})
		require.NoError(t, err)
		_, err = s.Inject(rule)
		require.NoError(t, err)
		require.NoError(t, s.Scale("products", 2))
		time.Sleep(3 * time.Second)
		names := slices.Sorted(maps.Keys(s.State().Projections))
		events := map[string]int{}
		for _, name := range names {
			service, projection, _ := strings.Cut(name, "/")
			path := "/_control/projections/" + url.PathEscape(projection) + "/rebuild"
			status, answer, err := s.Ask(t.Context(), service, http.MethodPost, path, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, "%s: %s", name, answer)
			var out wire.Rebuilt
			require.NoError(t, json.Unmarshal(answer, &out))
			assert.True(t, out.Equal && out.Replay != "", "%s: %s", name, answer)
			events[name] = out.Events
		}
		t.Log(events)
		for _, name := range []string{"orders/orders", "payments/ledger", "inventory/stock", "mailer/mail", "users/users/shard-0"} {
			assert.True(t, events[name] > 0, "%s has %d events", name, events[name])
		}
		// The shop goes on with the models that it has now.
		require.NoError(t, s.Clear("all"))
		time.Sleep(8 * time.Second)
		for name, lamp := range s.State().Lamps {
			assert.Equal(t, "ok", lamp.Status, "%s: %s", name, lamp.Detail)
		}
	})
}

// A13: a wallet at version k is the fold of its first k events, for every k; so is what
// somebody gets who adds them up himself.
func TestAWalletAtAVersionIsTheFoldOfThatManyEvents(t *testing.T) {
	visit(t, func(v visitor) {
		for range 3 {
			v.buy(`{"userId":1}`)
		}
		v.do("POST", "payments", "/wallets/1/deposits", `{"amountCents":777}`)
		v.do("POST", "payments", "/wallets/1/withdrawals", `{"amountCents":50}`)
		synctest.Wait()
		var balance int64
		version := 0
		for line := range strings.Lines(v.do("GET", "payments", "/log", "").body) {
			var e struct {
				Type string
				Tags []string
				Data struct {
					Cents int64 `json:"amountCents"`
				}
			}
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			if !slices.Contains(e.Tags, "wallet:1") {
				continue
			}
			version++
			switch e.Type {
			case "MoneyDeposited", "PaymentReleased", "PaymentRefunded":
				balance += e.Data.Cents
			case "MoneyWithdrawn", "PaymentReserved":
				balance -= e.Data.Cents
			}
			a := v.do("GET", "payments", fmt.Sprintf("/wallets/1?version=%d", version), "")
			assert.Contains(t, a.body, fmt.Sprintf(`"balanceCents":%d,`, balance), "version %d, %s", version, e.Type)
		}
		assert.True(t, version >= 9, "%d events", version)
		assert.Contains(t, v.do("GET", "payments", "/wallets/1", "").body, fmt.Sprintf(`"balanceCents":%d,`, balance))
	})
}
