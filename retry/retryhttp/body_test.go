package retryhttp_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// T36: ten calls with three attempts each use one connection.
func TestRetriesReuseTheConnection(t *testing.T) {
	requests := 0
	url, connections := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	}))
	c := client(t, &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick}})
	for range 10 {
		res, err := c.Get(url)
		require.NoError(t, err)
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, 1024, len(text(t, res)))
	}
	assert.Equal(t, 30, requests)
	assert.Equal(t, int32(1), connections.Load())
}

// endless never ends; stalled ends when it is closed.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type stalled struct{ closed chan struct{} }

func (s stalled) Read([]byte) (int, error) { <-s.closed; return 0, io.ErrClosedPipe }
func (s stalled) Close() error             { close(s.closed); return nil }

// slow gives a byte per millisecond.
type slow struct{}

func (slow) Read(p []byte) (int, error) { time.Sleep(ms); return 1, nil }

// T36: the bodies of failed responses are read within bounds of bytes and time,
// whatever they are, and closed.
func TestDrainIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		body  func() io.Reader
		limit int64
		read  int64
		took  time.Duration
	}{
		"short":      {func() io.Reader { return strings.NewReader("abc") }, 0, 3, 0},
		"endless":    {func() io.Reader { return endless{} }, 0, 64 << 10, 0},
		"own limit":  {func() io.Reader { return endless{} }, 10, 10, 0},
		"close only": {func() io.Reader { return endless{} }, -1, 0, 0},
		"stalled":    {func() io.Reader { return stalled{make(chan struct{})} }, 0, 0, 100 * ms},
		"slow":       {func() io.Reader { return &closable{Reader: slow{}} }, 0, 99, 100 * ms},
	} {
		f := &fake{answers: []answer{{status: 503, body: func(context.Context) io.Reader { return c.body() }}, {status: 200, body: func(context.Context) io.Reader { return http.NoBody }}}}
		took := inBubble(t, func(t *testing.T) {
			tr := &retryhttp.Transport{Base: f, DrainBytes: c.limit, Policy: &retry.Policy{Backoff: quick}}
			res, err := tr.RoundTrip(request(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, 200, res.StatusCode)
			res.Body.Close()
		})
		assert.True(t, took == c.took || name == "slow" && took == c.took+ms, "%s: %v", name, took)
		assert.True(t, f.read.Load() >= c.read && f.read.Load() <= c.read+1, "%s: %d bytes", name, f.read.Load())
		assert.Equal(t, int32(2), f.closed.Load(), name)
	}
}

// A body that says that it is longer than the limit is not even begun.
func TestTooLongABodyIsClosedUnread(t *testing.T) {
	for length, read := range map[int64]int64{10: 10, 11: 0} {
		f := statuses(503, 200)
		f.answers[0].body = func(context.Context) io.Reader { return io.LimitReader(endless{}, length) }
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			res, err := f.RoundTrip(r)
			res.ContentLength = length
			return res, err
		})
		tr := &retryhttp.Transport{Base: base, DrainBytes: 10, Policy: &retry.Policy{Backoff: quick}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, read, f.read.Load())
		res.Body.Close()
		assert.Equal(t, int32(2), f.closed.Load())
	}
}

// closable stops its Reader when it is closed.
type closable struct {
	io.Reader
	done atomic.Bool
}

func (c *closable) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.done.Load() {
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (c *closable) Close() error {
	c.done.Store(true)
	return nil
}

// T36: a stalled error body of a real server does not hold up the call.
func TestStalledBodyOfARealServer(t *testing.T) {
	release := make(chan struct{})
	requests := 0
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.(http.Flusher).Flush()
			<-release
		}
	}))
	t.Cleanup(func() { close(release) }) // before the server, which waits for its handlers
	res, err := client(t, &retryhttp.Transport{Policy: &retry.Policy{Backoff: quick}}).Get(url)
	require.NoError(t, err)
	assert.Equal(t, 200, res.StatusCode)
	res.Body.Close()
}

