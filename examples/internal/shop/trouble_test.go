package shop_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// steps are the calls to participants that an order makes, in their order.
var steps = []struct{ service, path string }{
	{"payments", "/reservations"},
	{"inventory", "/reservations"},
	{"shipping", "/shipments"},
	{"payments", "/reservations/"},
	{"inventory", "/reservations/"},
}

// T3: a step whose effect is there and whose answer is lost is neither done twice nor
// forgotten: repeated it is the same effect, and given up it is undone.
func TestAnEffectWithoutAnAnswerIsNeitherLostNorDoubled(t *testing.T) {
	t.Parallel()
	for i, step := range steps {
		t.Run(fmt.Sprintf("%d %s", i+1, step.service), func(t *testing.T) {
			visit(t, func(v visitor) { // for a moment
				v.inject(step.service, "drop=100%", "path="+step.path, "for=500ms")
				o, _ := v.buy(`{"userId":1}`)
				time.Sleep(3 * time.Second)
				assert.Equal(t, "confirmed", v.order(o.ID).Status)
				assert.Equal(t, int64(199), v.ledger().Captured)
				v.balanced()
			})
			if i > 2 { // behind the pivot it is repeated for as long as it takes
				return
			}
			visitWith(t, impatient(t), func(v visitor) { // for longer than an order may take
				v.inject(step.service, "drop=100%", "path="+step.path, "for=8s")
				o, _ := v.buy(`{"userId":1}`)
				time.Sleep(12 * time.Second)
				assert.Equal(t, "rejected", v.order(o.ID).Status)
				v.balanced()
			})
		})
	}
}

// A5, in one process: whoever is killed at whatever moment of an order, it ends as it
// should, with one capture or none.
func TestAKillAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	for i, service := range []string{"orders", "orders", "payments", "payments", "inventory", "shipping"} {
		style := visit
		if i%2 == 1 {
			style = dance
		}
		t.Run(service, func(t *testing.T) {
			style(t, func(v visitor) {
				time.Sleep(time.Second)
				v.inject("payments", "latency=20ms")
				v.inject("inventory", "latency=20ms")
				v.inject("shipping", "latency=20ms")
				var ids []string
				for i := range 6 { // in the n-th, n times 20 ms after its begin
					a := v.do("POST", "orders", "/orders", `{"userId":1}`)
					require.Equal(t, 201, a.StatusCode, "%s", a.body)
					ids = append(ids, a.Header.Get("Location"))
					time.Sleep(time.Duration(i) * 20 * time.Millisecond)
					require.NoError(t, v.shop.KillService(service))
					require.NoError(t, v.shop.StartService(service))
				}
				time.Sleep(6 * time.Second)
				for _, id := range ids {
					assert.Contains(t, v.do("GET", "orders", id, "").body, `"status":"confirmed"`)
				}
				assert.Equal(t, int64(6*199), v.ledger().Captured, "%s", service)
				v.balanced()
			})
		})
	}
}

// T4: an undo that fails for good makes its saga stuck, for somebody to see and
// decide; it does not hold up others, and it is not forgotten.
func TestAnUndoThatFailsIsNotGivenUpInSilence(t *testing.T) {
	visit(t, func(v visitor) {
		// Stock is refused, so payment is to be released, which is refused as well.
		v.inject("payments", "refuse=100%", "path=/reservations/")
		o, _ := v.buy(`{"userId":1,"items":[{"sku":"P-9","qty":1}]}`)
		time.Sleep(time.Second)
		assert.Equal(t, "pending", v.order(o.ID).Status)
		secret := []string{"X-Shop-Secret", v.shop.Secret()}
		stuck := v.do("GET", "orders", "/_control/sagas?states=stuck", "", secret...).body
		assert.Contains(t, stuck, o.ID)
		assert.Contains(t, v.do("GET", "orders", "/stats", "", secret...).body, `"stuck":1`)
		v.clear()
		other, _ := v.buy(`{"userId":1}`)
		assert.Equal(t, "confirmed", other.Status)
		a := v.do("POST", "orders", "/_control/sagas/"+o.ID+"/resolve", `{"action":"retry","by":"test","reason":"payments is well again"}`, secret...)
		assert.True(t, a.StatusCode < 300, "%s", a.body)
		time.Sleep(time.Second)
		assert.Equal(t, "rejected", v.order(o.ID).Status)
		v.balanced()
	})
}

// T30: an order whose POST died between saga and order event is there, and goes on.
func TestAnOrderThatWasPromisedIsThere(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.StopService("products"))
		o, a := v.buy(`{"userId":1}`) // the saga is started, and step 1 cannot be done
		require.Equal(t, 201, a.StatusCode)
		require.NoError(t, v.shop.KillService("orders"))
		require.NoError(t, v.shop.StartService("orders"))
		assert.Equal(t, "pending", v.order(o.ID).Status)
		require.NoError(t, v.shop.StartService("products"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, "confirmed", v.order(o.ID).Status)
		v.balanced()
	})
}

// T22: what is on its way is bounded; beyond it a customer is told to come back.
func TestUnfinishedOrdersAreBounded(t *testing.T) {
	preset, err := shop.FindPreset("fast")
	require.NoError(t, err)
	preset.Wire.MaxOrders = 50
	visitWith(t, shop.Config{Preset: preset}, func(v visitor) {
		require.NoError(t, v.shop.StopService("shipping"))
		accepted := 0
		for range 60 {
			if a := v.do("POST", "orders", "/orders", `{"userId":1}`); a.StatusCode == 201 {
				accepted++
			} else {
				assert.Equal(t, 503, a.StatusCode)
				assert.Equal(t, "1", a.Header.Get("Retry-After"))
			}
		}
		assert.Equal(t, 50, accepted)
	})
}
