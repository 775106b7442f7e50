package l2_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/cache/cachetest"
	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/l2"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// A subscriber at rest polls rarely, but hears of what is invalidated at once, and often
// enough of the rest for its cache's trust; a server that stops does not let him wait.
func TestAPollAtRestIsLongAndEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network, cluster := &wire.Pipe{}, cachetest.NewCluster(1)
		start := func(addr string, n *wire.Node, build func(*wire.Node) (*http.ServeMux, error)) *wire.Node {
			ln, err := network.Listen(addr)
			require.NoError(t, err)
			mux, err := build(n)
			require.NoError(t, err)
			n.Serve(ln, mux)
			return n
		}
		server := start("127.0.0.1:1", wire.NewNode(wire.Config{Name: "cache", Network: network, Settings: preset.Wire}), l2.Routes(cluster))
		type heard struct {
			cache.Message
			at time.Time
		}
		signs := make(chan heard, 100)
		service := start("127.0.0.1:2", wire.NewNode(wire.Config{
			Name: "service", Network: network, Settings: preset.Wire, Cache: l2.Dial,
			Peers: map[string][]wire.Instance{"cache": {{Name: "cache", URL: "http://127.0.0.1:1"}}},
		}), func(n *wire.Node) (*http.ServeMux, error) {
			_, bus := n.Cache()
			n.Go("bus", func(ctx context.Context) error {
				_ = bus.Subscribe(ctx, 0, func(m cache.Message) { signs <- heard{m, time.Now()} })
				<-ctx.Done()
				return ctx.Err()
			})
			return http.NewServeMux(), nil
		})
		time.Sleep(20 * time.Second) // the polls are long by now
		for len(signs) > 0 {
			<-signs
		}
		last, n := time.Now(), 0
		for time.Sleep(time.Minute); len(signs) > 0; n++ {
			sign := <-signs
			assert.True(t, sign.at.Sub(last) <= 3100*time.Millisecond, "silent for %v", sign.at.Sub(last))
			last = sign.at
		}
		assert.True(t, n <= 20, "%d polls in a minute at rest", n)
		begin := time.Now()
		_, err = cluster.Node().Invalidate(t.Context(), cache.Message{Keys: []string{"k"}})
		require.NoError(t, err)
		sign := <-signs
		assert.Equal(t, []string{"k"}, sign.Keys)
		assert.True(t, sign.at.Sub(begin) < 10*time.Millisecond)

		time.Sleep(15 * time.Second)
		begin = time.Now()
		server.Stop(t.Context())
		assert.True(t, time.Since(begin) < 500*time.Millisecond, "%v", time.Since(begin)) // fake time: net/http looks now and then who is still there
		service.Stop(t.Context())
	})
}
