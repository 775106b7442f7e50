package shop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/examples/internal/shop/inventory"
	"github.com/keelson-go/keelson/examples/internal/shop/payments"
	"github.com/keelson-go/keelson/examples/internal/shop/shoptest"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// order is what the tests look at of one.
type order struct {
	ID, Status, Reason, Message, Position string
	TotalCents                            int64
	Address                               string
}

// buy places an order with the order service and waits for the decision.
func (v visitor) buy(body string, headers ...string) (order, answer) {
	v.t.Helper()
	a := v.do("POST", "orders", "/orders?wait=2s", body, headers...)
	var o order
	if a.StatusCode == http.StatusCreated {
		require.NoError(v.t, json.Unmarshal([]byte(a.body), &o), "%s", a.body)
	}
	return o, a
}

func (v visitor) order(id string) (o order) {
	v.t.Helper()
	synctest.Wait() // until the read models have seen what has happened
	a := v.do("GET", "orders", "/orders/"+id, "")
	require.Equal(v.t, http.StatusOK, a.StatusCode, "%s", a.body)
	require.NoError(v.t, json.Unmarshal([]byte(a.body), &o))
	return o
}

func (v visitor) ledger() (l payments.Ledger) {
	v.t.Helper()
	synctest.Wait() // until the read models have seen what has happened
	require.NoError(v.t, json.Unmarshal([]byte(v.do("GET", "payments", "/ledger", "").body), &l))
	return l
}

func (v visitor) stock(sku string) inventory.Level {
	v.t.Helper()
	synctest.Wait() // until the read models have seen what has happened
	var out struct{ SKUs map[string]inventory.Level }
	require.NoError(v.t, json.Unmarshal([]byte(v.do("GET", "inventory", "/stock", "").body), &out))
	return out.SKUs[sku]
}

// balanced checks the two equations of the shop, and that nothing is held that no
// order still wants.
func (v visitor) balanced() {
	v.t.Helper()
	l := v.ledger()
	assert.Equal(v.t, l.Deposited-l.Withdrawn, l.Wallets+l.Held+l.Captured-l.Refunded, "money: %+v", l)
	assert.Equal(v.t, 0, l.Unbalanced)
	assert.Equal(v.t, []string{}, l.Negative)
	assert.Equal(v.t, int64(0), l.Held)
	for i := range 9 {
		s := v.stock(fmt.Sprintf("P-%d", i+1))
		assert.Equal(v.t, s.Initial+s.Added, s.OnHand+s.Reserved+s.Shipped, "stock: %+v", s)
		assert.True(v.t, s.OnHand >= 0 && s.Shipped >= 0)
		assert.Equal(v.t, 0, s.Reserved)
	}
}

func (v visitor) inject(target string, words ...string) {
	v.t.Helper()
	rule, err := fault.Parse(target, words)
	require.NoError(v.t, err)
	_, err = v.shop.Inject(rule)
	require.NoError(v.t, err)
}

func (v visitor) clear() { require.NoError(v.t, v.shop.Clear("all")) }

func TestAnOrderIsPaidAndShipped(t *testing.T) {
	visit(t, func(v visitor) {
		o, a := v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":2},{"sku":"P-3","qty":1}],"address":"Quay 1"}`)
		assert.Equal(t, "confirmed", o.Status, "%s", a.body)
		assert.Equal(t, int64(2*199+399), o.TotalCents)
		v.balanced()
		assert.Equal(t, o.TotalCents, v.ledger().Captured)
		assert.Equal(t, inventory.Level{Initial: 1000000, OnHand: 999998, Shipped: 2}, v.stock("P-1"))
		assert.Contains(t, v.do("GET", "shipping", "/shipments/"+o.ID, "").body, `"address":"Quay 1","status":"created"`)
		assert.Contains(t, v.do("GET", "payments", "/wallets/1", "").body, fmt.Sprintf(`"balanceCents":%d`, 100000-o.TotalCents))
		assert.Contains(t, v.do("GET", "orders", "/orders?userId=1", "").body, o.ID)
		assert.Contains(t, v.do("GET", "orders", "/orders/"+o.ID+"/history", "").body, `"step":"capture"`)
	})
}

