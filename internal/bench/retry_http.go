package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/PuerkitoBio/rehttp"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// The HTTP rows send requests over loopback, each contender with a connection
// pool of its own, to a server that answers 503, 503, 200 with bodies of 1 KiB,
// or 200 at once.
func httpRows() []row {
	return []row{
		{
			name: "retryhttp: 503, 503, 200, no delay",
			ours: overLoopback(2, keelsonHTTP),
			peers: []peer{
				{"go-retryablehttp v0.7.8", overLoopback(2, retryableHTTP), 0},
				{"rehttp v1.4.0", overLoopback(2, reHTTP), 0},
				{"failsafehttp v0.9.8", overLoopback(2, failsafeHTTP), 0},
			},
			allocs: 250, // most are net/http's, on both sides
		},
		{
			name: "retryhttp: 200 at once",
			ours: overLoopback(0, keelsonHTTP),
			peers: []peer{
				{"net/http alone", overLoopback(0, plainHTTP), 0},
				{"go-retryablehttp v0.7.8", overLoopback(0, retryableHTTP), 0},
				{"failsafehttp v0.9.8", overLoopback(0, failsafeHTTP), 0},
			},
			allocs: 80, // net/http's own; retryhttp adds none, which its tests check
		},
	}
}

// contender wraps a pool of connections in a package's retries.
type contender func(pool *http.Transport) http.RoundTripper

func keelsonHTTP(pool *http.Transport) http.RoundTripper {
	return &retryhttp.Transport{Base: pool, Policy: &retry.Policy{Backoff: retry.Constant(0)}}
}

func plainHTTP(pool *http.Transport) http.RoundTripper { return pool }

func retryableHTTP(pool *http.Transport) http.RoundTripper {
	c := retryablehttp.NewClient()
	c.HTTPClient, c.Logger, c.RetryMax = &http.Client{Transport: pool}, nil, 2
	c.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return 0 }
	return &retryablehttp.RoundTripper{Client: c}
}

func reHTTP(pool *http.Transport) http.RoundTripper {
	return rehttp.NewTransport(pool, rehttp.RetryAll(rehttp.RetryMaxRetries(2), rehttp.RetryStatuses(http.StatusServiceUnavailable)), rehttp.ConstDelay(0))
}

//nolint:bodyclose // it takes a type argument for a response
func failsafeHTTP(pool *http.Transport) http.RoundTripper {
	policy := failsafehttp.NewRetryPolicyBuilder().WithMaxRetries(2).WithDelay(0).Build()
	return failsafehttp.NewRoundTripperWithExecutor(pool, failsafe.With[*http.Response](retrypolicy.RetryPolicy[*http.Response](policy)))
}

// overLoopback makes the requests one after the other.
func overLoopback(failures int64, c contender) func(b *testing.B) {
	return func(b *testing.B) {
		url, _ := flakyServer(b, failures)
		client := &http.Client{Transport: c(newPool(b))}
		for b.Loop() {
			if err := fetch(client, url); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func newPool(tb testing.TB) *http.Transport {
	pool := &http.Transport{}
	tb.Cleanup(pool.CloseIdleConnections)
	return pool
}

// flakyServer fails so many times before each success. It counts connections.
func flakyServer(tb testing.TB, failures int64) (url string, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	body := strings.Repeat("x", 1024)
	var requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1)%(failures+1) != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, body)
	}))
	s.Config.ConnState = countNew(connections)
	s.Start()
	tb.Cleanup(s.Close)
	return s.URL, connections
}

func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

func fetch(c *http.Client, url string) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
