package shop_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func TestASignUpIsMailedAndGetsAWallet(t *testing.T) {
	visit(t, func(v visitor) {
		v.do("POST", "gateway", "/api/users", `{"name":"Carol","email":"carol@example.org"}`)
		v.do("POST", "gateway", "/api/users", `{"name":"Dave"}`)
		time.Sleep(time.Second)
		sent := v.do("GET", "mailer", "/sent", "").body
		assert.Contains(t, sent, `"to":"carol@example.org","subject":"Welcome!","body":"Thank you for signing up"`)
		assert.Contains(t, sent, `"total":1`)
		for _, user := range []int{3, 4} {
			a := v.do("GET", "payments", fmt.Sprintf("/wallets/%d", user), "")
			assert.Contains(t, a.body, `"balanceCents":100000`)
		}
		assert.Equal(t, http.StatusNotFound, v.do("GET", "payments", "/wallets/5", "").StatusCode)
	})
}

// A17, T6: what happens while the broker is out, or while somebody is dead who should
// hear of it, is told when they are back, once.
func TestNothingIsLostWhileTheBrokerIsOut(t *testing.T) {
	for _, out := range []string{"broker", "mailer", "users"} {
		t.Run(out, func(t *testing.T) {
			visit(t, func(v visitor) {
				signUp := func(i int) {
					v.do("POST", "users", "/users", fmt.Sprintf(`{"name":"U","email":"u%d@example.org"}`, i))
				}
				for i := range 5 {
					signUp(i)
				}
				require.NoError(t, v.shop.KillService(out)) // in the middle of it
				for i := range 5 {
					if out != "users" {
						signUp(5 + i)
					}
				}
				time.Sleep(3 * time.Second)
				require.NoError(t, v.shop.StartService(out))
				time.Sleep(3 * time.Second)
				want := map[bool]int{true: 10, false: 5}[out != "users"]
				assert.Contains(t, v.do("GET", "mailer", "/sent", "").body, fmt.Sprintf(`"total":%d`, want))
			})
		})
	}
}

func TestAPoisonedMessageDoesNotHoldUpTheQueue(t *testing.T) {
	visit(t, func(v visitor) {
		publish := func(id, body string) {
			msg := fmt.Sprintf(`[{"ID":%q,"Topic":"email-queue","Body":%q}]`, id, body)
			a := v.do("POST", "broker", "/messages", msg)
			require.Equal(t, http.StatusNoContent, a.StatusCode, "%s", a.body)
		}
		publish("poison", "bm90IEpTT04=") // not JSON
		v.do("POST", "users", "/users", `{"name":"U","email":"u@example.org"}`)
		time.Sleep(500 * time.Millisecond)
		assert.Contains(t, v.do("GET", "mailer", "/sent", "").body, `"total":1`)
		time.Sleep(5 * time.Second)
		dead := v.do("GET", "mailer", "/dead", "").body
		assert.Contains(t, dead, `"id":"poison"`)
		assert.Contains(t, dead, `"body":"not JSON"`)
		assert.Contains(t, dead, `invalid character`)
		assert.Contains(t, v.do("POST", "mailer", "/dead/replay", "").body, `"replayed":1`)
		time.Sleep(10 * time.Millisecond)
		assert.Equal(t, "[]", strings.TrimSpace(v.do("GET", "mailer", "/dead", "").body))
		time.Sleep(5 * time.Second)
		assert.Contains(t, v.do("GET", "mailer", "/dead", "").body, `"id":"poison"`, "it is as dead as before")
	})
}

func TestSessions(t *testing.T) {
	visit(t, func(v visitor) {
		a := v.do("POST", "users", "/users", `{"name":"Carol"}`)
		_, secret, _ := strings.Cut(a.body, `"secret":"`)
		secret, _, _ = strings.Cut(secret, `"`)
		assert.Equal(t, http.StatusUnauthorized, v.do("POST", "users", "/sessions", `{"userId":3,"secret":"guess"}`).StatusCode)
		assert.Equal(t, http.StatusUnauthorized, v.do("POST", "users", "/sessions", `{"userId":9,"secret":"guess"}`).StatusCode)
		assert.Equal(t, http.StatusUnauthorized, v.do("POST", "users", "/sessions", `{"userId":3}`, "X-Shop-Secret", "").StatusCode)
		a = v.do("POST", "users", "/sessions", fmt.Sprintf(`{"userId":3,"secret":%q}`, secret))
		assert.Equal(t, http.StatusCreated, a.StatusCode, "%s", a.body)
		assert.Contains(t, a.body, `"expiresIn":900`)
	})
}