func TestWhatCannotBePaidOrSuppliedIsRejectedWithTheReason(t *testing.T) {
	visit(t, func(v visitor) {
		o, _ := v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":1000}]}`)
		assert.Equal(t, [2]string{"rejected", "not enough money"}, [2]string{o.Status, o.Reason})
		o, _ = v.buy(`{"userId":1,"items":[{"sku":"P-1","qty":1},{"sku":"P-9","qty":1}]}`)
		assert.Equal(t, [2]string{"rejected", "P-9: sold out"}, [2]string{o.Status, o.Reason})
		_, a := v.buy(`{"userId":1,"items":[{"sku":"P-99","qty":1}]}`)
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		v.balanced()
	})
}

// A4: ten repeats of one Idempotency-Key are one order; another body under the same
// key is a mistake of the client.
func TestARepeatedOrderIsTheSameOrder(t *testing.T) {
	visit(t, func(v visitor) {
		first, _ := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
		for range 9 {
			o, a := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
			assert.Equal(t, first.ID, o.ID)
			assert.Equal(t, "confirmed", o.Status)
			assert.Equal(t, "true", a.Header.Get("Idempotent-Replayed"))
		}
		assert.Equal(t, int64(199), v.ledger().Captured)
		_, a := v.buy(`{"userId":1,"items":[{"sku":"P-2","qty":1}]}`, "Idempotency-Key", "k-1")
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		o, _ := v.buy(`{"userId":2}`, "Idempotency-Key", "k-1")
		assert.NotEqual(t, first.ID, o.ID, "a key is the client's own")
	})
}

// A20: the saga of an order is forgotten after a while, or the shop would grow for ever;
// what was promised is not.
func TestAnOrderOutlivesItsSaga(t *testing.T) {
	c := impatient(t)
	c.Preset.Wire.Keep = 4 * time.Second
	visitWith(t, c, func(v visitor) {
		first, _ := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
		sagas := func() string {
			return v.do("GET", "orders", "/_control/sagas?states=completed", "", "X-Shop-Secret", v.shop.Secret()).body
		}
		time.Sleep(time.Second) // its last step is on record a moment after the answer
		assert.Contains(t, sagas(), first.ID)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "[]\n", sagas())
		o, a := v.buy(`{"userId":1}`, "Idempotency-Key", "k-1")
		assert.Equal(t, first.ID, o.ID)
		assert.Equal(t, "confirmed", o.Status)
		assert.Equal(t, "true", a.Header.Get("Idempotent-Replayed"))
		assert.Equal(t, int64(199), v.ledger().Captured)
		_, a = v.buy(`{"userId":1,"items":[{"sku":"P-2","qty":1}]}`, "Idempotency-Key", "k-1")
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
		assert.Equal(t, "[]\n", sagas(), "no saga is started for what is done")
		assert.Equal(t, http.StatusGone, v.do("POST", "orders", "/orders/"+o.ID+"/return", "").StatusCode)
		assert.Equal(t, http.StatusGone, v.do("GET", "orders", "/orders/"+o.ID+"/history", "").StatusCode)
		assert.Equal(t, http.StatusNotFound, v.do("POST", "orders", "/orders/nobody/return", "").StatusCode)
		v.balanced()
	})
}

// T1: nothing is captured unless the parcel is on its way. When shipping stays out,
// money and goods go back.
func TestNothingIsTakenForWhatIsNotShipped(t *testing.T) {
	visitWith(t, impatient(t), func(v visitor) {
		v.inject("shipping", "error=100%", "path=/shipments", "for=8s")
		o, _ := v.buy(`{"userId":1}`)
		assert.Equal(t, "pending", o.Status)
		time.Sleep(14 * time.Second) // the deadline of the saga, and some for its undos
		o = v.order(o.ID)
		assert.Equal(t, "rejected", o.Status)
		assert.Equal(t, int64(0), v.ledger().Captured)
		v.balanced()
		assert.Contains(t, v.do("GET", "shipping", "/shipments/"+o.ID, "").body, `"status":"voided"`)
	})
}

// T2, A2: the last units are reserved and not compared: of 60 buyers of 20 units
// exactly 20 get one, and the others their money back.
func TestAFlashSaleSellsWhatIsThere(t *testing.T) {
	visit(t, func(v visitor) {
		assert.Equal(t, http.StatusCreated, v.do("POST", "inventory", "/stock/P-9", `{"add":20}`).StatusCode)
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				o, _ := v.buy(fmt.Sprintf(`{"userId":%d,"items":[{"sku":"P-9","qty":1}]}`, 1+i%2))
				mu.Lock()
				defer mu.Unlock()
				got[o.Status+" "+o.Reason]++
			})
		}
		wg.Wait()
		assert.Equal(t, map[string]int{"confirmed ": 20, "rejected P-9: sold out": 40}, got)
		assert.Equal(t, inventory.Level{Added: 20, Shipped: 20}, v.stock("P-9"))
		v.balanced()
	})
}

