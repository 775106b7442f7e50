package shop_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/inventory"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// dance visits a shop whose services react to each other.
func dance(t *testing.T, test func(v visitor)) {
	t.Helper()
	visitWith(t, shop.Config{Saga: "choreography"}, test)
}

func TestAnOrderGoesItsWayByEvents(t *testing.T) {
	dance(t, func(v visitor) {
		o, a := v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":2}],"address":"Quay 1"}`, "Idempotency-Key", "k")
		assert.Equal(t, "confirmed", o.Status, "%s", a.body)
		v.balanced()
		assert.Equal(t, o.TotalCents, v.ledger().Captured)
		assert.Contains(t, v.do("GET", "shipping", "/shipments/"+o.ID, "").body, `"address":"Quay 1","status":"created"`)
		again, a := v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":2}],"address":"Quay 1"}`, "Idempotency-Key", "k")
		assert.Equal(t, o.ID, again.ID)
		assert.Equal(t, "true", a.Header.Get("Idempotent-Replayed"))
		_, a = v.buy(`{"userId":1}`, "Idempotency-Key", "k")
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		path, ok := v.shop.Trace().Get(o.ID)
		require.True(t, ok)
		assert.True(t, path.Done)
		var names []string
		for _, hop := range path.Hops {
			names = append(names, hop.Event)
		}
		assert.Equal(t, []string{
			"OrderCreated", "PaymentReserved", "StockReserved", "ShipmentCreated", "PaymentCaptured", "StockConfirmed", "OrderConfirmed",
		}, names)
	})
}

func TestARefusalIsTakenBackByEvents(t *testing.T) {
	dance(t, func(v visitor) {
		o, _ := v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":1000}]}`)
		assert.Equal(t, [2]string{"rejected", "not enough money"}, [2]string{o.Status, o.Reason})
		o, _ = v.buy(`{"userId":1,"items":[{"sku":"P-9","qty":1}]}`)
		assert.Equal(t, [2]string{"rejected", "P-9: sold out"}, [2]string{o.Status, o.Reason})
		time.Sleep(time.Second)
		v.balanced()
		path, _ := v.shop.Trace().Get(o.ID)
		assert.True(t, path.Done)
		assert.Equal(t, "StockRefused", path.Failed)
		assert.Equal(t, 0, len(path.Owed))
	})
}

func TestAFlashSaleByEvents(t *testing.T) {
	dance(t, func(v visitor) {
		v.do("POST", "inventory", "/stock/P-9", `{"add":20}`)
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() { v.buy(fmt.Sprintf(`{"userId":%d,"items":[{"sku":"P-9","qty":1}]}`, 1+i%2)) })
		}
		wg.Wait()
		time.Sleep(5 * time.Second)
		assert.Equal(t, inventory.Level{Added: 20, Shipped: 20}, v.stock("P-9"))
		v.balanced()
		assert.Equal(t, 0, len(v.shop.Trace().Open()))
	})
}

// T5, T6, T7 by events: whoever is away hears of it when he is back, once, whatever
// the broker does twice.
func TestOrdersByEventsBearWhatTheyMustBear(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct{ start, end func(v visitor) }{
		"late payments":  {kill("payments"), start("payments")},
		"late inventory": {kill("inventory"), start("inventory")},
		"late shipping":  {kill("shipping"), start("shipping")},
		"late orders":    {kill("shipping"), func(v visitor) { kill("orders")(v); start("shipping")(v); time.Sleep(time.Second); start("orders")(v) }},
		"everything three times": {
			func(v visitor) { v.inject("broker", "duplicate=3") }, visitor.clear,
		},
		"everything in another order": {
			func(v visitor) { v.inject("broker", "duplicate=2"); v.inject("broker", "reorder=20") }, visitor.clear,
		},
		"no broker": {kill("broker"), start("broker")},
		"a broker that hangs": {
			func(v visitor) { v.inject("broker", "blackhole=50%") }, visitor.clear,
		},
		"a broker that cuts off": {
			func(v visitor) { v.inject("broker", "drop=30%") }, visitor.clear,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dance(t, func(v visitor) {
				time.Sleep(time.Second)
				trouble.start(v)
				var ids []string
				for range 10 {
					a := v.do("POST", "orders", "/orders", `{"userId":1}`)
					require.Equal(t, http.StatusCreated, a.StatusCode, "%s", a.body)
					ids = append(ids, a.Header.Get("Location"))
				}
				time.Sleep(2 * time.Second)
				trouble.end(v)
				time.Sleep(4 * time.Second)
				for _, id := range ids {
					assert.Contains(t, v.do("GET", "orders", id, "").body, `"status":"confirmed"`)
				}
				assert.Equal(t, int64(10*199), v.ledger().Captured)
				v.balanced()
			})
		})
	}
}

func kill(service string) func(visitor) {
	return func(v visitor) { require.NoError(v.t, v.shop.KillService(service)) }
}

func start(service string) func(visitor) {
	return func(v visitor) { require.NoError(v.t, v.shop.StartService(service)) }
}
