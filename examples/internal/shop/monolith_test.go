package shop_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/inventory"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// In a monolith an order is one append: it is there whole, or rejected, at once, and
// nothing is ever held.
func TestInAMonolithAnOrderIsOneAppend(t *testing.T) {
	visitWith(t, shop.Config{Mode: "monolith"}, func(v visitor) {
		o, a := v.buy(`{"userId":1,"address":"Quay 1"}`, "Idempotency-Key", "k")
		require.Equal(t, "confirmed", o.Status, "%s", a.body)
		again, a := v.buy(`{"userId":1,"address":"Quay 1"}`, "Idempotency-Key", "k")
		assert.Equal(t, o.ID, again.ID)
		assert.Equal(t, "true", a.Header.Get("Idempotent-Replayed"))
		o, _ = v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":1000}]}`)
		assert.Equal(t, [2]string{"rejected", "not enough money"}, [2]string{o.Status, o.Reason})
		v.do("POST", "inventory", "/stock/P-9", `{"add":10}`)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() { v.buy(fmt.Sprintf(`{"userId":%d,"items":[{"sku":"P-9","qty":1}]}`, 1+i%2)) })
		}
		wg.Wait()
		assert.Equal(t, inventory.Level{Added: 10, Shipped: 10}, v.stock("P-9"))
		v.balanced()
		assert.Equal(t, int64(199+10*999), v.ledger().Captured)
		before := v.do("GET", "payments", "/ledger", "").body
		require.NoError(t, v.shop.RestartService("payments"))
		assert.Equal(t, before, v.do("GET", "payments", "/ledger", "").body)
	})
}
