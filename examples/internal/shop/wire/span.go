package wire

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// Span is one try of a call, or a request at the entry, as the page's traces show it.
// A call that a breaker has refused was not made, and is a span all the same: what
// did not happen is often the news.
type Span struct {
	Trace   string  `json:"trace"`
	Service string  `json:"service"` // who made the call
	Name    string  `json:"name"`    // callee, method and path; of a request at the entry method and path
	StartMs float64 `json:"startMs"` // Unix
	DurMs   float64 `json:"durMs"`
	Status  int     `json:"status,omitempty"`
	Attempt int     `json:"attempt,omitempty"`
	Circuit string  `json:"circuit,omitempty"` // "open" if a breaker refused
	Fault   string  `json:"fault,omitempty"`   // the rule that made the answer
	Cache   string  `json:"cache,omitempty"`   // the layer that had it
	Err     string  `json:"err,omitempty"`
}

// span begins a span; what it returns ends it. Requests that belong to no client's
// request are not traced.
func (n *Node) span(ctx context.Context, name string, attempt int) func(*Response, error) {
	trace, start := TraceID(ctx), time.Now()
	if trace == "" || n.telemetry == nil {
		return func(*Response, error) {}
	}
	return func(answer *Response, err error) {
		s := Span{
			Trace: trace, Service: n.config.Name, Name: name, Attempt: attempt,
			StartMs: float64(start.UnixMicro()) / 1000, DurMs: millis(time.Since(start)),
		}
		if e, ok := errors.AsType[*StatusError](err); ok {
			answer, err = e.Response, nil
		}
		switch {
		case answer != nil:
			s.Status, s.Fault, s.Cache = answer.Status, answer.Header.Get(HeaderFault), cacheOf(answer.Header)
		case errors.Is(err, breaker.ErrRejected):
			s.Circuit = "open"
		case err != nil:
			s.Err = brief(err)
		}
		n.Tell("span", s)
	}
}

// cacheOf is the layer that an answer comes from, by its Cache-Status (RFC 9211):
// the first that says hit.
func cacheOf(h http.Header) string {
	for part := range strings.SplitSeq(h.Get("Cache-Status"), ",") {
		if name, rest, ok := strings.Cut(part, ";"); ok && strings.Contains(rest, "hit") {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// brief is what a visitor can make something of; the whole error is in the log.
func brief(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, breaker.ErrTimeout):
		return "timed out"
	case nothingSent(err):
		return "connection refused"
	case errors.Is(err, context.Canceled):
		return "given up"
	default:
		return "connection lost"
	}
}

// traceEntry is the span of a client's request as a whole.
func (n *Node) traceEntry(r *http.Request) func(w *statusWriter) {
	if !n.config.Entry || n.quiet(r) {
		return func(*statusWriter) {}
	}
	end := n.span(r.Context(), r.Method+" "+r.URL.Path, 0)
	return func(w *statusWriter) {
		if w.status == 0 {
			end(nil, http.ErrAbortHandler)
			return
		}
		end(&Response{Status: w.status, Header: w.Header()}, nil)
	}
}
