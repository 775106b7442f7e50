package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-go/keelson/breaker"
	"github.com/keelson-go/keelson/examples/internal/shop/fault"
	"github.com/keelson-go/keelson/retry"
)

// maxAnswer bounds what is read of an answer. A longer one is an error and not
// cut off: half a JSON document with a 200 in front is worse than no answer.
const maxAnswer = 1 << 20

var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)

// Client calls one callee on behalf of one service. It owns the retry policies of
// that edge, and a breaker for each instance of the callee. Safe for concurrent use;
// Node.Client makes it.
//
// One breaker per edge, and none for the callee as a whole: orders may reach users
// while the gateway does not. One budget for all policies, because what a callee
// in trouble suffers from is their sum.
type Client struct {
	node     *Node
	callee   string
	balancer balancer
	safe     retry.Policy // for requests that may be sent twice
	once     retry.Policy // for the others: again only if nothing was sent
	safeFree retry.Policy // the same two without a budget
	onceFree retry.Policy
	budget   *retry.TokenBudget
	requests atomic.Uint64
	attempts atomic.Uint64
}

// Request is one call. Path includes the query.
type Request struct {
	Method, Path string
	Header       http.Header // copied; may be nil
	Body         []byte
	Once         bool // one try: somebody further out counts and repeats
	Poll         bool // asks whether there is something, and is no work if there is not
	// Wait is how long a Poll lets the callee wait for something to come, beyond the time
	// limit of a try. Zero: it waits within that limit.
	Wait time.Duration
}

// Response is a whole answer, read to its end. No body is left to close, and no
// error comes later than Do: a retry can only repeat what has not been passed on.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Detail is what a problem document says went wrong; the status in words where the
// answer is none.
func (r *Response) Detail() string {
	var p Problem
	if json.Unmarshal(r.Body, &p) == nil && p.Detail != "" {
		return p.Detail
	}
	return http.StatusText(r.Status)
}

// StatusError is an answer that stands for trouble at the callee: 429 or 5xx.
type StatusError struct{ Response *Response }

func (e *StatusError) Error() string { return fmt.Sprintf("answered %d", e.Response.Status) }

// Retryable is false for the answer of a service that has itself given up on a
// callee: it has retried already, and layers of retries multiply.
func (e *StatusError) Retryable() bool { return e.gaveUp() == "" }

// RetryAfter is the answer's Retry-After in seconds, 0 without one.
func (e *StatusError) RetryAfter() time.Duration {
	// Twenty bits are twelve days; more is no advice. The other form, a date, is
	// not read: it is the answering host's clock, and clocks differ.
	s, err := strconv.ParseUint(e.Response.Header.Get("Retry-After"), 10, 20)
	if err != nil {
		return 0
	}
	return time.Duration(s) * time.Second
}

// gaveUp is the callee that the answering service has given up on; "" if none.
func (e *StatusError) gaveUp() string { return e.Response.Header.Get(HeaderGaveUp) }

// classify keeps two kinds of answers out of a breaker's verdict. A callee that
// gave up on its own callee is itself well, and counting it would let one sick
// leaf open every breaker above it. A callee that sheds load with a 429 has
// answered in time.
func classify(err error, o breaker.Outcome) breaker.Outcome {
	e, ok := errors.AsType[*StatusError](err)
	if ok && (e.gaveUp() != "" || e.Response.Status == http.StatusTooManyRequests) {
		return breaker.Ignored
	}
	return o
}

// nothingSent reports whether err shows that not a byte has left: such a call
// may be repeated whatever it does. A connection that was reset does not show it,
// since the request may have been carried out before.
func nothingSent(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// Do makes the call, with retries inside ctx. The error is nil for every answer
// below 500 but 429, also for a 404. Otherwise it is a *breaker.RejectedError
// when the breaker refused, a *StatusError in the tree when the callee answered,
// or the transport's error.
//
// A caller whose time is all but over is turned away before the breaker hears of
// it. To the breaker a passed deadline is a failure, rightly so for a call that
// was made; but one that was never made says nothing about the callee, and a few
// callers in a hurry would otherwise shut it off for all.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	if !r.Poll {
		c.requests.Add(1)
	}
	policy := c.policy(r)
	// Retry is outside and the breaker inside, so that every try is judged. The
	// other way round the breaker would see one failure for three tries, and the
	// tries after its opening would go on.
	n := 0
	var last *instance
	try := func(ctx context.Context) (*Response, error) {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= hop {
			return nil, retry.Permanent(context.DeadlineExceeded)
		}
		n++
		to := c.balancer.pick(last) // another one than last time, if there is one
		if to == nil {
			return nil, retry.Permanent(fmt.Errorf("nobody is known as %s", c.callee))
		}
		last = to
		to.inflight.Add(1)
		defer to.inflight.Add(-1)
		path, _, _ := strings.Cut(r.Path, "?")
		end := c.node.span(ctx, to.Name+" "+r.Method+" "+path, n)
		answer, err := c.guarded(ctx, to, r.Wait, func(ctx context.Context) (*Response, error) {
			answer, err := to.try(ctx, r, n)
			if !nothingSent(err) {
				if !r.Poll {
					c.attempts.Add(1) // one that reached the callee
				}
				to.answered.Store(time.Now().UnixNano())
			}
			return answer, err
		})
		end(answer, err)
		return answer, err
	}
	if r.Once || !c.node.On("retries", true) {
		return try(ctx)
	}
	return retry.Do(ctx, policy, func(ctx context.Context) (*Response, error) { return c.bridge(ctx, try) })
}

