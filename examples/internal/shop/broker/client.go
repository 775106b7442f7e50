package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keelson-go/keelson/eventsource/messaging"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// Client is the broker as a service sees it. Calls go through the service's chain,
// with a breaker like any other: while the broker is out, who publishes hears of it
// at once, and keeps what he has.
type Client struct {
	node *wire.Node
	http *wire.Client
	poll time.Duration
}

// Dial returns a client of the broker that n knows as callee "broker".
func Dial(n *wire.Node) wire.Broker {
	// Composite: a poll waits on purpose, for less than that.
	return &Client{node: n, http: n.Client("broker", true), poll: n.Settings().Composite * 3 / 4}
}

// maxBatch keeps a request below what a service reads.
const maxBatch = 48 << 10

// Publish implements messaging.Publisher. Batches that are too long for one request
// go in several, in order: an error may come when some are held, as of any broker.
func (c *Client) Publish(ctx context.Context, msgs ...messaging.Message) error {
	for len(msgs) > 0 {
		n, size := 0, 0
		for n < len(msgs) && (n == 0 || size+cost(msgs[n]) < maxBatch) {
			size += cost(msgs[n])
			n++
		}
		if err := c.call(ctx, http.MethodPost, "/messages", msgs[:n], nil); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// cost is about what a message takes in JSON, its body in base64.
func cost(m messaging.Message) int {
	n := 200 + len(m.ID) + len(m.Key) + len(m.Body)*4/3
	for k, v := range m.Headers {
		n += 10 + len(k) + len(v)
	}
	return n
}

// call makes one try: who publishes and who polls both come again by themselves.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.do(ctx, wire.Request{Method: method, Path: path, Once: true}, in, out)
}

// do sends in also where that is nothing: a GET without a body net/http sends again by
// itself when its connection is cut, and what the first answer held would be lost.
func (c *Client) do(ctx context.Context, r wire.Request, in, out any) (err error) {
	if r.Body, err = json.Marshal(in); err != nil {
		return err
	}
	answer, err := c.http.Do(ctx, r)
	switch {
	case err != nil:
		return err
	case answer.Status == http.StatusNotFound:
		return errGone
	case answer.Status >= 400:
		return fmt.Errorf("broker: %d %s: %w", answer.Status, answer.Detail(), messaging.ErrInvalid)
	case out != nil:
		return json.Unmarshal(answer.Body, out)
	}
	return nil
}

var errGone = errors.New("broker: the member is not known any more")

// Subscribe implements messaging.Subscriber. Backoff and OnEvent of sub do not
// travel: the waits are the broker's own.
func (c *Client) Subscribe(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	for ctx.Err() == nil {
		err := c.session(ctx, sub, h)
		if errors.Is(err, messaging.ErrInvalid) {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
	return context.Cause(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// session joins the group and works until something fails. Handlers that run then
// are told by their ctx; what they have done and could not say is delivered again.
func (c *Client) session(ctx context.Context, sub messaging.Subscription, h messaging.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var joined struct{ ID string }
	err := c.call(ctx, http.MethodPost, "/members", subscription{
		Topics: sub.Topics, Group: sub.Group, DeadLetter: sub.DeadLetter, Concurrency: sub.Concurrency, MaxAttempts: sub.MaxAttempts,
	}, &joined)
	if err != nil {
		return err
	}
	path := "/members/" + joined.ID
	defer func() { // so that what it holds goes to others now, and not when it is missed
		_ = c.lastWords(ctx, http.MethodDelete, path, nil)
	}()
	defer wg.Wait()
	for patience, came := c.node.Patience(c.poll, wire.Rest), false; ; {
		var got []delivery
		wait, beyond := patience.Wait(came)
		next := wire.Request{Method: http.MethodGet, Path: path + "/next?wait=" + wait.String(), Once: true, Poll: true, Wait: beyond}
		if err := c.do(ctx, next, nil, &got); err != nil {
			cancel()
			return err
		}
		came = len(got) > 0
		for _, d := range got {
			wg.Go(func() {
				v := judge(d.Tag, run(ctx, h, d.Delivery))
				if ctx.Err() != nil && v.Failure != "" {
					return // it did not fail, it was interrupted
				}
				// A verdict that does not arrive is no verdict: the delivery comes again.
				_ = c.lastWords(ctx, http.MethodPost, path+"/done", v)
			})
		}
	}
}

// lastWords is a call that is made even if ctx has ended, and must not hold up the
// end for long.
func (c *Client) lastWords(ctx context.Context, method, path string, in any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
	defer cancel()
	return c.call(ctx, method, path, in, nil)
}

// run calls the handler, whose panic is a failure of this delivery.
func run(ctx context.Context, h messaging.Handler, d messaging.Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &messaging.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h(ctx, d)
}

// judge turns a handler's error into what travels.
func judge(tag int, err error) verdict {
	v := verdict{Tag: tag}
	if err == nil {
		return v
	}
	v.Failure = err.Error()
	if v.Failure == "" {
		v.Failure = "failed"
	}
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		v.After = e.RetryAfter()
	}
	if e, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](err); ok {
		v.Final = !e.Retryable()
	}
	return v
}
