package shoptest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop"
	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// meter is a network that counts what goes over it.
type meter struct {
	wire.Pipe
	mu       sync.Mutex
	dials    int
	requests map[string]int // by method and path up to a number or query
}

func (m *meter) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := m.Pipe.DialContext(ctx, network, addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials++
	return &metered{c, m}, err
}

// take returns the counts since the last time, and their sum.
func (m *meter) take() (dials, sum int, requests map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dials, requests = m.dials, m.requests
	m.dials, m.requests = 0, map[string]int{}
	for _, n := range requests {
		sum += n
	}
	return dials, sum, requests
}

type metered struct {
	net.Conn
	meter *meter
}

// Write sees each request begin: a transport writes its head at once.
func (c *metered) Write(b []byte) (int, error) {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	if target, ok := bytes.CutSuffix(line, []byte(" HTTP/1.1")); ok {
		target, _, _ = bytes.Cut(target, []byte("?"))
		if parts := bytes.SplitN(target, []byte("/"), 4); len(parts) > 2 {
			target = bytes.Join(parts[:3], []byte("/"))
		}
		c.meter.mu.Lock()
		c.meter.requests[string(target)]++
		c.meter.mu.Unlock()
	}
	return c.Conn.Write(b)
}

// A shop in which nothing happens costs next to nothing, also with a page open on it:
// sixteen requests a second in all, telemetry, health and polls included, over
// connections that stay, and one frame of state. What happens is seen at once all the
// same.
func TestAShopAtRestIsCheap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		preset, err := shop.FindPreset("fast")
		require.NoError(t, err)
		network := &meter{requests: map[string]int{}}
		s, err := shop.Start(shop.Config{Engines: shop.Engines{Network: network}, Preset: preset, Seed: 1})
		require.NoError(t, err)
		defer s.Close()
		page := s.Hub().Join("")
		defer page.Leave()
		time.Sleep(20 * time.Second)
		network.take()
		frames(t, page)

		time.Sleep(time.Minute)
		dials, sum, requests := network.take()
		t.Logf("a minute at rest: %d dials, %d requests %v", dials, sum, requests)
		assert.True(t, sum < 16*60, "%d requests", sum)
		for what, most := range map[string]int{
			"POST /ingest": 11 * 16, "GET /health": 2 * 11 * 16, "PUT /v1/agent": 11 * 9, "GET /v1/health": 18 * 8, "POST /messages": 4 * 21,
		} {
			assert.True(t, requests[what] > 0 && requests[what] <= most, "%s: %d, and %d is the most", what, requests[what], most)
		}
		assert.True(t, dials <= 60, "%d dials", dials)
		kinds := frames(t, page)
		assert.InDelta(t, 60, float64(kinds["state"]), 2)
		assert.InDelta(t, 60, float64(kinds["load"]), 2)

		// A visitor who does something sees it within 300 ms: a service tells of its
		// request, and the page draws ten times a second again.
		before := s.State().Retry["gateway/products"].Requests
		get(t, network, s.URL("gateway")+"/api/products/P-1")
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, before+1, s.State().Retry["gateway/products"].Requests)
		assert.True(t, frames(t, page)["state"] >= 2)
	})
}

// frames counts what a page has got, by kind.
func frames(t *testing.T, page *collect.Client) map[string]int {
	t.Helper()
	got, err := page.Take()
	require.NoError(t, err)
	kinds := map[string]int{}
	for _, f := range got {
		kinds[f.Kind]++
	}
	return kinds
}

// get asks once, on a connection of its own.
func get(t *testing.T, network wire.Network, url string) {
	t.Helper()
	transport := &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
}