// T37: a server that answers 503 while a body of 1 MiB is still being sent: the
// next attempt has a body of its own, while the transport may go on reading the
// first one. Under -race, a shared body shows.
func TestLargeBodyAnsweredEarly(t *testing.T) {
	payload := strings.Repeat("0123456789abcdef", 1<<16)
	requests := 0
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != payload {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	c := client(t, &retryhttp.Transport{Policy: &retry.Policy{MaxAttempts: 3, Backoff: quick}})
	for range 5 {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(payload))
		require.NoError(t, err)
		r.Header.Set("Idempotency-Key", "7")
		res, err := c.Do(r)
		require.NoError(t, err)
		assert.Equal(t, 200, res.StatusCode)
		res.Body.Close()
	}
	assert.Equal(t, 15, requests)
}

// T37: each attempt but the first has a body from GetBody.
func TestEachAttemptHasItsOwnBody(t *testing.T) {
	f := statuses(503)
	r := request(t, "PUT", "payload")
	first, asked := r.Body, 0
	getBody := r.GetBody
	r.GetBody = func() (io.ReadCloser, error) {
		asked++
		return getBody()
	}
	res, err := (&retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}}).RoundTrip(r)
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, 2, asked)
	assert.Equal(t, []string{"payload", "payload", "payload"}, f.sent)
	assert.Same(t, first, f.seen[0].Body)
}

func TestGetBodyErrorEndsTheCall(t *testing.T) {
	for _, hedged := range []bool{false, true} {
		f := statuses(503)
		r := request(t, "PUT", "payload")
		r.GetBody = func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}}
		if hedged {
			tr.Hedge = hedgeAtOnce
		}
		assert.Same(t, io.ErrUnexpectedEOF, failure(t, tr, r))
		assert.True(t, len(f.seen) <= 1)
		assert.Equal(t, f.opened.Load(), f.closed.Load())
	}
}

// AttemptTimeout bounds the time to the header. The body may take longer, and
// its context ends when it is closed, or read to its end.
func TestAttemptTimeoutBoundsTheHeaderOnly(t *testing.T) {
	for _, close := range []bool{true, false} {
		var attempt context.Context
		body := func(ctx context.Context) io.Reader {
			attempt = ctx
			return io.LimitReader(sleepy{ctx}, 5)
		}
		f := &fake{answers: []answer{{hang: 2 * time.Second, status: 200}, {hang: 500 * ms, status: 200, body: body}}}
		synctest.Test(t, func(t *testing.T) {
			tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{AttemptTimeout: time.Second, Backoff: quick}}
			began := time.Now()
			res, err := tr.RoundTrip(request(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, 1500*ms, time.Since(began))
			b, err := io.ReadAll(io.LimitReader(res.Body, 5))
			require.NoError(t, err)
			assert.Equal(t, 5, len(b))
			assert.Equal(t, 6500*ms, time.Since(began))
			assert.NoError(t, attempt.Err())
			if close {
				res.Body.Close()
			} else {
				_, err := res.Body.Read(make([]byte, 1))
				assert.Same(t, io.EOF, err)
			}
			assert.Error(t, attempt.Err())
			res.Body.Close()
		})
	}
}

// sleepy gives a byte per second until its context ends.
type sleepy struct{ ctx context.Context }

func (s sleepy) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return 1, s.ctx.Err()
}

// The caller's cancellation still reaches a body that outlives its attempt.
func TestCallersContextReachesTheBody(t *testing.T) {
	var attempt context.Context
	f := &fake{answers: []answer{{status: 200, body: func(ctx context.Context) io.Reader {
		attempt = ctx
		return endless{}
	}}}}
	ctx, cancel := context.WithCancel(t.Context())
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{AttemptTimeout: time.Minute}}
	res, err := tr.RoundTrip(request(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	assert.NoError(t, attempt.Err())
	cancel()
	assert.Error(t, attempt.Err())
	res.Body.Close()
}

// The body of a 101 response can be written to.
func TestSwitchedProtocolStaysWritable(t *testing.T) {
	f := statuses(101)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{AttemptTimeout: time.Minute}}
	res, err := tr.RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	defer res.Body.Close()
	w, ok := res.Body.(io.ReadWriteCloser)
	require.True(t, ok)
	n, err := w.Write([]byte("abc"))
	assert.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.NoError(t, w.Close())
	assert.Error(t, f.seen[0].Context().Err())
}
