package retryhttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

// Errors that will be the same next time, by type, however they are wrapped.
func TestErrorsThatWillNotGoAway(t *testing.T) {
	for _, err := range []error{
		x509.UnknownAuthorityError{},
		x509.HostnameError{Certificate: &x509.Certificate{}},
		x509.CertificateInvalidError{},
		x509.ConstraintViolationError{},
		x509.InsecureAlgorithmError(1),
		x509.SystemRootsError{},
		x509.UnhandledCriticalExtension{},
		&tls.CertificateVerificationError{Err: errReset},
		tls.RecordHeaderError{},
		http.ErrSchemeMismatch,
		http.ErrNotSupported, // a *http.ProtocolError
		context.Canceled,
		retry.Permanent(errReset),
	} {
		assert.False(t, retryhttp.DefaultRetryable(nil, err), "%T", err)
		assert.False(t, retryhttp.DefaultRetryable(nil, fmt.Errorf("get: %w", err)), "%T", err)
	}
	for _, err := range []error{errReset, errRefused, io.ErrUnexpectedEOF, context.DeadlineExceeded} {
		assert.True(t, retryhttp.DefaultRetryable(nil, err), "%T", err)
	}
}

// An attempt that was cut short by AttemptTimeout is retried whatever Base makes
// of its context's end, and even if it comes back with a response that nobody
// can read any more.
func TestAttemptTimeoutWithOtherTransports(t *testing.T) {
	for name, base := range map[string]roundTripper{
		"says canceled": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, fmt.Errorf("read: %w", r.Context().Err())
		},
		"comes late": func(*http.Request) (*http.Response, error) {
			time.Sleep(2 * time.Second)
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		},
	} {
		calls := 0
		inBubble(t, func(t *testing.T) {
			tr := &retryhttp.Transport{Policy: &retry.Policy{AttemptTimeout: time.Second, Backoff: quick}}
			tr.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
				calls++
				return base(r)
			})
			err := failure(t, tr, request(t, "GET", ""))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, retry.ErrExhausted)
		})
		assert.Equal(t, 3, calls, name)
	}
}

// T43: of two responses that came although the caller had left, one is returned
// and the other one closed.
func TestSecondResponseIsClosedWhenTheCallerLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var opened, closed atomic.Int32
	var both sync.WaitGroup
	both.Add(2)
	tr := &retryhttp.Transport{Hedge: hedgeAtOnce}
	tr.Base = roundTripper(func(*http.Request) (*http.Response, error) {
		both.Done()
		both.Wait()
		cancel()
		opened.Add(1)
		return &http.Response{StatusCode: 200, Body: &counted{strings.NewReader("x"), &closed}}, nil
	})
	res, err := tr.RoundTrip(request(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	assert.Equal(t, int32(2), opened.Load())
	assert.Equal(t, int32(1), closed.Load())
	res.Body.Close()
}

// A response without a body ends its context at once.
func TestContextOfAResponseWithoutBody(t *testing.T) {
	var attempt context.Context
	tr := &retryhttp.Transport{Policy: &retry.Policy{AttemptTimeout: time.Hour}}
	tr.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
		attempt = r.Context()
		return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
	})
	res, err := tr.RoundTrip(request(t, "GET", ""))
	require.NoError(t, err)
	assert.Error(t, attempt.Err())
	assert.True(t, res.Body == http.NoBody)
	res.Body.Close()
}

// A body that cannot be had again is not asked for again, not even by a hedge
// whose predicates accept everything.
func TestGetBodyIsNotAskedAgain(t *testing.T) {
	asked := 0
	r := request(t, "PUT", "payload")
	r.GetBody = func() (io.ReadCloser, error) {
		asked++
		return nil, io.ErrUnexpectedEOF
	}
	f := statuses(503)
	tr := &retryhttp.Transport{
		Base: f, Hedge: &hedge.Policy{Max: 3, Delay: time.Hour},
		Retryable: func(*http.Response, error) bool { return true },
	}
	assert.Same(t, io.ErrUnexpectedEOF, failure(t, tr, r))
	assert.Equal(t, 1, asked)
	assert.Equal(t, f.opened.Load(), f.closed.Load())
}

// A panic in one of the policy's functions leaves no body open.
func TestPanicInThePolicyClosesTheBody(t *testing.T) {
	f := statuses(503)
	tr := &retryhttp.Transport{Base: f, Policy: &retry.Policy{Retryable: func(error) bool { panic("in Retryable") }}}
	assert.Equal(t, any("in Retryable"), assert.Panics(t, func() { _ = failure(t, tr, request(t, "GET", "")) }))
	assert.Equal(t, int32(1), f.opened.Load())
	assert.Equal(t, int32(1), f.closed.Load())
}
