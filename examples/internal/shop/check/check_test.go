package check_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/check"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/load"
	"github.com/keelson-go/keelson/internal/assert"
)

// world is what a checker sees: the answers of services, and what control knows.
type world struct {
	answers map[string]string // body by "service/path"; absent does not answer
	state   collect.State
	witness load.Witness
	lamps   map[string]collect.Lamp
	checker *check.Checker
	atRest  bool
}

// RoundTrip answers without a network, so that time can be fake.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := w.answers[r.URL.Host+r.URL.Path]
	if !ok {
		return nil, fmt.Errorf("nobody there")
	}
	rec := httptest.NewRecorder()
	if after := r.URL.Query().Get("after"); r.URL.Path == "/log" && after != "" {
		_, body, _ = strings.Cut(body, fmt.Sprintf(`"position":"%s"`, after))
		_, body, _ = strings.Cut(body, "\n")
	}
	if code, found := strings.CutPrefix(body, "status "); found {
		status := 0
		_, _ = fmt.Sscan(code, &status)
		rec.WriteHeader(status)
	}
	_, _ = rec.WriteString(body)
	return rec.Result(), nil
}

// inWorld runs a test in a world where all is well.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{lamps: map[string]collect.Lamp{}, answers: map[string]string{
			"payments/ledger": ledger(1000, 0, 900, 20, 100, 20),
			"inventory/stock": stock(10, 5, 9, 2, 4),
			"orders/log":      "", "payments/log": "", "inventory/log": "", "shipping/log": "",
		}}
		w.state.Lag = map[string]float64{"orders": 3}
		w.state.Load = map[string]any{"rps": 50, "behindMs": 1.0, "browse": collect.Op{Sent: 10}, "order": collect.Op{Sent: 4}}
		w.witness = load.Witness{Reads: 8}
		w.checker = check.New(check.Config{
			URL: func(service string) string { return "http://" + service }, Client: &http.Client{Transport: w},
			Has:   func(string) bool { return true },
			State: func() collect.State { return w.state }, AtRest: func() bool { return w.atRest }, Witness: func() load.Witness { return w.witness },
			Set: func(name string, l collect.Lamp) { w.lamps[name] = l },
		})
		test(t, w)
	})
}

func ledger(deposited, withdrawn, wallets, held, captured, refunded int) string {
	return fmt.Sprintf(`{"position":"17","depositedCents":%d,"withdrawnCents":%d,"walletsCents":%d,"heldCents":%d,"capturedCents":%d,"refundedCents":%d,"unbalanced":0,"negative":[]}`,
		deposited, withdrawn, wallets, held, captured, refunded)
}

func stock(initial, added, onHand, reserved, shipped int) string {
	return fmt.Sprintf(`{"position":"9","skus":{"P-1":{"initial":%d,"added":%d,"onHand":%d,"reserved":%d,"shipped":%d}}}`,
		initial, added, onHand, reserved, shipped)
}

// log makes lines of GET /log from words such as "o1:OrderCreated"; versions count
// per stream unless the words say "o1@7:OrderCreated".
func log(events ...string) string {
	var b strings.Builder
	versions := map[string]int{}
	for i, e := range events {
		stream, typ, _ := strings.Cut(e, ":")
		stream, version, given := strings.Cut(stream, "@")
		versions[stream]++
		if !given {
			version = fmt.Sprint(versions[stream])
		}
		fmt.Fprintf(&b, `{"position":"%d","stream":"%s","version":%s,"type":"%s"}`+"\n", i+1, stream, version, typ)
	}
	return b.String()
}

func (w *world) check(t *testing.T) {
	t.Helper()
	w.checker.Check(t.Context())
}

// want checks one lamp, and that its detail has the words.
func (w *world) want(t *testing.T, lamp, status, words string) {
	t.Helper()
	assert.Equal(t, status, w.lamps[lamp].Status, "%s: %s", lamp, w.lamps[lamp].Detail)
	assert.Contains(t, w.lamps[lamp].Detail, words, "%s", lamp)
}

