package collect_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/collect"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// serveHub serves a hub in memory and returns how to connect to it, and how to
// end it.
func serveHub(t *testing.T, h *collect.Hub) (*wire.Pipe, func()) {
	t.Helper()
	network := &wire.Pipe{}
	ln, err := network.Listen("127.0.0.1:80")
	require.NoError(t, err)
	// T17: a WriteTimeout of the server must not cut the stream.
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second, WriteTimeout: time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Close
	}()
	return network, func() {
		h.Close()
		srv.Close()
		<-done
	}
}

// events reads the stream, one event as "kind data" at a time.
func events(ctx context.Context, t *testing.T, network *wire.Pipe, lastID string) <-chan string {
	t.Helper()
	transport := &http.Transport{DialContext: network.DialContext}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:80/", nil)
	require.NoError(t, err)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := transport.RoundTrip(req) //nolint:bodyclose // by the goroutine that reads it
	require.NoError(t, err)
	assert.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	out := make(chan string)
	go func() {
		defer close(out)
		defer transport.CloseIdleConnections()
		defer resp.Body.Close()
		kind := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- kind + " " + data
			}
		}
	}()
	return out
}

func TestTheStreamOutlivesTheServersWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		network, end := serveHub(t, h)
		got := events(t.Context(), t, network, "")
		assert.Equal(t, `snapshot "all"`, <-got)
		time.Sleep(time.Minute)
		h.Publish("log", "late", false)
		assert.Equal(t, `log "late"`, <-got)
		end()
		_, open := <-got
		assert.False(t, open)
	})
}

func TestTheStreamResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		network, end := serveHub(t, h)
		defer end()
		h.Publish("log", 1, false)
		h.Publish("log", 2, false)
		got := events(t.Context(), t, network, "RUN-1")
		assert.Equal(t, "log 2", <-got)
	})
}

// T17: a client that stops reading is cut after two seconds and harms nobody.
func TestAStalledClientIsCutAndHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		network, end := serveHub(t, h)
		stalled, err := network.DialContext(t.Context(), "tcp", "127.0.0.1:80")
		require.NoError(t, err)
		_, err = stalled.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		got := events(t.Context(), t, network, "")
		assert.Equal(t, `snapshot "all"`, <-got)
		for n := range 50 {
			h.Publish("log", n, false)
			begin := time.Now()
			<-got
			assert.Equal(t, time.Duration(0), time.Since(begin), "frame %d came late", n)
			time.Sleep(100 * time.Millisecond)
		}
		_, err = stalled.Read(make([]byte, 1))
		assert.Error(t, err, "the stalled client should have been cut")
		end()
		for range got {
		}
	})
}

func TestTheStreamStaysAliveWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		network, end := serveHub(t, h)
		c, err := network.DialContext(t.Context(), "tcp", "127.0.0.1:80")
		require.NoError(t, err)
		_, err = c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		require.NoError(t, err)
		begin := time.Now()
		lines := bufio.NewScanner(c)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), ":") {
		}
		assert.Equal(t, 10*time.Second, time.Since(begin))
		c.Close()
		end()
	})
}
