package retryhttp_test

import (
	"context"
	"errors"
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
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

var hedgeAtOnce = &hedge.Policy{Delay: -1}

// T43: a hedged response of 512 KiB arrives whole: the attempt that won is not
// cancelled with the rest.
func TestHedgedResponseArrivesWhole(t *testing.T) {
	var requests atomic.Int32
	payload := strings.Repeat("0123456789abcdef", 1<<15)
	url, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, payload)
	}))
	c := client(t, &retryhttp.Transport{Hedge: &hedge.Policy{Delay: ms}})
	res, err := c.Get(url)
	require.NoError(t, err)
	assert.True(t, text(t, res) == payload)
	assert.True(t, requests.Load() >= 2)
}

// T43: the winner's context ends at Close, that of the beaten at once, and every
// body is closed.
func TestHedgedContexts(t *testing.T) {
	f := &fake{answers: []answer{{hang: time.Hour, status: 200}, {hang: 10 * ms, status: 200}}}
	synctest.Test(t, func(t *testing.T) {
		res, err := (&retryhttp.Transport{Base: f, Hedge: &hedge.Policy{}}).RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		require.Equal(t, 2, len(f.seen))
		assert.Error(t, f.seen[0].Context().Err())
		assert.NoError(t, f.seen[1].Context().Err())
		assert.Equal(t, 1, hedge.Index(f.seen[1].Context()), "Base may pick a replica by it")
		assert.Equal(t, "body", text(t, res))
		assert.Error(t, f.seen[1].Context().Err())
	})
	assert.Equal(t, f.opened.Load(), f.closed.Load())
}

// Failed responses of one round are closed, but for the one that comes back.
func TestHedgedFailuresAreClosed(t *testing.T) {
	for _, attempts := range []int{1, 3} {
		f := statuses(503)
		tr := &retryhttp.Transport{Base: f, Hedge: hedgeAtOnce, Policy: &retry.Policy{MaxAttempts: attempts, Backoff: quick}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, 2*attempts, len(f.seen))
		assert.Equal(t, f.opened.Load()-1, f.closed.Load())
		assert.Equal(t, "body", text(t, res))
	}
}

// A response that comes second is closed.
func TestBeatenResponseIsClosed(t *testing.T) {
	release := make(chan struct{})
	var opened, closed atomic.Int32
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		if hedge.Index(r.Context()) == 0 {
			<-release // does not obey its context
		} else {
			defer close(release)
		}
		opened.Add(1)
		return &http.Response{StatusCode: 200, Body: &counted{strings.NewReader("x"), &closed}}, nil
	})
	res, err := (&retryhttp.Transport{Base: base, Hedge: hedgeAtOnce}).RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	assert.Equal(t, "x", text(t, res))
	assert.Equal(t, int32(2), opened.Load())
	assert.Equal(t, int32(2), closed.Load())
}

type counted struct {
	io.Reader
	closed *atomic.Int32
}

func (c *counted) Close() error { c.closed.Add(1); return nil }

// A request that may not be sent twice is not hedged.
func TestPostIsNotHedged(t *testing.T) {
	f := &fake{answers: []answer{{hang: time.Second, status: 200}}}
	inBubble(t, func(t *testing.T) {
		res, err := (&retryhttp.Transport{Base: f, Hedge: &hedge.Policy{}}).RoundTrip(request(t, "POST", "x"))
		require.NoError(t, err)
		assert.Equal(t, "body", text(t, res))
	})
	assert.Equal(t, 1, len(f.seen))
}

// A hedged round that hits AttemptTimeout is retried.
func TestHedgedRoundThatTimesOut(t *testing.T) {
	f := &fake{answers: []answer{{hang: time.Hour}, {hang: time.Hour}, {status: 200}}}
	took := inBubble(t, func(t *testing.T) {
		tr := &retryhttp.Transport{Base: f, Hedge: &hedge.Policy{}, Policy: &retry.Policy{AttemptTimeout: time.Second, Backoff: quick}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, "body", text(t, res))
	})
	assert.Equal(t, 3, len(f.seen))
	assert.Equal(t, time.Second, took)
}

// T38: neither the caller's request nor its header map is written, and the key
// is the same in all attempts, hedged ones too.
func TestCallersRequestIsNotWritten(t *testing.T) {
	keys := 0
	f := statuses(503)
	tr := &retryhttp.Transport{
		Base: f, Hedge: hedgeAtOnce, Policy: &retry.Policy{Backoff: quick, AttemptTimeout: time.Minute},
		IdempotencyKey: func() string { keys++; return "key-7" },
	}
	r := request(t, "POST", "x")
	r.Header = http.Header{"Accept": {"text/plain"}}
	before := *r
	res, err := tr.RoundTrip(r)
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, before.Body, r.Body)
	assert.Equal(t, before.Context(), r.Context())
	assert.Equal(t, http.Header{"Accept": {"text/plain"}}, r.Header)
	assert.Equal(t, 1, keys)
	require.Equal(t, 6, len(f.seen))
	for _, seen := range f.seen {
		assert.Equal(t, []string{"key-7"}, seen.Header["Idempotency-Key"])
		assert.Equal(t, "text/plain", seen.Header.Get("Accept"))
	}
}

func TestKeyIsMadeWhereItIsMissing(t *testing.T) {
	for _, c := range []struct {
		method, header string
		want           int
	}{{"POST", "", 1}, {"PATCH", "", 1}, {"PUT", "", 0}, {"GET", "", 0}, {"POST", "Idempotency-Key", 0}, {"POST", "X-Idempotency-Key", 0}} {
		keys := 0
		tr := &retryhttp.Transport{Base: statuses(200), IdempotencyKey: func() string { keys++; return "k" }}
		r := request(t, c.method, "")
		r.Header = nil
		if c.header != "" {
			r.Header = http.Header{c.header: {"own"}}
		}
		res, err := tr.RoundTrip(r)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, c.want, keys, "%+v", c)
	}
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, IdempotencyKey: func() string { return "" }}
	res, err := tr.RoundTrip(request(t, "POST", ""))
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, 1, len(f.seen), "no key, no second attempt")
}

func TestHedgePredicateMustAgreeToo(t *testing.T) {
	f := &fake{answers: []answer{{err: errReset}}}
	tr := &retryhttp.Transport{
		Base: f, Policy: &retry.Policy{MaxAttempts: 1},
		Hedge: &hedge.Policy{Retryable: func(err error) bool { return !errors.Is(err, errReset) }},
	}
	assert.ErrorIs(t, failure(t, tr, request(t, "GET", "")), errReset)
	assert.Equal(t, 1, len(f.seen))
}

// A panic in a hedged attempt reaches the caller, and no body stays open.
func TestPanicClosesBodies(t *testing.T) {
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{
		OnEvent: func(context.Context, retry.Event) { panic("in OnEvent") },
	}}
	assert.Equal(t, any("in OnEvent"), assert.Panics(t, func() {
		if res, err := tr.RoundTrip(request(t, "GET", "")); err == nil {
			res.Body.Close()
		}
	}))
	assert.Equal(t, f.opened.Load(), f.closed.Load())

	f = statuses(503)
	tr = &retryhttp.Transport{Base: f, Retryable: func(r *http.Response, _ error) bool { panic("in Retryable") }}
	assert.Equal(t, any("in Retryable"), assert.Panics(t, func() {
		if res, err := tr.RoundTrip(request(t, "GET", "")); err == nil {
			res.Body.Close()
		}
	}))
	assert.Equal(t, int32(1), f.opened.Load())
	assert.Equal(t, f.opened.Load(), f.closed.Load())
}
