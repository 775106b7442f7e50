package retryhttp_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// attempts is an OnEvent that counts the attempts of the last call.
func attempts(n *int) func(context.Context, retry.Event) {
	return func(_ context.Context, e retry.Event) { *n = e.N }
}

// T42: a certificate that nobody signed will not be signed next time.
func TestUnknownAuthorityIsFinal(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	defer s.Close()
	made := 0
	tr := &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick, OnEvent: attempts(&made)}}
	c := client(t, tr)
	err := get(t, c, s.URL)
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	assert.True(t, ok, "%v", err)
	assert.Equal(t, 1, made)
}

// A server that speaks no TLS, or nothing but TLS, will not learn it.
func TestWrongProtocolIsFinal(t *testing.T) {
	plain, _ := serve(t, http.NotFoundHandler())
	made := 0
	c := client(t, &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick, OnEvent: attempts(&made)}})
	assert.ErrorIs(t, get(t, c, "https"+plain[len("http"):]), http.ErrSchemeMismatch)
	assert.Equal(t, 1, made)
}

// T41: a dial that is refused is tried again, for a POST too.
func TestRefusedDialIsRetried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	made := 0
	c := client(t, &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick, OnEvent: attempts(&made)}})
	res, err := c.Post(address, "text/plain", nil)
	if err == nil {
		res.Body.Close()
	}
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 3, made)
}

// The client's Timeout bounds the whole: a wait that does not fit is not slept,
// and the last response comes back.
func TestClientTimeoutBoundsTheWaits(t *testing.T) {
	address, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	c := client(t, &retryhttp.Transport{})
	c.Timeout = 20 * time.Second
	began := time.Now()
	res, err := c.Get(address)
	require.NoError(t, err)
	assert.Equal(t, 503, res.StatusCode)
	assert.True(t, time.Since(began) < 10*time.Second)
	res.Body.Close()
}

// A redirect is a round trip of its own.
func TestRedirectHasItsOwnAttempts(t *testing.T) {
	var requests atomic.Int32
	address, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n%3 != 0:
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/":
			http.Redirect(w, r, "/there", http.StatusFound)
		}
	}))
	res, err := client(t, &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick}}).Get(address)
	require.NoError(t, err)
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, int32(6), requests.Load())
	res.Body.Close()
}

func get(t *testing.T, c *http.Client, address string) error {
	t.Helper()
	res, err := c.Get(address)
	if err == nil {
		res.Body.Close()
		t.Error("a response")
	}
	_, ok := errors.AsType[*url.Error](err)
	assert.True(t, ok)
	return err
}
