package retryhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// fading ends when somebody looks at it once too often.
type fading struct {
	context.Context
	looks int
}

func (c *fading) Err() error {
	if c.looks--; c.looks >= 0 {
		return nil
	}
	return context.Canceled
}

// T43: whenever the caller leaves, be it between the first attempt and the loop
// that goes on from there, the response is returned or closed, and an error
// tells of the attempts that were made.
func TestNoBodyStaysOpenWheneverTheCallerLeaves(t *testing.T) {
	for looks := range 12 {
		f := statuses(503)
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}}
		res, err := tr.RoundTrip(request(t, "GET", "").WithContext(&fading{t.Context(), looks}))
		if err == nil {
			assert.Equal(t, "body", text(t, res))
		} else {
			e, ok := errors.AsType[*retry.Error](err)
			require.True(t, ok)
			assert.Equal(t, len(f.seen), e.Attempts, "%d looks", looks)
			assert.ErrorIs(t, err, context.Canceled)
		}
		assert.Equal(t, f.opened.Load(), f.closed.Load(), "%d looks", looks)
	}
}

// What Base says for good is returned as it is, though the caller left meanwhile:
// with and without the short cut for the first attempt.
func TestFinalFailureGoesBeforeTheCancellation(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} {
		for _, final := range []error{retry.Permanent(context.Canceled), &retry.Error{Err: errReset, Reason: retry.ErrExhausted}} {
			ctx, cancel := context.WithCancel(t.Context())
			base := roundTripper(func(*http.Request) (*http.Response, error) {
				cancel()
				return nil, final
			})
			tr := &retryhttp.Transport{Base: base, Policy: &retry.Policy{AttemptTimeout: limit}}
			assert.Same(t, final, failure(t, tr, request(t, "GET", "").WithContext(ctx)))
		}
	}
}

// A predicate that reads the body, or counts, sees each response once.
func TestPredicateIsAskedOncePerResponse(t *testing.T) {
	asked := 0
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Backoff: quick}, Retryable: func(*http.Response, error) bool {
		asked++
		return true
	}}
	res, err := tr.RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, len(f.seen), asked)
}

func TestPanicInIdempotentClosesTheBody(t *testing.T) {
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, Idempotent: func(*http.Request) bool { panic("in Idempotent") }}
	assert.Equal(t, any("in Idempotent"), assert.Panics(t, func() { _ = failure(t, tr, request(t, "GET", "")) }))
	assert.Equal(t, int32(1), f.opened.Load())
	assert.Equal(t, f.opened.Load(), f.closed.Load())
}

// The mark that keeps a POST from being sent twice is seen by nobody: neither in
// events nor in the error, be that one of a Transport below this one.
func TestMarkStaysInside(t *testing.T) {
	below := fmt.Errorf("replica 2: %w", &retry.Error{Err: errReset, Reason: retry.ErrBudget, Attempts: 2})
	for _, failed := range []error{errReset, below} {
		var last retry.Event
		tr := &retryhttp.Transport{Base: &fake{answers: []answer{{err: failed}}}, Policy: &retry.Policy{
			OnEvent: func(_ context.Context, e retry.Event) { last = e },
		}}
		assert.Same(t, failed, failure(t, tr, request(t, "POST", "x")))
		assert.Same(t, failed, last.Err)
	}
}

func TestOnEventGetsTheCallersContext(t *testing.T) {
	ctx := context.WithValue(t.Context(), http.ServerContextKey, 7)
	tr := &retryhttp.Transport{Base: statuses(503), Policy: &retry.Policy{
		Backoff: quick, OnEvent: func(got context.Context, _ retry.Event) { assert.Same(t, ctx, got) },
	}}
	res, err := tr.RoundTrip(request(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	res.Body.Close()
}

// Responses made by hand often have no Body; none is missed.
func TestResponseWithoutBodyField(t *testing.T) {
	for _, tr := range []*retryhttp.Transport{
		{},
		{Policy: &retry.Policy{AttemptTimeout: time.Minute}},
		{Hedge: &hedge.Policy{Delay: -1}},
	} {
		own := retry.Policy{}
		if tr.Policy != nil {
			own = *tr.Policy
		}
		own.Backoff, tr.Policy = quick, &own
		tr.Base = roundTripper(func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 503}, nil })
		res, err := tr.RoundTrip(request(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, 503, res.StatusCode)
		res.Body.Close()
	}
}

// In an extra attempt of a hedge around the client, too, the first request is
// the caller's own, body and all.
func TestFirstAttemptInsideAHedgeSendsTheCallersBody(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		f := statuses(200)
		tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{AttemptTimeout: limit}}
		err := hedge.Run(t.Context(), nil, func(ctx context.Context) error {
			if hedge.Index(ctx) == 0 {
				return errReset
			}
			r := request(t, "PUT", "x").WithContext(ctx)
			res, err := tr.RoundTrip(r)
			require.NoError(t, err)
			res.Body.Close()
			assert.Same(t, r.Body, f.seen[0].Body)
			return nil
		})
		assert.NoError(t, err)
	}
}
