package wire_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// T7: a node that has not caught up yet does not deny what it does not know: requests
// wait until it is ready, or for as long as they may.
func TestRequestsWaitUntilTheNodeIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &wire.Pipe{}
		n := wire.NewNode(wire.Config{Name: "n", Network: network, Settings: settings()})
		ready := n.Await("the fold")
		failed := make(chan struct{})
		n.Go("a worker", func(ctx context.Context) error { <-failed; return nil })
		mux := http.NewServeMux()
		mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
		ln, err := network.Listen("127.0.0.1:3000")
		require.NoError(t, err)
		n.Serve(ln, mux)
		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
		ask := func(path, poll string) (status int, took time.Duration) {
			begin := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:3000"+path, nil)
			require.NoError(t, err)
			req.Header.Set(wire.HeaderPoll, poll)
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			return resp.StatusCode, time.Since(begin)
		}
		get := func(path string) (int, time.Duration) { return ask(path, "") }
		status, took := get("/")
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, settings().Deadline, took)
		status, took = get("/health")
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Equal(t, time.Duration(0), took, "who asks for health is told at once")

		status, _ = get("/log?after=0")
		assert.Equal(t, http.StatusOK, status)

		time.AfterFunc(200*time.Millisecond, ready)
		status, took = ask("/", "1")
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, 200*time.Millisecond, took, "a poll is not told half of what there is")
		status, took = get("/")
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, time.Duration(0), took)
		status, _ = get("/health")
		assert.Equal(t, http.StatusOK, status)

		close(failed) // work that ends before the node does is a failure of the node
		synctest.Wait()
		status, _ = get("/health")
		assert.Equal(t, http.StatusServiceUnavailable, status)
		status, took = get("/")
		assert.Equal(t, http.StatusOK, status, "what it can do, it does")
		assert.Equal(t, time.Duration(0), took)
		client.CloseIdleConnections()
		n.Stop(t.Context())
	})
}

type folded int

func (f folded) Folded() any { return f }

// A model is as late as what it has not seen has waited, and not as long as its log was
// at rest before that.
func TestLagIsNotTheQuietBeforeTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := wire.NewNode(wire.Config{Name: "n", Settings: settings()})
		log := eventsource.NewMemory()
		codec := eventsource.NewCodec(map[string]int{"Counted": 0})
		// The node does not serve, so nobody folds.
		wire.NewModel(n, "count", log, codec, func() folded { return 0 }, func(f folded, _ eventsource.Recorded, n int) folded { return f + folded(n) })
		lag := func() wire.Lag {
			var lags map[string]wire.Lag
			require.NoError(t, json.Unmarshal(n.Stats().Sections["lag"], &lags))
			return lags["count"]
		}
		assert.Equal(t, wire.Lag{}, lag())
		time.Sleep(time.Minute)
		_, err := log.Append(t.Context(), []eventsource.Event{{Stream: "s", Type: "Counted", Data: []byte("1")}})
		require.NoError(t, err)
		assert.Equal(t, wire.Lag{Behind: 1}, lag())
		time.Sleep(2 * time.Second)
		assert.Equal(t, wire.Lag{Behind: 1, Ms: 2000}, lag())
	})
}