func TestAllLampsAreOKWhenAllIsWell(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.check(t)
		assert.Equal(t, 8, len(w.lamps))
		for name, l := range w.lamps {
			assert.Equal(t, "ok", l.Status, "%s: %s", name, l.Detail)
			assert.Equal(t, check.Equation(name), l.Equation)
			assert.True(t, l.Equation != "" && l.CheckedAt > 0, "%s", name)
		}
	})
}

func TestMoneyAndStockShowBothNumbers(t *testing.T) {
	for name, c := range map[string]struct{ lamp, at, body, words string }{
		"lost money":      {check.Money, "payments/ledger", ledger(1000, 0, 900, 0, 100, 20), "9.80 ≠ 10.00"},
		"made money":      {check.Money, "payments/ledger", ledger(1000, 100, 900, 20, 100, 20), "10.00 ≠ 9.00"},
		"half an entry":   {check.Money, "payments/ledger", strings.Replace(ledger(0, 0, 0, 0, 0, 0), `"unbalanced":0`, `"unbalanced":2`, 1), "2 entry pairs"},
		"an overdraft":    {check.Money, "payments/ledger", strings.Replace(ledger(0, 0, 0, 0, 0, 0), `[]`, `["7"]`, 1), "below 0: [7]"},
		"lost article":    {check.Stock, "inventory/stock", stock(10, 5, 8, 2, 4), "P-1: 14 ≠ 15"},
		"sold too much":   {check.Stock, "inventory/stock", stock(10, 0, -1, 2, 9), "below 0: on hand -1"},
		"shipped too few": {check.Stock, "inventory/stock", stock(10, 0, 12, 0, -2), "below 0"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.answers[c.at] = c.body
				w.check(t)
				w.want(t, c.lamp, "broken", c.words)
			})
		})
	}
}

// T15: a source that cannot be read makes a lamp unknown and never ok, whatever is
// in the way: nobody there, an error, half a document, an empty one.
func TestALampIsUnknownWhenNobodyAnswers(t *testing.T) {
	for _, body := range []string{"", "status 500", "{", "{}", "null", "[]"} {
		for lamp, at := range map[string]string{check.Money: "payments/ledger", check.Stock: "inventory/stock"} {
			inWorld(t, func(t *testing.T, w *world) {
				w.answers[at] = body
				w.check(t)
				w.want(t, lamp, "unknown", "")
			})
		}
	}
	inWorld(t, func(t *testing.T, w *world) {
		delete(w.answers, "payments/ledger")
		delete(w.answers, "shipping/log")
		w.witness.Reads = 0
		w.state.Lag = nil
		w.check(t)
		w.want(t, check.Money, "unknown", "payments does not answer")
		w.want(t, check.Orders, "unknown", "shipping does not answer")
		w.want(t, check.Versions, "unknown", "shipping does not answer")
		w.want(t, check.Stale, "unknown", "no answer to 10 requests")
		w.want(t, check.Lag, "unknown", "no read model")
		w.want(t, check.Stock, "ok", "")
	})
}

// whole is an order that went well, as four logs tell it.
func (w *world) whole(id string) {
	w.answers["orders/log"] += log(id+":OrderCreated", id+":OrderConfirmed")
	w.answers["payments/log"] += log(id+":PaymentReserved", id+":PaymentCaptured")
	w.answers["inventory/log"] += log(id+":StockReserved", id+":StockConfirmed")
	w.answers["shipping/log"] += log(id + ":ShipmentCreated")
}

