package breakerhttp_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/breaker/breakerhttp"
	"github.com/keelson-go/keelson/breaker/limit"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

// serve runs one request through a handler behind b.
func serve(b breaker.Gate, h http.HandlerFunc) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m := &breakerhttp.Middleware{Gate: gate(b)}
	m.Wrap(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}

// T30: the status decides: the first final one, and none is 200.
func TestStatusDecides(t *testing.T) {
	cases := map[string]struct {
		h      http.HandlerFunc
		failed uint64
	}{
		"nothing":        {func(http.ResponseWriter, *http.Request) {}, 0},
		"body alone":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, 0},
		"404":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 0},
		"500":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 1},
		"501":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(501) }, 0},
		"503":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 1},
		"103 then 200":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(200) }, 0},
		"103 then 500":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(500) }, 1},
		"200 then 500":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.WriteHeader(500) }, 0},
		"body then 500":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x"); w.WriteHeader(500) }, 0},
		"flush then 500": {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); w.WriteHeader(500) }, 0},
		"control then 500": {func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			w.WriteHeader(500)
		}, 0},
		"ReadFrom then 500": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, strings.NewReader("x"))
			w.WriteHeader(500)
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := breaker.New(breaker.Config{})
			serve(b, c.h)
			assert.Equal(t, c.failed, b.Stats().Failed)
			assert.Equal(t, 1-c.failed, b.Stats().Succeeded)
		})
	}
}

// T30: over a real server, whose writer is an [io.ReaderFrom] that sends no
// header as long as the source gives nothing.
func TestStatusAfterACopyOfNothing(t *testing.T) {
	b := breaker.New(breaker.Config{})
	m := &breakerhttp.Middleware{Gate: gate(b)}
	s := httptest.NewServer(m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.Copy(w, strings.NewReader(""))
		assert.NoError(t, err)
		w.WriteHeader(http.StatusBadGateway)
	})))
	resp, err := s.Client().Get(s.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	s.Close()
	assert.Equal(t, http.StatusBadGateway, resp.StatusCode)
	assert.Equal(t, uint64(1), b.Stats().Failed)
}

// T30: a controller finds the flush of a writer further out.
func TestFlushOfAWrappedWriterSendsTheHeader(t *testing.T) {
	b := breaker.New(breaker.Config{})
	m := &breakerhttp.Middleware{Gate: gate(b)}
	for _, w := range []http.ResponseWriter{unwraps{plain{httptest.NewRecorder()}}, plain{httptest.NewRecorder()}} {
		m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			w.WriteHeader(500)
		})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	}
	assert.Equal(t, uint64(1), b.Stats().Succeeded, "flushed before the 500")
	assert.Equal(t, uint64(1), b.Stats().Failed, "nothing there can flush")
}

// unwraps is a writer around another one, as middleware makes them.
type unwraps struct{ plain }

func (u unwraps) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// T30: a refusal is 503 with Retry-After in whole seconds, rounded up, at
// least 1.
func TestRefusalIs503WithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for d, want := range map[time.Duration]string{
			time.Hour:                "3600",
			1500 * time.Millisecond:  "2",
			time.Second:              "1",
			time.Second + 1:          "2",
			100 * time.Millisecond:   "1",
			time.Duration(1<<63 - 1): "9223372037",
		} {
			b := breaker.New(breaker.Config{})
			b.Trip(d, nil)
			w := serve(b, func(http.ResponseWriter, *http.Request) { t.Error("ran") })
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			assert.Equal(t, want, w.Header().Get("Retry-After"), "%v", d)
		}
		w := serve(limit.NewConcurrency(limit.ConcurrencyConfig{}), nil)
		assert.Equal(t, "1", w.Header().Get("Retry-After"), "a gate that cannot say")
	})
}

