package shop_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// forgetful is a shop whose sagas are soon forgotten.
func forgetful(t *testing.T) shop.Config {
	t.Helper()
	c := impatient(t)
	c.Preset.Wire.Keep = 4 * time.Second
	return c
}

// An order whose saga was stuck and given up by a person is over, also when its saga is
// forgotten and the client comes with it again: it would be paid for what it was told is
// not coming.
func TestAnOrderThatWasGivenUpIsNotStartedAnew(t *testing.T) {
	visitWith(t, forgetful(t), func(v visitor) {
		v.inject("shipping", "refuse=100%", "path=/shipments")
		v.inject("inventory", "refuse=100%", "path=/reservations/")
		first, a := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
		require.Equal(t, "pending", first.Status, "%s", a.body)
		time.Sleep(time.Second)
		secret := v.shop.Secret()
		sagas := "/_control/sagas"
		assert.Contains(t, v.do("GET", "orders", sagas+"?states=stuck", "", "X-Shop-Secret", secret).body, first.ID)
		a = v.do("POST", "orders", sagas+"/"+first.ID+"/resolve", `{"action":"abandon","by":"test","reason":"done by hand"}`, "X-Shop-Secret", secret)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
		v.clear()
		time.Sleep(10 * time.Second)
		require.Equal(t, "[]\n", v.do("GET", "orders", sagas+"?states=abandoned", "", "X-Shop-Secret", secret).body)

		again, a := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
		assert.Equal(t, first.ID, again.ID)
		assert.Equal(t, "true", a.Header.Get("Idempotent-Replayed"))
		time.Sleep(5 * time.Second)
		assert.Equal(t, int64(0), v.ledger().Captured)
		assert.Equal(t, "pending", v.order(first.ID).Status)
		assert.Equal(t, http.StatusNotFound, v.do("GET", "shipping", "/shipments/"+first.ID, "").StatusCode)
	})
}

// A key that comes with another address is another order's, for as long as the order is
// known: before and after its saga is forgotten, after a correction of its address, and
// if it never came to be more than a refusal.
func TestAKeyBelongsToOneAddress(t *testing.T) {
	visitWith(t, forgetful(t), func(v visitor) {
		try := func(key, address string) int {
			_, a := v.buy(`{"userId":1,"address":"`+address+`"}`, "Idempotency-Key", key)
			return a.StatusCode
		}
		v.inject("products", "error=100%")
		require.Equal(t, http.StatusCreated, try("given up", "Quay 1"))
		time.Sleep(10 * time.Second)
		v.clear()
		time.Sleep(5 * time.Second)
		require.NoError(t, v.shop.StopService("shipping"))
		o, _ := v.buy(`{"userId":1,"address":"Quay 1"}`, "Idempotency-Key", "corrected")
		tag := v.do("GET", "orders", "/orders/"+o.ID, "").Header.Get("ETag")
		a := v.do("PATCH", "orders", "/orders/"+o.ID, `{"address":"Quay 2"}`, "If-Match", tag)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
		require.NoError(t, v.shop.StartService("shipping"))
		for range 2 { // with the saga, without it
			time.Sleep(3 * time.Second)
			assert.Equal(t, [2]int{201, 422}, [2]int{try("corrected", "Quay 1"), try("corrected", "Quay 2")})
			assert.Equal(t, [2]int{201, 422}, [2]int{try("given up", "Quay 1"), try("given up", "Quay 2")})
			time.Sleep(10 * time.Second)
		}
		rejected, _ := v.buy(`{"userId":1,"address":"Quay 1"}`, "Idempotency-Key", "given up")
		assert.Equal(t, "rejected", rejected.Status)
	})
}

// Where no saga carries orders out, none was forgotten: nobody is told that a fresh order
// is too old.
func TestWithoutASagaThereIsNoReturn(t *testing.T) {
	for what, c := range map[string]shop.Config{"monolith": {Mode: "monolith"}, "choreography": {Saga: "choreography"}} {
		t.Run(what, func(t *testing.T) {
			visitWith(t, c, func(v visitor) {
				o, a := v.buy(`{"userId":1,"address":"Quay 1"}`, "Idempotency-Key", "k")
				require.Equal(t, "confirmed", o.Status, "%s", a.body)
				assert.Equal(t, http.StatusConflict, v.do("POST", "orders", "/orders/"+o.ID+"/return", "").StatusCode)
				assert.Equal(t, http.StatusConflict, v.do("GET", "orders", "/orders/"+o.ID+"/history", "").StatusCode)
				assert.Equal(t, http.StatusNotFound, v.do("POST", "orders", "/orders/nobody/return", "").StatusCode)
				_, a = v.buy(`{"userId":1,"address":"Quay 2"}`, "Idempotency-Key", "k")
				assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode, "another address")
			})
		})
	}
}
