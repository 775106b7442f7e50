package retryhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

const ms = time.Millisecond

var (
	errReset   = errors.New("connection reset")
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	quick      = retry.Constant(0)
)

// fake is a RoundTripper without a network: attempt i (from 0) is answers[i],
// the last one for ever. It watches over requests and bodies.
type fake struct {
	answers []answer

	mu     sync.Mutex
	seen   []*http.Request
	sent   []string // bodies of requests
	at     []time.Time
	opened atomic.Int32 // response bodies
	closed atomic.Int32
	read   atomic.Int64 // bytes of response bodies
}

type answer struct {
	status int // 0: err
	err    error
	header http.Header
	body   func(ctx context.Context) io.Reader // nil: a short text
	hang   time.Duration                       // before the header; obeys the context
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	f.mu.Lock()
	a := f.answers[min(len(f.seen), len(f.answers)-1)]
	f.seen = append(f.seen, r)
	f.sent = append(f.sent, string(body))
	f.at = append(f.at, time.Now())
	f.mu.Unlock()
	if a.hang > 0 {
		select {
		case <-time.After(a.hang):
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	if a.status == 0 {
		return nil, a.err
	}
	res := &http.Response{StatusCode: a.status, Header: a.header, Request: r, ContentLength: -1}
	if res.Header == nil {
		res.Header = http.Header{}
	}
	reader := io.Reader(bytes.NewReader([]byte("body")))
	if a.body != nil {
		reader = a.body(r.Context())
	}
	f.opened.Add(1)
	res.Body = &watched{Reader: reader, f: f}
	return res, nil
}

// watched counts what is read, and closes.
type watched struct {
	io.Reader
	f    *fake
	once sync.Once
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.f.read.Add(int64(n))
	return n, err
}

func (w *watched) Close() error {
	w.once.Do(func() { w.f.closed.Add(1) })
	if c, ok := w.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (w *watched) Write(p []byte) (int, error) { return len(p), nil }

// statuses answers with one status after the other.
func statuses(codes ...int) *fake {
	f := &fake{}
	for _, code := range codes {
		f.answers = append(f.answers, answer{status: code})
	}
	return f
}

func request(t testing.TB, method, body string) *http.Request {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = bytes.NewReader([]byte(body))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://10.0.0.7/users/7", reader)
	require.NoError(t, err)
	return r
}

// text reads a response to its end and closes it.
func text(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return string(b)
}

// failure makes a round trip that must not give a response.
func failure(t testing.TB, rt http.RoundTripper, r *http.Request) error {
	t.Helper()
	res, err := rt.RoundTrip(r)
	if err == nil {
		res.Body.Close()
		t.Error("a response")
	}
	return err
}

// inBubble runs fn in virtual time and returns how long it took there.
func inBubble(t *testing.T, fn func(t *testing.T)) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		fn(t)
		took = time.Since(began)
	})
	return took
}

// serve starts a real server and counts its connections.
func serve(t *testing.T, h http.Handler) (url string, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

// client returns a client with a connection pool of its own.
func client(t *testing.T, tr *retryhttp.Transport) *http.Client {
	t.Helper()
	tr.Base = &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
