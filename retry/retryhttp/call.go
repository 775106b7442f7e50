package retryhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/hedge"
	"github.com/keelson-go/keelson/retry/internal/index"
)

// call is one RoundTrip that is more than a success at once. The loop of package
// retry decides by errors, so a failed response becomes a *StatusError for it,
// and the response itself waits here: drained and closed when the loop goes on,
// returned when it stops.
type call struct {
	transport  *Transport
	request    *http.Request // the caller's, or a copy with a key
	policy     retry.Policy  // a copy, which drains before each wait
	idempotent bool

	first func() (*http.Response, error) // the outcome of an attempt made before; nil when there is none

	// The last outcome, for the time when retrying stops.
	response *http.Response // its body is open; nil after a wait, or if there was none
	failure  error          // without the mark that it may have got

	mu   sync.Mutex // hedged attempts run side by side
	sent bool       // the caller's body was handed to Base, which closes it
	open []*http.Response
}

func newCall(t *Transport, r *http.Request) *call {
	c := &call{transport: t, request: r, policy: *t.policy()}
	if t.wantsKey(r) {
		if key := t.IdempotencyKey(); key != "" {
			c.request = r.WithContext(r.Context()) // a shallow copy
			c.request.Header = r.Header.Clone()
			if c.request.Header == nil {
				c.request.Header = http.Header{}
			}
			c.request.Header.Set(keyHeader, key)
		}
	}
	c.policy.Retryable = t.accepts
	c.policy.OnEvent = c.event
	return c
}

// goOn is do after a first attempt with the caller's own request.
func (c *call) goOn(res *http.Response, err error) (*http.Response, error) {
	// The loop makes the attempts that follow, and is handed this one as its
	// first. So a success at once needs neither a loop nor anything on the heap.
	c.sent, c.response = true, res
	c.first = func() (*http.Response, error) { return c.failed(res, err) }
	return c.do()
}

// begun is the caller's context for a loop whose first attempt has been made. A
// loop whose ctx has ended does not begin, and would never ask for the response
// that is open already; so ctx lives until that has been handed over.
type begun struct {
	context.Context

	call *call
}

func (b begun) Err() error {
	if b.call.first != nil {
		return nil
	}
	return b.Context.Err()
}

// do runs the loop. Should a function of the policy panic or exit, the response
// that waits here is closed.
func (c *call) do() (*http.Response, error) {
	returned := false
	defer func() {
		if !returned && c.response != nil {
			c.response.Body.Close()
		}
	}()
	c.idempotent = c.transport.idempotent(c.request) // the copy, if there is one: the key counts
	ctx := c.request.Context()
	if c.first != nil {
		ctx = begun{ctx, c}
	}
	res, err := c.end(retry.Run(ctx, &c.policy, c.round))
	returned = true
	return res, err
}

// end turns the loop's verdict into what the caller gets: the last response if
// it is still there, else the error.
func (c *call) end(err error) (*http.Response, error) {
	if !c.sent && c.request.Body != nil {
		c.request.Body.Close() // no attempt was made
	}
	if c.response != nil {
		return c.response, nil
	}
	if gaveUp(err) {
		return nil, err
	}
	return nil, c.failure
}

// gaveUp reports whether err is the loop's own. One further down in err's tree is
// of a Transport or a loop below this one.
func gaveUp(err error) bool {
	_, ok := err.(*retry.Error) //nolint:errorlint // see above
	return ok
}

// event drains the failed response before each wait, and passes e on. The mark
// is for the loop; who watches sees what the caller gets.
func (c *call) event(_ context.Context, e retry.Event) {
	if !e.Last && c.response != nil {
		drain(c.response, c.transport.drainBytes())
		c.response = nil
	}
	if own := c.transport.policy().OnEvent; own != nil {
		if !gaveUp(e.Err) {
			e.Err = unmarked(e.Err)
		}
		own(c.request.Context(), e)
	}
}