// T5: each participant bears a repeat, an undo that comes before the do, the do that
// comes after it, and an undo that comes twice.
func TestParticipantsBearRepeatsAndTheWrongOrder(t *testing.T) {
	for service, calls := range map[string]struct{ do, body, undo string }{
		"payments":  {"/reservations", `{"orderId":"o-1","userId":1,"amountCents":500}`, "/reservations/o-1"},
		"inventory": {"/reservations", `{"orderId":"o-1","items":[{"sku":"P-1","qty":1}]}`, "/reservations/o-1"},
		"shipping":  {"/shipments", `{"orderId":"o-1"}`, "/shipments/o-1"},
	} {
		t.Run(service, func(t *testing.T) {
			do := func(v visitor) int {
				return v.do("POST", service, calls.do, calls.body, "Idempotency-Key", "o-1/do").StatusCode
			}
			undo := func(v visitor) int {
				return v.do("DELETE", service, calls.undo, "", "Idempotency-Key", "o-1/do#undo").StatusCode
			}
			visit(t, func(v visitor) { // do, do, undo, undo, do
				assert.Equal(t, [5]int{201, 201, 200, 200, 201}, [5]int{do(v), do(v), undo(v), undo(v), do(v)},
					"a late repeat is told what the first was told, and has no effect")
				v.balanced()
			})
			visit(t, func(v visitor) { // undo, do, undo
				assert.Equal(t, [3]int{200, 409, 200}, [3]int{undo(v), do(v), undo(v)})
				v.balanced()
			})
			visit(t, func(v visitor) { // the same order under another key is no repeat
				require.Equal(t, 201, do(v))
				if service != "shipping" { // where it would be the same parcel
					assert.Equal(t, 409, v.do("POST", service, calls.do, calls.body, "Idempotency-Key", "other").StatusCode)
				}
				assert.Equal(t, 200, undo(v))
				v.balanced()
			})
		})
	}
}

// T7: a participant that starts late holds an order up and does not lose it.
func TestAServiceThatStartsLateIsWaitedFor(t *testing.T) {
	for _, late := range []string{"products", "payments", "inventory", "shipping"} {
		t.Run(late, func(t *testing.T) {
			visit(t, func(v visitor) {
				require.NoError(t, v.shop.StopService(late))
				o, a := v.buy(`{"userId":1}`)
				require.Equal(t, http.StatusCreated, a.StatusCode, "%s", a.body)
				assert.Equal(t, "pending", o.Status)
				time.Sleep(2 * time.Second)
				require.NoError(t, v.shop.StartService(late))
				time.Sleep(4 * time.Second)
				assert.Equal(t, "confirmed", v.order(o.ID).Status)
				v.balanced()
			})
		})
	}
}

// While the breaker of payments is open nobody waits for a payment: the order is
// taken, and confirmed later.
func TestOrdersArePendingAtOnceWhilePaymentsIsOut(t *testing.T) {
	visit(t, func(v visitor) {
		v.inject("payments", "blackhole", "path=/reservations")
		var last order
		var took time.Duration
		for range 20 {
			begin := time.Now()
			last, _ = v.buy(`{"userId":1}`)
			took = time.Since(begin)
			assert.Equal(t, "pending", last.Status)
			assert.Contains(t, last.Message, "Payment is delayed")
			assert.True(t, took <= 350*time.Millisecond, "%v", took)
		}
		assert.True(t, took <= 5*time.Millisecond, "%v with the breaker open", took)
		v.clear()
		time.Sleep(5 * time.Second)
		assert.Equal(t, "confirmed", v.order(last.ID).Status)
		v.balanced()
		assert.Equal(t, int64(20*199), v.ledger().Captured)
	})
}

func TestAReturnGivesEverythingBack(t *testing.T) {
	visit(t, func(v visitor) {
		o, _ := v.buy(`{"userId":1}`)
		assert.Equal(t, http.StatusAccepted, v.do("POST", "orders", "/orders/"+o.ID+"/return", "").StatusCode)
		time.Sleep(time.Second)
		assert.Equal(t, "returned", v.order(o.ID).Status)
		v.balanced()
		l := v.ledger()
		assert.Equal(t, [2]int64{199, 199}, [2]int64{l.Captured, l.Refunded})
		assert.Equal(t, 1000000, v.stock("P-1").OnHand)
		assert.Contains(t, v.do("GET", "shipping", "/shipments/"+o.ID, "").body, `"status":"recalled"`)
		rejected, _ := v.buy(`{"userId":1,"items":[{"sku":"P-9","qty":1}]}`)
		assert.Equal(t, http.StatusConflict, v.do("POST", "orders", "/orders/"+rejected.ID+"/return", "").StatusCode)
	})
}