func TestOrdersAddUpOverFourLogs(t *testing.T) {
	for name, c := range map[string]struct {
		orders, payments, inventory, shipping []string
		status, words                         string
	}{
		"confirmed": {
			[]string{"o:OrderCreated", "o:OrderConfirmed"},
			[]string{"w:MoneyDeposited", "o:PaymentReserved", "o:PaymentCaptured"},
			[]string{"o:StockReserved", "o:StockConfirmed"},
			[]string{"o:ShipmentCreated"},
			"ok", "1 ended",
		},
		"rejected": {
			[]string{"o:OrderCreated", "o:OrderRejected"},
			[]string{"o:PaymentReserved", "o:PaymentReleased"},
			[]string{"o:StockVoided"},
			nil, "ok", "1 ended",
		},
		"returned": {
			[]string{"o:OrderCreated", "o:OrderConfirmed", "o:OrderReturned"},
			[]string{"o:PaymentReserved", "o:PaymentCaptured", "o:PaymentRefunded"},
			[]string{"o:StockReserved", "o:StockConfirmed", "o:StockReturned"},
			[]string{"o:ShipmentCreated", "o:ShipmentRecalled"},
			"ok", "1 ended",
		},
		"still on its way": {
			[]string{"o:OrderCreated"}, []string{"o:PaymentReserved"}, nil, nil, "ok", "0 ended, 1 known",
		},
		"T1: captured, shipping failed, never refunded": {
			[]string{"o:OrderCreated", "o:OrderRejected"},
			[]string{"o:PaymentReserved", "o:PaymentCaptured"},
			[]string{"o:StockReserved", "o:StockReleased"},
			nil, "broken", "order o is rejected with 1 paid",
		},
		"T2: confirmed without stock": {
			[]string{"o:OrderCreated", "o:OrderConfirmed"},
			[]string{"o:PaymentReserved", "o:PaymentCaptured"},
			nil,
			[]string{"o:ShipmentCreated"},
			"broken", "0 shipped",
		},
		"T3: a reservation that is not undone": {
			[]string{"o:OrderCreated", "o:OrderRejected"}, []string{"o:PaymentReserved"}, nil, nil, "broken", "1 held",
		},
		"T5: captured twice, while it runs": {
			[]string{"o:OrderCreated"}, []string{"o:PaymentReserved", "o:PaymentCaptured", "o:PaymentCaptured"}, nil, nil, "broken", "2 captures",
		},
		"shipped twice": {
			[]string{"o:OrderCreated"}, nil, nil, []string{"o:ShipmentCreated", "o:ShipmentCreated"}, "broken", "2 shipments",
		},
		"confirmed and never paid": {
			[]string{"o:OrderCreated", "o:OrderConfirmed"}, nil, []string{"o:StockReserved", "o:StockConfirmed"}, []string{"o:ShipmentCreated"}, "broken", "0 paid",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.answers["orders/log"], w.answers["payments/log"] = log(c.orders...), log(c.payments...)
				w.answers["inventory/log"], w.answers["shipping/log"] = log(c.inventory...), log(c.shipping...)
				w.check(t)
				time.Sleep(6 * time.Second) // what is said of an order that has ended, is said when it has settled
				w.check(t)
				w.want(t, check.Orders, c.status, c.words)
			})
		})
	}
}

// While a fault is in force an order may be half undone; once it has gone for five
// seconds, it may not.
func TestSettledOrdersAreJudgedWithoutFaults(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.answers["orders/log"], w.answers["payments/log"] = log("o:OrderCreated", "o:OrderRejected"), log("o:PaymentReserved")
		w.state.Faults = []collect.Fault{{Target: "payments", Kind: "blackhole"}}
		w.check(t)
		time.Sleep(20 * time.Second)
		w.check(t)
		w.want(t, check.Orders, "ok", "judged when no fault")
		w.state.Faults = nil
		time.Sleep(4 * time.Second)
		w.check(t)
		w.want(t, check.Orders, "ok", "judged when no fault")
		time.Sleep(2 * time.Second)
		w.check(t)
		w.want(t, check.Orders, "broken", "1 held")
	})
}

func TestPromisesAreKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 250 {
			w.witness.Promised = append(w.witness.Promised, fmt.Sprintf("o%d", i))
		}
		w.whole("o0")
		w.check(t)
		w.want(t, check.Orders, "broken", "order o1 was promised and does not exist")
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.witness.TwoForOne, w.witness.LastDoubled = 1, "key k: orders a and b"
		w.check(t)
		w.want(t, check.Orders, "broken", "key k: orders a and b")
	})
}