// round is one attempt of the loop: one request, or several that are hedged.
//
//nolint:bodyclose // event, do or the caller closes it
func (c *call) round(ctx context.Context) error {
	var res *http.Response
	var err error
	switch {
	case c.first != nil:
		res, err = c.first()
		c.first = nil
	case c.transport.Hedge != nil && c.idempotent:
		res, err = c.hedged(ctx)
	default:
		res, err = c.send(ctx)
	}
	c.response, c.failure = res, unmarked(err)
	return err
}

// hedged makes several attempts side by side. Failed responses stay open until
// it is known which of them is the one to return.
func (c *call) hedged(ctx context.Context) (res *http.Response, err error) {
	defer func() {
		for _, other := range c.open {
			if other != res {
				drain(other, c.transport.drainBytes())
			}
		}
		c.open = nil
	}()
	// A hedge drops the values of failed attempts, so their responses are kept
	// here. The one to return is the primary's, or the one that ended the call.
	p := *c.transport.Hedge
	own := p.Retryable
	p.Retryable = func(err error) bool {
		return !is[*marked](err) && c.transport.accepts(err) && (own == nil || own(err))
	}
	return hedge.Do(ctx, &p, func(ctx context.Context) (*http.Response, error) {
		res, err := c.send(ctx)
		if err != nil && res != nil {
			c.mu.Lock()
			c.open = append(c.open, res)
			c.mu.Unlock()
		}
		return res, err
	}, func(late *http.Response) { late.Body.Close() })
}

// send makes one attempt. Where the response may outlive the attempt's context,
// it gets one of its own: it ends with the attempt's until the header is in, and
// after that with the body.
func (c *call) send(ctx context.Context) (*http.Response, error) {
	r, err := c.fresh()
	if err != nil {
		return nil, err
	}
	if c.policy.AttemptTimeout <= 0 && c.transport.Hedge == nil {
		return c.judge(c.transport.attempt(r))
	}
	caller := c.request.Context()
	// Derived from the caller's context, whose cancellation still counts while
	// the body is read. Of the attempt's it keeps the index, which Base may want.
	own, cancel := context.WithCancelCause(index.With(caller, index.Of(ctx)))
	untie := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	res, err := c.transport.attempt(r.WithContext(own))
	switch late := !untie(); {
	case err != nil && late:
		return c.judge(nil, because(err, ctx))
	case err != nil:
		cancel(nil)
		return c.judge(nil, err)
	case late && caller.Err() == nil: // timed out or beaten just now, so the body is cut off
		res.Body.Close()
		return c.judge(nil, context.Cause(ctx))
	}
	lasting(res, cancel)
	return c.judge(res, nil)
}

// because makes sure that an attempt that was cut short says why: its own
// context has always been cancelled, be it by a timeout.
func because(err error, ctx context.Context) error {
	if errors.Is(err, ctx.Err()) || !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

// fresh is the request of an attempt: the caller's own in the first one, then
// copies with a body of their own. Bodies are never shared or rewound, since
// Base may go on reading one after it has returned.
func (c *call) fresh() (*http.Request, error) {
	c.mu.Lock()
	first := !c.sent
	c.sent = true
	c.mu.Unlock()
	if first {
		return c.request, nil
	}
	r := c.request.WithContext(c.request.Context())
	if r.GetBody != nil && r.Body != nil && r.Body != http.NoBody {
		body, err := r.GetBody()
		if err != nil {
			return nil, mark(err)
		}
		r.Body = body
	}
	return r, nil
}

// judge makes an error of an outcome that is a failure.
func (c *call) judge(res *http.Response, err error) (*http.Response, error) {
	if err == nil && !c.transport.retryable(res, nil) {
		return res, nil
	}
	return c.failed(res, err)
}

// failed gives the loop's view of a failure: a *StatusError beside a response. A
// failure that must not be repeated is marked.
func (c *call) failed(res *http.Response, err error) (*http.Response, error) {
	if err == nil {
		after, _ := RetryAfter(res)
		err = &StatusError{Code: res.StatusCode, After: after}
	} else {
		res = nil
	}
	// A mark and not the predicate, for nothing overrules a mark: not even an
	// AttemptTimeout, after which the server may have seen the request.
	if !c.idempotent && !unsent(err) {
		err = mark(err)
	}
	return res, err
}
