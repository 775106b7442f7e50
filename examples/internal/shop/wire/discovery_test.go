package wire_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A node at rest registers every other beat. It does so at once when a request ends its
// rest, and when the registry's index falls, as that of one does which was started anew so
// quickly that no connection to it was refused.
func TestANodeAtRestRegistersWhenItMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		var index, registrations atomic.Int64
		index.Store(7)
		registry := serve(t, network, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				registrations.Add(1)
				return
			}
			wait, err := wire.Duration(r, "wait")
			if err != nil {
				panic(err)
			}
			now := func() string { return strconv.FormatInt(index.Load(), 10) }
			for end := time.Now().Add(wait); r.URL.Query().Get("index") == now() && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			w.Header().Set("X-Consul-Index", now())
			_ = json.NewEncoder(w).Encode([]struct{}{})
		}))
		ln, err := network.Listen("127.0.0.1:3001")
		require.NoError(t, err)
		n := wire.NewNode(wire.Config{
			Name: "caller", Network: network, Settings: settings(), Registry: "http://127.0.0.1:3000", Check: 500 * time.Millisecond,
			Peers: map[string][]wire.Instance{"callee": {{Name: "callee", URL: "http://127.0.0.1:3002"}}},
		})
		n.Client("callee", false)
		n.Serve(ln, http.NewServeMux())
		time.Sleep(time.Minute)
		before := registrations.Load()
		time.Sleep(80 * time.Second)
		assert.Equal(t, int64(10), registrations.Load()-before, "every other beat")
		for registrations.Load() == before+10 { // and then a second, so that the next is seven away
			time.Sleep(time.Second)
		}
		before = registrations.Load()
		index.Store(9)
		time.Sleep(time.Second)
		assert.Equal(t, before, registrations.Load(), "news, and the registry is the same")
		index.Store(2)
		time.Sleep(time.Second)
		assert.Equal(t, before+1, registrations.Load())

		time.Sleep(9 * time.Second)
		for before = registrations.Load(); registrations.Load() == before; {
			time.Sleep(time.Second)
		}
		before = registrations.Load()
		for range 3 { // the first ends the rest of a node
			resp, err := (&http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}).RoundTrip(
				newRequest(t, http.MethodGet, "http://127.0.0.1:3001/"))
			require.NoError(t, err)
			resp.Body.Close()
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, before+1, registrations.Load())
		time.Sleep(400 * time.Millisecond)
		assert.Equal(t, before+2, registrations.Load())
		n.Stop(t.Context())
		registry.Stop(t.Context())
	})
}
