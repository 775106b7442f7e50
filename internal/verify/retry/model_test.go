package retry_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/retry"
	"github.com/keelson-go/keelson/retry/retryhttp"
)

var scripts = flag.Int("scripts", 100_000, "random scripts that Do, Run, Attempts and the HTTP transport are compared on with the reference")

// player runs a script on the code under test and traces it.
type player struct {
	script
	trace
	began  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	n      int
	last   string // the name of the last outcome
	err    error  // and its error
	events int
	left   int
	us     []float64
}

func (p *player) note(format string, args ...any) { p.add(time.Since(p.began), format, args...) }

func (p *player) policy() *retry.Policy {
	policy := &retry.Policy{
		MaxAttempts: p.max, MaxElapsed: p.elapsed, AttemptTimeout: p.limit, MaxRetryAfter: p.maxAfter,
		Backoff: func(n int, _ time.Duration, u float64) time.Duration {
			p.us = append(p.us, u)
			return p.wait(n, u)
		},
	}
	if p.predicate > 0 {
		policy.Retryable = func(error) bool { return p.predicate == 1 }
	}
	if p.tokens >= 0 {
		policy.Budget = p
	}
	if !p.quietEvents {
		policy.OnEvent = p.event
	}
	return policy
}

func (p *player) Success(n int)          { p.note("success %d", n) }
func (p *player) Failure(n int, _ error) { p.note("failure %d", n) }
func (p *player) Refund(n int, _ error)  { p.note("refund %d", n) }

func (p *player) Withdraw(n int, _ error) bool {
	p.note("withdraw %d", n)
	p.left--
	return p.left >= 0
}

func (p *player) event(_ context.Context, e retry.Event) {
	name := p.last
	if _, ok := e.Err.(*retry.Error); ok && e.Last {
		name = "gave up"
	} else if e.Err == nil {
		name = "ok"
	}
	p.events++
	p.note("event %d %s %v %v", e.N, name, e.Delay, e.Last)
	if p.events == p.cancelInEvent {
		p.cancel(errStop)
	}
}

// attempt is the function under retry.
func (p *player) attempt(ctx context.Context) error {
	p.n++
	p.note("call %d", p.n)
	o := p.step(p.n)
	if o.cancels {
		p.cancel(errStop)
	}
	if o.takes > 0 {
		time.Sleep(o.takes)
	}
	if o.hang {
		<-ctx.Done()
		o.name, o.err = context.DeadlineExceeded.Error(), context.Cause(ctx)
		if p.ctx.Err() != nil {
			o.name, o.err = p.ctx.Err().Error(), p.ctx.Err()
		}
	}
	p.last, p.err = o.name, o.err
	switch {
	case o.panics:
		panic(errDown)
	case o.exits:
		runtime.Goexit()
	}
	return o.err
}

// forms are the ways to make the call.
var forms = map[string]func(p *player) error{
	"Do": func(p *player) error {
		v, err := retry.Do(p.ctx, p.policy(), func(ctx context.Context) (int, error) {
			err := p.attempt(ctx)
			return p.n, err
		})
		if v != p.n {
			return fmt.Errorf("value of call %d, not of %d", v, p.n)
		}
		return err
	},
	"Run": func(p *player) error { return retry.Run(p.ctx, p.policy(), p.attempt) },
	"Attempts": func(p *player) (err error) {
		for a := range p.policy().Attempts(p.ctx, &err) {
			if a.N() != p.n+1 {
				return fmt.Errorf("pass %d is called %d", p.n+1, a.N())
			}
			err = p.attempt(a.Context())
		}
		return err
	},
	"HTTP": func(p *player) error {
		t := &retryhttp.Transport{Base: p, Policy: p.policy()}
		if p.predicate > 0 {
			t.Retryable = func(_ *http.Response, err error) bool { return err != nil && p.predicate == 1 }
		}
		r, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://10.0.0.7/", nil)
		if err != nil {
			return err
		}
		res, err := t.RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		return err
	},
}

