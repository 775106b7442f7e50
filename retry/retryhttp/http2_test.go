package retryhttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// T36, T37, T43: the same over HTTP/2, where attempts are streams of one
// connection and a body that was answered early is cut off by the server.
func TestHTTP2(t *testing.T) {
	payload := strings.Repeat("0123456789abcdef", 1<<16)
	var requests atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "HTTP/2.0", r.Proto)
		if requests.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)

	for name, tr := range map[string]*retryhttp.Transport{
		"plain":   {Policy: &retry.Policy{Backoff: quick}},
		"limited": {Policy: &retry.Policy{Backoff: quick, AttemptTimeout: time.Minute}},
		"hedged":  {Policy: &retry.Policy{MaxAttempts: 9, Backoff: quick}, Hedge: &hedge.Policy{Delay: time.Minute}},
	} {
		tr.Base = s.Client().Transport
		c := &http.Client{Transport: tr}
		for range 3 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL, strings.NewReader(payload))
			require.NoError(t, err)
			res, err := c.Do(r)
			require.NoError(t, err, name)
			assert.Equal(t, 200, res.StatusCode, name)
			assert.True(t, text(t, res) == payload, name)
		}
	}
}
