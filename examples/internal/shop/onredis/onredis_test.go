package onredis_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/onredis"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/engine"
	"github.com/keelson-go/keelson/internal/require"
)

// An order by events over Redis Streams, a mail, and a price that all replicas learn
// of: in both styles of sagas nothing else differs.
func TestTheShopRunsOnRedis(t *testing.T) {
	server := engine.Redis(t)
	e, end, err := onredis.Open(server.URL(), t.TempDir())
	require.NoError(t, err)
	defer func() { assert.NoError(t, end()) }()
	preset, err := shop.FindPreset("classic") // whose limits hold on a busy machine
	require.NoError(t, err)
	s, err := shop.Start(shop.Config{Engines: e, Preset: preset, Saga: "choreography", Seed: 1})
	require.NoError(t, err)
	defer s.Close()

	status, body := call(t, "POST", s.URL("users")+"/users", `{"name":"Carol","email":"carol@example.org"}`)
	require.Equal(t, 201, status, body)
	status, body = call(t, "POST", s.URL("orders")+"/orders", `{"userId":1}`)
	require.Equal(t, 201, status, body)
	var order struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &order))
	eventually(t, s.URL("orders")+"/orders/"+order.ID, `"status":"confirmed"`)
	eventually(t, s.URL("mailer")+"/sent", `"to":"carol@example.org"`)

	require.NoError(t, s.Scale("products", 2))
	price := func(replica string) string { return s.URL(replica) + "/products/P-2" }
	eventually(t, price("products-2"), `"priceCents":299`)
	status, body = call(t, "PATCH", price("products-1"), `{"priceCents":777}`)
	require.Equal(t, 200, status, body)
	eventually(t, price("products-2"), `"priceCents":777`)
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// eventually asks until the answer says it, for at most 20 seconds.
func eventually(t *testing.T, url, say string) {
	t.Helper()
	last := ""
	for giveUp := time.Now().Add(20 * time.Second); time.Now().Before(giveUp); <-time.After(20 * time.Millisecond) {
		if _, last = call(t, "GET", url, ""); strings.Contains(last, say) {
			return
		}
	}
	t.Fatalf("%s does not say %s: %s", url, say, last)
}
