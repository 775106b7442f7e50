package retryhttp_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

func TestRetriesRetryableStatuses(t *testing.T) {
	for code := 200; code < 600; code++ {
		f := statuses(code, 200)
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		res.Body.Close()
		want := code == 408 || code == 425 || code == 429 || code >= 500 && code <= 504 && code != 501
		assert.Equal(t, want, len(f.seen) == 2, "%d", code)
		assert.Equal(t, f.opened.Load(), f.closed.Load())
	}
}

// T42: when the attempts are spent, the last response comes back, readable and
// without an error.
func TestLastResponseComesBack(t *testing.T) {
	f := statuses(503, 500, 502)
	var last retry.Event
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{
		Backoff: quick, OnEvent: func(_ context.Context, e retry.Event) { last = e },
	}}
	res, err := tr.RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	assert.Equal(t, 502, res.StatusCode)
	assert.Equal(t, int32(2), f.closed.Load())
	assert.Equal(t, "body", text(t, res))
	assert.Equal(t, int32(3), f.closed.Load())

	assert.Equal(t, 3, last.N)
	status, ok := errors.AsType[*retryhttp.StatusError](last.Err)
	require.True(t, ok)
	assert.Equal(t, retryhttp.StatusError{Code: 502}, *status)
	assert.ErrorIs(t, last.Err, retry.ErrExhausted)
}

func TestTransportErrorComesBack(t *testing.T) {
	f := &fake{answers: []answer{{err: errReset}}}
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}}
	err := failure(t, tr, request(t, "GET", ""))
	assert.ErrorIs(t, err, errReset)
	assert.ErrorIs(t, err, retry.ErrExhausted)
	assert.Equal(t, 3, len(f.seen))

	tr.Policy = &retry.Policy{Backoff: quick, Retryable: func(error) bool { return false }}
	err = failure(t, tr, request(t, "GET", ""))
	assert.Same(t, errReset, err)
}

// T39: a server that asks for a day gets its answer through at once.
func TestLongRetryAfterEndsTheCallWithTheResponse(t *testing.T) {
	f := &fake{answers: []answer{{status: 503, header: http.Header{"Retry-After": {"86400"}}}}}
	took := inBubble(t, func(t *testing.T) {
		res, err := (&retryhttp.Transport{Base: f}).RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "body", text(t, res))
	})
	assert.Equal(t, 1, len(f.seen))
	assert.Equal(t, time.Duration(0), took)
}

func TestRetryAfterIsObeyed(t *testing.T) {
	f := &fake{answers: []answer{{status: 429, header: http.Header{"Retry-After": {"7"}}}, {status: 200}}}
	took := inBubble(t, func(t *testing.T) {
		res, err := (&retryhttp.Transport{Base: f}).RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		res.Body.Close()
	})
	assert.True(t, took >= 7*time.Second && took <= 7700*ms, "%v", took)
}

// T41: a POST without a key is sent once, whatever comes back, unless nothing
// was sent because the dial failed.
func TestPostWithoutKeyIsNotSentTwice(t *testing.T) {
	for _, p := range []*retry.Policy{{Backoff: quick}, {Backoff: quick, AttemptTimeout: time.Hour}} {
		for _, a := range []answer{{status: 500}, {status: 503}, {status: 429}, {err: errReset}, {err: context.DeadlineExceeded}} {
			f := &fake{answers: []answer{a}}
			budget := retry.NewThrottle(10, 1)
			own := *p
			own.Budget = budget
			res, err := (&retryhttp.Transport{Base: f, Policy: &own}).RoundTrip(request(t, "POST", "x"))
			assert.Equal(t, 1, len(f.seen), "%+v", a)
			assert.Equal(t, 10.0, budget.Stats().Available)
			if a.status == 0 {
				assert.Same(t, a.err, err)
			} else {
				require.NoError(t, err)
				assert.Equal(t, "body", text(t, res))
			}
		}
		f := &fake{answers: []answer{{err: errRefused}, {err: errRefused}, {status: 201}}}
		res, err := (&retryhttp.Transport{Base: f, Policy: p}).RoundTrip(request(t, "POST", "x"))
		require.NoError(t, err)
		assert.Equal(t, 201, res.StatusCode)
		assert.Equal(t, []string{"x", "x", "x"}, f.sent)
		res.Body.Close()
	}
}

// T41: neither is one that hit AttemptTimeout, although that is retried in all
// other requests: it may have been received.
func TestPostThatTimedOutIsNotSentTwice(t *testing.T) {
	f := &fake{answers: []answer{{hang: time.Hour, status: 200}}}
	took := inBubble(t, func(t *testing.T) {
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick, AttemptTimeout: time.Second}}
		err := failure(t, tr, request(t, "POST", "x"))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		err = failure(t, tr, request(t, "GET", ""))
		assert.ErrorIs(t, err, retry.ErrExhausted)
	})
	assert.Equal(t, 1+3, len(f.seen))
	assert.Equal(t, 4*time.Second, took)
}

func TestRequestsThatMayBeSentTwice(t *testing.T) {
	for method, want := range map[string]bool{
		"": true, "GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false,
	} {
		r := request(t, "GET", "")
		r.Method = method
		assert.Equal(t, want, retryhttp.DefaultIdempotent(r), "%q", method)
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			keyed := request(t, "POST", "")
			keyed.Header.Set(header, "7")
			assert.True(t, retryhttp.DefaultIdempotent(keyed))
		}
	}
	f := statuses(503, 200)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}, Idempotent: func(*http.Request) bool { return true }}
	res, err := tr.RoundTrip(request(t, "POST", "x"))
	require.NoError(t, err)
	assert.Equal(t, 200, res.StatusCode)
	res.Body.Close()
}