func TestRefuseStatusKeepsRetryAfter(t *testing.T) {
	b := breaker.New(breaker.Config{})
	b.Trip(time.Hour, nil)
	m := &breakerhttp.Middleware{Gate: gate(b), RefuseStatus: http.StatusTooManyRequests}
	w := httptest.NewRecorder()
	m.Wrap(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "3600", w.Header().Get("Retry-After"))
	assert.Equal(t, "Too Many Requests\n", w.Body.String())
}

// T30: a panic is a failure and goes on.
func TestPanicOfAHandlerIsFailure(t *testing.T) {
	b := breaker.New(breaker.Config{Consecutive: 1})
	assert.Equal(t, http.ErrAbortHandler, assert.Panics(t, func() {
		serve(b, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}))
	assert.Equal(t, breaker.Open, b.State())
}

func TestRefuseGetsWhateverKeptTheRequestOut(t *testing.T) {
	var got error
	busy := limit.NewConcurrency(limit.ConcurrencyConfig{Max: 1, Queue: 1})
	_, err := busy.Allow(t.Context())
	require.NoError(t, err)
	m := &breakerhttp.Middleware{
		Gate: gate(busy),
		Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
			got = err
			w.WriteHeader(http.StatusTooManyRequests)
		},
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(io.ErrClosedPipe) })
	w := httptest.NewRecorder()
	m.Wrap(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	assert.Same(t, io.ErrClosedPipe, got)
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
}

func TestFailedDecides(t *testing.T) {
	b := breaker.New(breaker.Config{})
	m := &breakerhttp.Middleware{Gate: gate(b), Failed: func(status int) bool { return status == 404 }}
	m.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, uint64(1), b.Stats().Failed)
}

func TestHandlerRunsUnderTheTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Timeout: time.Second})
		serve(b, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			assert.Same(t, breaker.ErrTimeout, context.Cause(r.Context()))
			w.WriteHeader(http.StatusGatewayTimeout)
		})
		assert.Equal(t, uint64(1), b.Stats().Failed)
		assert.Equal(t, uint64(1), b.Stats().Slow)
	})
}

func TestMiddlewareWithoutGateForwards(t *testing.T) {
	none := func(*http.Request) breaker.Gate { return nil }
	for _, m := range []*breakerhttp.Middleware{{}, {Gate: none}} {
		w := httptest.NewRecorder()
		m.Wrap(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		assert.Equal(t, 404, w.Code)
	}
}

// plain is a ResponseWriter and nothing more.
type plain struct{ http.ResponseWriter }

func TestWriterCanWhatTheServersCan(t *testing.T) {
	can := func(w http.ResponseWriter) (flush, hijack bool) {
		b := breaker.New(breaker.Config{})
		(&breakerhttp.Middleware{Gate: gate(b)}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, flush = w.(http.Flusher)
			_, hijack = w.(http.Hijacker)
		})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return flush, hijack
	}
	flush, hijack := can(httptest.NewRecorder())
	assert.True(t, flush && !hijack, "a recorder can flush")
	flush, hijack = can(plain{httptest.NewRecorder()})
	assert.True(t, !flush && !hijack, "a plain writer cannot")
	flush, hijack = can(struct {
		plain
		http.Hijacker
	}{})
	assert.True(t, !flush && hijack)
}

func TestHijackOverARealServer(t *testing.T) {
	b := breaker.New(breaker.Config{})
	m := &breakerhttp.Middleware{Gate: gate(b)}
	h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = buf.Flush()
		line, _ := buf.ReadString('\n')
		_, _ = buf.WriteString("got " + line)
		_ = buf.Flush()
	}))
	over := make(chan struct{}) // a server does not wait for those who hijack
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(over)
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	tr := &breakerhttp.Transport{}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	require.NoError(t, err)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	resp, err := tr.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	rw := resp.Body.(io.ReadWriter)
	_, err = io.WriteString(rw, "hello\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(rw).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "got hello\n", line)
	<-over
	assert.Equal(t, uint64(1), b.Stats().Succeeded)
}