// bridge makes a try, and makes it again while the connection is refused: nothing has
// been sent, so nothing is repeated, and a service that is being restarted is there in
// a moment. It costs no budget. What is refused for longer is an outage.
func (c *Client) bridge(ctx context.Context, try func(context.Context) (*Response, error)) (*Response, error) {
	begin := time.Now()
	for {
		answer, err := try(ctx)
		if !nothingSent(err) || time.Since(begin) > gap {
			return answer, err
		}
		if len(c.balancer.instances()) < 2 { // else another one is asked at once
			sleep(ctx, gap/20)
		}
		if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Until(deadline) <= hop {
			return answer, err
		}
	}
}

// gap is how long a service may be away at a restart: as long as it may drain.
const gap = time.Second

// judge is classify for one instance: that it refuses connections is no failure while
// that may still be a restart.
func (i *instance) judge(err error, o breaker.Outcome) breaker.Outcome {
	if nothingSent(err) && time.Since(time.Unix(0, i.answered.Load())) < gap {
		return breaker.Ignored
	}
	return classify(err, o)
}

// guarded makes a try through the instance's breaker. With the switch off there is
// none, but for its time limit: without that a try would last as long as its caller.
func (c *Client) guarded(ctx context.Context, to *instance, wait time.Duration, try func(context.Context) (*Response, error)) (*Response, error) {
	guard := c.node.On("breakers", true)
	if guard && (wait == 0 || to.breaker.State() == breaker.Open) {
		return breaker.Do(ctx, to.breaker, try)
	}
	limited, cancel := context.WithTimeout(ctx, to.limit+wait)
	defer cancel()
	answer, err := try(limited)
	if guard {
		// The breaker would take a long wait for a slow call, so it hears of the outcome
		// alone; and what has come is passed on even if it has opened meanwhile.
		_ = breaker.Run(ctx, to.breaker, func(context.Context) error { return err })
	}
	return answer, err
}

// policy is how r may be repeated.
func (c *Client) policy(r Request) *retry.Policy {
	once, safe := &c.once, &c.safe
	if !c.node.On("budget", true) || c.node.Sabotaged("no-budget") {
		once, safe = &c.onceFree, &c.safeFree
	}
	if idempotent(r) {
		return safe
	}
	return once
}

// Available reports whether a call would be let through: it is false while the
// breakers of all instances are open.
func (c *Client) Available() bool {
	for _, i := range c.balancer.instances() {
		if i.breaker.State() != breaker.Open {
			return true
		}
	}
	return false
}

// idempotent reports whether r may be sent twice: by its method, or because a
// key lets the callee recognise the second.
func idempotent(r Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	default:
		return r.Header.Get("Idempotency-Key") != ""
	}
}

// try is one try: a request, and the whole answer within ctx. The body belongs
// inside, or a callee that sends headers and then hangs would count as well.
//
// It uses the transport and no http.Client: redirects are not followed behind the
// gateway's back, and there are no cookies.
func (i *instance) try(ctx context.Context, r Request, n int) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, i.URL+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, retry.Permanent(err)
	}
	// Without it the transport cannot send the body again, which it would do by itself
	// for a request that bears an Idempotency-Key: one layer retries, and that is ours.
	// What must not be sent twice it repeats only on a connection that the callee had
	// closed before a byte left, as a service does that stops; no other layer would.
	if idempotent(r) {
		req.GetBody = nil
	}
	if r.Header != nil { // a copy, since another try may come
		req.Header = r.Header.Clone()
	}
	if deadline, ok := ctx.Deadline(); ok {
		// What this side needs for its own answer is kept back on every hop, so that
		// the innermost gives up first and the outermost can still tell of it.
		left := max(time.Until(deadline)-hop, time.Millisecond)
		req.Header.Set(HeaderTimeout, strconv.FormatInt(left.Milliseconds(), 10))
	}
	req.Header.Set(HeaderAttempt, strconv.Itoa(n))
	req.Header.Set(fault.HeaderCaller, i.caller)
	setIf(req.Header, HeaderTrace, TraceID(ctx))
	if r.Poll {
		req.Header.Set(HeaderPoll, "1")
	}
	resp, err := i.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, retry.Permanent(errTooLong) // the next one would be as long
	}
	answer := &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}
	// A 404 is an answer like any other: the callee is well, and knows it. Only what
	// stands for trouble is an error, to the breaker and to the retry alike.
	if answer.Status >= 500 || answer.Status == http.StatusTooManyRequests {
		return nil, &StatusError{Response: answer}
	}
	return answer, nil
}