// A request whose body cannot be had again, or that is not for the network, goes
// to Base as it is.
func TestPlainAttempt(t *testing.T) {
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick, AttemptTimeout: time.Second}}
	once := request(t, "PUT", "x")
	once.GetBody = nil
	file := request(t, "GET", "")
	file.URL.Scheme = "file"
	for i, r := range []*http.Request{once, file} {
		res, err := tr.RoundTrip(r)
		require.NoError(t, err)
		assert.Same(t, r, f.seen[i])
		res.Body.Close()
	}
	assert.Equal(t, 2, len(f.seen))
}

func TestBothPredicatesMustAgree(t *testing.T) {
	teapot := func(r *http.Response, err error) bool { return err != nil || r.StatusCode == 418 }
	for _, c := range []struct {
		own  func(error) bool
		want int
	}{
		{nil, 3},
		{func(error) bool { return true }, 3},
		{func(err error) bool {
			e, ok := errors.AsType[*retryhttp.StatusError](err)
			return !ok || e.Code != 418
		}, 1},
	} {
		f := statuses(418)
		tr := &retryhttp.Transport{Base: f, Retryable: teapot, Policy: &retry.Policy{Backoff: quick, Retryable: c.own}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, 418, res.StatusCode)
		assert.Equal(t, "body", text(t, res))
		assert.Equal(t, c.want, len(f.seen))
	}
	assert.False(t, retryhttp.DefaultRetryable(nil, nil))
}

func TestBudgetIsTold(t *testing.T) {
	budget := retry.NewBudget(retry.BudgetConfig{Ratio: 1, PerSecond: -1, Burst: 2})
	tr := &retryhttp.Transport{Base: statuses(503), Policy: &retry.Policy{MaxAttempts: 9, Backoff: quick, Budget: budget}}
	res, err := tr.RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	assert.Equal(t, "body", text(t, res))
	assert.Equal(t, retry.BudgetStats{Withdrawn: 2, Denied: 1}, budget.Stats())
	for _, code := range []int{200, 404} {
		tr.Base = statuses(code)
		res, err = tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		res.Body.Close()
	}
	assert.Equal(t, 2.0, budget.Stats().Available, "404 is an answer")
}

func TestEndedContext(t *testing.T) {
	f := statuses(200)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := request(t, "PUT", "x").WithContext(ctx)
	body := &watched{f: f}
	r.Body = body
	err := failure(t, &retryhttp.Transport{Base: f}, r)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 0, len(f.seen))
	assert.Equal(t, int32(1), f.closed.Load(), "no attempt was made: the body is closed here")
}

// Cancelled during the first attempt: the same as in any other.
func TestCancelDuringTheFirstAttempt(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} { // with and without the short cut
		var events []retry.Event
		budget := retry.NewThrottle(10, 1)
		f := &fake{answers: []answer{{hang: time.Second, err: errReset}}}
		inBubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("shutting down")
			time.AfterFunc(10*ms, func() { cancel(cause) })
			tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{
				AttemptTimeout: limit, Budget: budget,
				OnEvent: func(_ context.Context, e retry.Event) { events = append(events, e) },
			}}
			err := failure(t, tr, request(t, "GET", "").WithContext(ctx))
			assert.ErrorIs(t, err, cause)
			assert.Equal(t, 1, len(events))
			assert.True(t, events[0].Last && events[0].N == 1)
			assert.ErrorIs(t, events[0].Err, cause)
		})
		assert.Equal(t, 10.0, budget.Stats().Available)
	}
}

// A response that is there when ctx ends is returned; one that was drained for
// a wait is not, and the error says why.
func TestCancelAfterAResponse(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{answers: []answer{{status: 503}}}
	tr := &retryhttp.Transport{Base: f, Retryable: func(r *http.Response, _ error) bool {
		cancel()
		return true
	}}
	res, err := tr.RoundTrip(request(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	assert.Equal(t, "body", text(t, res))

	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*ms, cancel)
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: retry.Constant(time.Second)}}
		err := failure(t, tr, request(t, "GET", "").WithContext(ctx))
		assert.ErrorIs(t, err, context.Canceled)
		e, ok := errors.AsType[*retryhttp.StatusError](err)
		require.True(t, ok)
		assert.Equal(t, 503, e.Code)
		assert.Equal(t, "retryhttp: 503 Service Unavailable", e.Error())
	})
	assert.Equal(t, f.opened.Load(), f.closed.Load())
}

func TestMaxElapsedCountsTheFirstAttempt(t *testing.T) {
	f := &fake{answers: []answer{{hang: 2 * time.Second, status: 503}}}
	inBubble(t, func(t *testing.T) {
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick, MaxElapsed: time.Second}}
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		res.Body.Close()
	})
	assert.Equal(t, 1, len(f.seen))
}

// A first-try success allocates nothing beyond Base.
func TestSuccessAllocatesNothing(t *testing.T) {
	res := &http.Response{StatusCode: 200, Body: http.NoBody}
	base := roundTripper(func(*http.Request) (*http.Response, error) { return res, nil })
	r := request(t, "PUT", "x")
	for name, tr := range map[string]*retryhttp.Transport{
		"zero":   {Base: base},
		"budget": {Base: base, Policy: &retry.Policy{Budget: retry.NewBudget(retry.BudgetConfig{})}},
		"key":    {Base: base, IdempotencyKey: func() string { return "x" }}, // PUT needs none
	} {
		assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() {
			if res, err := tr.RoundTrip(r); err == nil {
				res.Body.Close()
			}
		}), name)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