func init() { forms["HTTP responses"] = responses }

// responses is the HTTP form whose plain failures are 503s. The caller gets the
// last one back unless a wait followed it, and the loop's verdict is in the last
// event.
func responses(p *player) error {
	policy := p.policy()
	own := policy.OnEvent
	var verdict error
	policy.OnEvent = func(ctx context.Context, e retry.Event) {
		verdict = e.Err
		if own != nil {
			own(ctx, e)
		}
	}
	open := 0
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		err := p.attempt(r.Context())
		if err != nil && err != error(errDown) {
			return nil, err
		}
		open++
		status := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[err == nil]
		return &http.Response{StatusCode: status, Body: &body{open: &open}, Request: r}, nil
	})
	r, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://10.0.0.7/", nil)
	if err != nil {
		return err
	}
	res, err := (&retryhttp.Transport{Base: base, Policy: policy}).RoundTrip(r)
	if err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			err = verdict
		}
	}
	if open != 0 {
		return fmt.Errorf("%d bodies stay open", open)
	}
	return err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body is empty and counts itself out when it is closed.
type body struct{ open *int }

func (b *body) Read([]byte) (int, error) { return 0, io.EOF }

func (b *body) Close() error {
	*b.open--
	return nil
}

func (p *player) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := p.attempt(r.Context()); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// play makes the call on a goroutine of its own, which it may end.
func (p *player) play(ctx context.Context, call func(*player) error) {
	if p.deadline > 0 {
		limited, cancel := context.WithTimeout(ctx, p.deadline)
		defer cancel()
		ctx = limited
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	p.began, p.left = time.Now(), p.tokens
	if p.cancelAt > 0 {
		defer time.AfterFunc(p.cancelAt, func() { p.cancel(errStop) }).Stop()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil && v != error(errDown) {
				p.note("panic: %v", v)
			}
		}()
		p.end(call(p))
	}()
	<-done
}

func (p *player) end(err error) {
	switch e, ok := err.(*retry.Error); {
	case err == nil:
		p.note("returned ok")
	case ok && e != p.err:
		p.note("gave up on %s: %v after %d, %v", p.last, e.Reason, e.Attempts, e.Delay)
	case err == p.err:
		p.note("returned %s", p.last)
	default:
		p.note("returned something else: %v", err)
	}
}

// The contract's table, replayed by a slow reference, against the code under
// test: calls, waits, what the budget is told, events, result, and the time of
// each, to the nanosecond.
func TestLoopFollowsTheReference(t *testing.T) {
	seed := rand.Uint64()
	from := outcomes()
	for form, call := range forms {
		from := from
		if strings.HasPrefix(form, "HTTP") { // where a header that comes after AttemptTimeout is no success: its body is cut off
			from = slices.DeleteFunc(slices.Clone(from), func(o outcome) bool { return o.name == "slow ok" })
		}
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			ends := map[string]int{}
			for i := range *scripts {
				s := newScript(r, from)
				if form == "HTTP responses" {
					s.predicate = 0 // one that refuses a 503 makes a success of it
				}
				p := &player{script: s}
				p.play(t.Context(), call)
				want := reference(s, p.us)
				if !slices.Equal(want, p.trace) {
					t.Fatalf("%s, seed %d, script %d: %+v\nwant:\n%s\ngot:\n%s", form, seed, i, s, lines(want), lines(p.trace))
				}
				ends[kind(want[len(want)-1])]++
			}
			t.Logf("%s: %v", form, ends)
		})
	}
}

func lines(t trace) (text string) {
	for _, line := range t {
		text += "  " + line + "\n"
	}
	return text
}

// kind shortens the last line of a trace, to show that all ends occurred.
func kind(line string) string {
	for _, reason := range []string{
		"attempts exhausted", "time is up", "budget refused", "too long a wait", "deadline exceeded", "stopped by the caller", "returned ok", "returned",
	} {
		if strings.Contains(line, reason) {
			return reason
		}
	}
	return "panic or exit"
}
