package breakerhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keelson-go/keelson/breaker"
)

// Transport is an [http.RoundTripper] that asks gates before it sends a
// request. A refusal is a *breaker.RejectedError, which http.Client wraps in a
// *url.Error; the request is then not sent, and its body closed unread.
//
// Set the fields before the first use. Safe for concurrent use.
type Transport struct {
	// Base sends the requests that are admitted. Nil means
	// http.DefaultTransport.
	Base http.RoundTripper

	// Breaker returns the gate that judges how the call went. It knows when
	// the headers are there, or the error. A nil function or gate means none.
	Breaker func(*http.Request) breaker.Gate

	// Limit returns the gate that bounds how much is under way. It is asked
	// before Breaker, and occupied until the body of the response has been
	// read to its end or closed. A nil function or gate means none.
	Limit func(*http.Request) breaker.Gate

	// Judge returns the error that a response stands for, or nil. It tells
	// the gates; the caller gets the response all the same. Nil means a
	// *StatusError for 429 and 5xx except 501.
	Judge func(*http.Response) error
}

// RoundTrip implements [http.RoundTripper]. A time limit of a gate, such as
// breaker.Config.Timeout, ends with the body of the response, not with its
// headers.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := &call{Transport: t, request: r, limit: &breaker.Permit{}, breaker: &breaker.Permit{}, cancel: func() {}}
	defer c.abort()
	if err := c.enter(); err != nil {
		return nil, err
	}
	return c.send()
}

// CloseIdleConnections forwards to Base, as http.Client.CloseIdleConnections
// expects.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

func (t *Transport) judge(r *http.Response) error {
	if t.Judge != nil {
		return t.Judge(r)
	}
	return judge(r)
}

// call is one request on its way. A zero permit stands for a gate that is not
// there; a permit that was given back ignores what comes later.
type call struct {
	*Transport
	request        *http.Request
	limit, breaker *breaker.Permit
	cancel         context.CancelFunc // ends the time limit
	sent, over     bool               // for abort
}

// enter asks the gates.
func (c *call) enter() (err error) {
	if c.limit, err = ask(c.Limit, c.request); err == nil {
		c.breaker, err = ask(c.Breaker, c.request)
	}
	return err
}

// ask returns the permit of a gate, a zero one if there is no gate.
func ask(gate func(*http.Request) breaker.Gate, r *http.Request) (*breaker.Permit, error) {
	if gate == nil {
		return &breaker.Permit{}, nil
	}
	g := gate(r)
	if g == nil {
		return &breaker.Permit{}, nil
	}
	p, err := g.Allow(r.Context())
	if err != nil {
		return &breaker.Permit{}, err
	}
	return &p, nil
}

// send sends the request and settles what is over when the headers are there.
func (c *call) send() (*http.Response, error) {
	r := c.limited()
	c.sent = true
	resp, err := c.base().RoundTrip(r)
	if err != nil {
		err = withCause(r.Context(), err)
		defer c.cancel()
		defer c.limit.Done(err)
		c.breaker.Done(err)
		c.over = true
		return nil, err
	}
	defer func() {
		if !c.over { // a panic, and nobody will close the body
			_ = resp.Body.Close()
		}
	}()
	judged := c.judge(resp)
	c.breaker.Done(judged)
	c.over = true
	end := &ending{ctx: r.Context(), cancel: c.cancel, limit: c.limit, judged: judged}
	resp.Body = end.watch(resp.Body)
	return resp, nil
}

// limited returns the request, under the shorter time limit of the gates if
// they have one.
func (c *call) limited() *http.Request {
	d := c.breaker.Timeout()
	if l := c.limit.Timeout(); l > 0 && (d == 0 || l < d) {
		d = l
	}
	if d == 0 {
		return c.request
	}
	ctx, cancel := context.WithTimeoutCause(c.request.Context(), d, breaker.ErrTimeout)
	c.cancel = cancel
	return c.request.WithContext(ctx)
}

// errAborted is how a call ended that panicked or ended its goroutine.
var errAborted = errors.New("breakerhttp: the round trip panicked or ended its goroutine")

// abort cleans up after a call that was not admitted, or did not return. Once
// the request is sent, its body belongs to Base.
func (c *call) abort() {
	switch {
	case c.over:
		return
	case c.sent:
		defer c.cancel()
		defer c.limit.Done(errAborted)
		c.breaker.Done(errAborted)
	default:
		if c.request.Body != nil {
			defer c.request.Body.Close()
		}
		defer c.limit.Cancel()
		c.breaker.Cancel()
	}
}

// withCause returns err in a form that matches the cause of ctx as well, if
// ctx has ended.
func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, cause)
}
