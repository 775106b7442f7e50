package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/examples/internal/shop/fault"
)

// contextKey keeps this package's values apart from those of others.
type contextKey int

const (
	traceKey contextKey = iota
	loggerKey
)

// TraceID is the id of the client's request that ctx belongs to; "" if none.
func TraceID(ctx context.Context) string {
	id, _ := ctx.Value(traceKey).(string)
	return id
}

// logger returns the node's logger with the trace id. It is made when there is
// something to log, not for every request.
func logger(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(loggerKey).(*slog.Logger); ok {
		return l.With("trace", TraceID(ctx))
	}
	return slog.New(slog.DiscardHandler)
}

// chain wraps a node's handler, outermost last. Faults come before the
// remaining time is looked at: a server that hangs does not hang up politely
// when its caller's time is over.
func (n *Node) chain(h http.Handler) http.Handler {
	h = n.holdUntilReady(h)
	h = n.limitTime(h)
	h = n.injectFaults(h)
	h = n.observe(h) // outside of faults, so that they show in the figures
	return h
}

// observe gives the request its trace id, counts it, and turns a panic into a
// 500 as long as nothing has been written.
func (n *Node) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace := r.Header.Get(HeaderTrace)
		// At the entry the id is the shop's own: one that a client may choose can be
		// that of somebody else's request, in every log line that follows.
		if trace == "" || n.config.Entry {
			trace = rand.Text()[:16]
		}
		ctx := context.WithValue(r.Context(), traceKey, trace)
		r = r.WithContext(context.WithValue(ctx, loggerKey, n.config.Logger))
		sw := &statusWriter{ResponseWriter: w}
		w.Header().Set(HeaderTrace, trace)
		endSpan := n.traceEntry(r)
		ended := n.count(r)
		// One defer for all of it: a cut connection leaves by a panic as well, and
		// must be counted like an answer.
		defer func() {
			v := recover()
			endSpan(sw)
			ended(v != nil || sw.status >= 500)
			n.afterPanic(sw, r, v)
		}()
		next.ServeHTTP(sw, r)
	})
}

// count adds a request to the figures; what it returns is called at its end.
func (n *Node) count(r *http.Request) (ended func(failed bool)) {
	if n.quiet(r) {
		return func(bool) {
			if strings.HasPrefix(r.URL.Path, "/_control") { // it may have changed what is shown
				n.Stir()
			}
		}
	}
	n.requests.Add(1)
	n.inflight.Add(1)
	n.directory.wake()
	n.Stir()
	return func(failed bool) {
		n.inflight.Add(-1)
		if failed {
			n.errors.Add(1)
		}
		n.Stir()
	}
}

// quiet requests are the shop's own and would blur the figures of a service: one
// that nobody calls would still seem to be at work.
func (n *Node) quiet(r *http.Request) bool {
	return watching(r) || r.Header.Get(HeaderPoll) != "" && !n.config.Entry
}

// watching requests ask for a node itself, and are answered in any state of it. Polls are
// none: what a service says of its data it says when it has all of them.
func watching(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/health") || strings.HasPrefix(r.URL.Path, "/_control") || r.URL.Path == "/stats" || r.URL.Path == "/log"
}

// afterPanic answers a request whose handler has panicked with a 500, or goes
// on panicking where an answer is impossible: net/http then cuts the
// connection, and the client sees that the answer is not whole.
func (n *Node) afterPanic(w *statusWriter, r *http.Request, v any) {
	err, _ := v.(error)
	switch {
	case v == nil:
	case errors.Is(err, http.ErrAbortHandler) || w.status != 0:
		panic(v) // the connection is to be cut, or half an answer is out
	default:
		// The value goes to the log and not to the client: it is ours to understand,
		// and may hold what is not his to see.
		logger(r.Context()).Error("panic", "path", r.URL.Path, "value", v)
		WriteProblem(w, r, NewProblem(http.StatusInternalServerError, "bug", "unexpected error"))
	}
}

// limitTime ends the request's context when the caller's remaining time is over.
// At the entry the time is the shop's own, and what a client claims is ignored.
func (n *Node) limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := n.config.Settings.Deadline
		if r.Header.Get(HeaderPoll) != "" && !n.config.Entry { // it waits on purpose
			limit = max(limit, pollLimit)
		}
		if text := r.Header.Get(HeaderTimeout); text != "" && !n.config.Entry {
			ms, err := strconv.ParseUint(text, 10, 31)
			if err != nil {
				WriteProblem(w, r, NewProblem(http.StatusBadRequest, "timeout", HeaderTimeout+" must be a number of milliseconds"))
				return
			}
			limit = min(limit, time.Duration(ms)*time.Millisecond) // it shrinks from hop to hop, whatever is claimed
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// pollLimit is how long a poll may take, two beats of waiting included.
const pollLimit = 10 * time.Second

// holdUntilReady keeps requests back while the node starts, within their time.
func (n *Node) holdUntilReady(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !watching(r) {
			select {
			case <-n.open:
			case <-r.Context().Done():
				p := NewProblem(http.StatusServiceUnavailable, "not-ready", "waits for "+n.waitsFor())
				p.RetryAfter = time.Second
				WriteProblem(w, r, p)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// injectFaults lets the rules in force act on everything but control's requests:
// what is broken is what clients and callers meet, and whoever watches from outside
// must see what becomes of it. A service that is stopped does not answer him either.
func (n *Node) injectFaults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_control/") || SecretMatches(r, n.config.Secret) {
			next.ServeHTTP(w, r)
			return
		}
		n.faults.Serve(w, r, next, WriteInjected)
	})
}

// WriteInjected answers with an error on purpose, and says so: chaos is never
// taken for a bug.
func WriteInjected(w http.ResponseWriter, r *http.Request, i fault.Injected) {
	p := NewProblem(i.Status, "injected", "an error on purpose: "+i.Rule)
	p.Fault = i.Rule
	WriteProblem(w, r, p)
}

// statusWriter remembers the status. Unwrap lets http.ResponseController reach
// what lies beneath.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 { // 1xx come before the answer and are none
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