// T30: an order whose POST died between saga and order event was promised to
// nobody, and is finished all the same: it is no promise that is broken.
func TestAnOrderThatNobodyWasPromisedIsNoComplaint(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.whole("o1")
		w.check(t)
		time.Sleep(6 * time.Second)
		w.check(t)
		w.want(t, check.Orders, "ok", "1 ended")
	})
}

func TestVersionsHaveNoGapsAndDoNotFall(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.answers["orders/log"] = log("o@1:OrderCreated", "o@3:OrderConfirmed")
		w.check(t)
		w.want(t, check.Versions, "broken", "stream o goes from version 1 to 3")
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.whole("o1")
		w.check(t)
		w.answers["orders/log"] += `{"position":"3","stream":"o1","version":3,"type":"OrderReturned"}` + "\n"
		w.check(t)
		w.want(t, check.Versions, "ok", "8 reads, 4 streams")
		w.witness.Falls, w.witness.LastFall = 1, "P-1: version 3 after 4"
		w.check(t)
		w.want(t, check.Versions, "broken", "P-1: version 3 after 4")
	})
}

func TestNothingStaleWithoutItsLabel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.witness.Unlabelled, w.witness.LastStale = 1, "P-1: 61s old and not called stale"
		w.check(t)
		w.want(t, check.Stale, "broken", "1 of 8 answers P-1: 61s old")
	})
}

func TestSagasEndOnceThingsAreCalm(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.state.Sagas = collect.Sagas{Waiting: 2, OldestMs: 9000}
		w.state.Services = map[string]collect.Service{"payments": {State: "stopped"}}
		w.check(t)
		w.want(t, check.Sagas, "ok", "2 unfinished, the oldest 9.0 s")
		w.state.Services = nil
		time.Sleep(6 * time.Second)
		w.check(t)
		w.want(t, check.Sagas, "broken", "2 unfinished")
	})
	for kind, want := range map[string]string{"refuse": "ok", "error": "broken"} {
		inWorld(t, func(t *testing.T, w *world) {
			w.state.Faults = []collect.Fault{{Kind: "error"}, {Kind: "latency"}}
			w.state.Faults[1].Kind = w.state.Faults[0].Kind
			if kind == "refuse" {
				w.state.Faults[0].Kind = "refuse"
			}
			w.state.Sagas = collect.Sagas{Stuck: 1}
			w.check(t)
			w.want(t, check.Sagas, want, "1 stuck") // T4: a compensation that fails shows
		})
	}
}

func TestLagIsAskedForWithoutFaults(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.state.Lag = map[string]float64{"orders": 5, "wallets": 1500}
		w.state.Faults = []collect.Fault{{Kind: "latency"}}
		w.check(t)
		w.want(t, check.Lag, "ok", "the last is wallets: 1500 ms")
		w.state.Faults = nil
		time.Sleep(6 * time.Second)
		w.check(t)
		w.want(t, check.Lag, "broken", "wallets: 1500 ms")
	})
}

// T13: a load that has stopped shows as one, and so does one that cannot keep its
// schedule; a single late moment does not.
func TestALoadThatStopsShows(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range 3 {
			w.check(t)
			w.want(t, check.Load, "ok", "14 sent")
		}
		w.check(t) // the third look in a row at which nothing has been sent
		w.want(t, check.Load, "broken", "14 sent")
	})
	inWorld(t, func(t *testing.T, w *world) {
		sent := uint64(0)
		for i, behind := range []float64{1, 500, 500, 1, 500, 500, 500} {
			sent += 50
			w.state.Load["browse"] = collect.Op{Sent: sent}
			w.state.Load["behindMs"] = behind
			w.check(t)
			assert.Equal(t, i == 6, w.lamps[check.Load].Status == "broken", "look %d", i)
		}
	})
	inWorld(t, func(t *testing.T, w *world) {
		w.state.Load["rps"] = 0 // somebody has switched it off
		for range 9 {
			w.check(t)
			w.want(t, check.Load, "ok", "")
		}
	})
}