func TestAnAddressIsCorrectedIfNobodyElseDid(t *testing.T) {
	visit(t, func(v visitor) {
		require.NoError(t, v.shop.StopService("shipping"))
		o, _ := v.buy(`{"userId":1,"address":"Quay 1"}`)
		path := "/orders/" + o.ID
		patch := func(match string) int {
			return v.do("PATCH", "orders", path, `{"address":"Quay 2"}`, "If-Match", match).StatusCode
		}
		tag := v.do("GET", "orders", path, "").Header.Get("ETag")
		assert.Equal(t, [4]int{428, 412, 200, 412}, [4]int{patch(""), patch(`"9"`), patch(tag), patch(tag)})
		require.NoError(t, v.shop.StartService("shipping"))
		time.Sleep(5 * time.Second)
		assert.Contains(t, v.do("GET", "shipping", "/shipments/"+o.ID, "").body, "Quay 2")
		assert.Equal(t, 409, patch(v.do("GET", "orders", path, "").Header.Get("ETag")))
	})
}

// A13: what a service has folded lives in its log: started again it is what it was,
// and every version of the past can be looked at.
func TestReplayFromZeroIsLive(t *testing.T) {
	visit(t, func(v visitor) {
		for range 3 {
			v.buy(`{"userId":1}`)
		}
		reads := []struct{ service, path string }{
			{"payments", "/ledger"}, {"payments", "/wallets/1"}, {"inventory", "/stock"}, {"orders", "/orders?userId=1"},
		}
		for _, r := range reads {
			synctest.Wait()
			before := v.do("GET", r.service, r.path, "").body
			require.NoError(t, v.shop.RestartService(r.service))
			time.Sleep(100 * time.Millisecond)
			assert.Equal(t, before, v.do("GET", r.service, r.path, "").body)
		}
		for version, cents := range []int{2: 100000, 3: 99801, 4: 99801, 5: 99602} {
			if version >= 2 {
				a := v.do("GET", "payments", fmt.Sprintf("/wallets/1?version=%d", version), "")
				assert.Contains(t, a.body, fmt.Sprintf(`"balanceCents":%d`, cents))
			}
		}
	})
}

// An order asks users and products at once: it waits for the slower one, and not for both.
func TestAnOrderWaitsForTheSlowerOfTwoAnswers(t *testing.T) {
	visit(t, func(v visitor) {
		v.inject("users", "latency=100ms")
		v.inject("products", "latency=150ms")
		begin := time.Now()
		a := v.do("POST", "orders", "/orders", `{"userId":1}`)
		assert.Equal(t, http.StatusCreated, a.StatusCode, "%s", a.body)
		assert.Equal(t, 160*time.Millisecond, time.Since(begin)) // products works for ten on what no cache has
		begin = time.Now()
		a = v.do("POST", "orders", "/orders", `{"userId":404}`)
		assert.Equal(t, http.StatusNotFound, a.StatusCode, "%s", a.body)
		assert.Equal(t, 100*time.Millisecond, time.Since(begin), "what an article costs is of no interest for a stranger")
	})
}

// While orders cannot reach users, what an article costs is not asked for: the order is
// refused anyway, and products would work for nobody.
func TestAnOrderThatIsRefusedAsksProductsNothing(t *testing.T) {
	visit(t, func(v visitor) {
		v.inject("users", "error=100%")
		order := func() {
			a := v.do("POST", "orders", "/orders", `{"userId":1}`)
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, "%s", a.body)
		}
		for range 5 {
			order()
		}
		asked := func() uint64 {
			time.Sleep(200 * time.Millisecond) // until it has been told
			require.Equal(t, "open", shoptest.BreakerState(t, v.shop, "orders/users"))
			return v.shop.State().Retry["orders/products"].Requests
		}
		before := asked()
		for range 20 {
			order()
		}
		assert.Equal(t, before, asked())
		v.clear()
		time.Sleep(3 * time.Second)
		o, a := v.buy(`{"userId":1}`)
		assert.Equal(t, "confirmed", o.Status, "%s", a.body)
	})
}
