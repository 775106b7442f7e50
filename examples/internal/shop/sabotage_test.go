package shop_test

import (
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/internal/assert"
)

// A21, where the services are concerned: what each sabotage breaks is broken in
// their books, where the checks look for it.
func TestSabotageShowsInTheBooks(t *testing.T) {
	buyAndLose := func(v visitor) { // an order whose first answers are lost
		v.inject("payments", "drop=100%", "path=/reservations", "for=300ms")
		v.buy(`{"userId":1}`)
		time.Sleep(5 * time.Second)
	}
	soldOut := func(v visitor) {
		v.buy(`{"userId":1,"items":[{"sku":"P-9","qty":1}]}`)
		time.Sleep(5 * time.Second)
	}
	signUpUnheard := func(v visitor) {
		kill("broker")(v)
		v.do("POST", "users", "/users", `{"name":"U","email":"u@example.org"}`)
		time.Sleep(time.Second)
		start("broker")(v)
		time.Sleep(5 * time.Second)
	}
	sent := func(v visitor) string { return v.do("GET", "mailer", "/sent", "").body }
	for _, c := range []struct {
		sabotage string
		run      func(visitor)
		look     func(visitor) any
		well     any
		broken   any
	}{
		{"no-idempotency", buyAndLose, func(v visitor) any { return v.ledger().Held > 0 }, false, true},
		{"no-compensation", soldOut, func(v visitor) any { return v.ledger().Held }, int64(0), int64(999)},
		{"no-outbox", signUpUnheard, func(v visitor) any { return sent(v)[:11] }, `{"total":1,`, `{"total":0,`},
	} {
		for name, want := range map[string]any{"": c.well, c.sabotage: c.broken} {
			visitWith(t, shop.Config{Sabotage: name}, func(v visitor) {
				c.run(v)
				assert.Equal(t, want, c.look(v), "%s: %+v", name, v.ledger())
			})
		}
	}
}
