package breakerhttp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/keelson-go/keelson/breaker"
)

// Middleware asks a gate before a handler runs. The permit lasts until the
// handler returns; a time limit of the gate is in the request's context.
//
// Set the fields before the first use. Safe for concurrent use.
type Middleware struct {
	// Gate returns the gate for a request. A nil function or gate means none.
	Gate func(*http.Request) breaker.Gate

	// Failed reports whether a response with this status is a failure of the
	// handler. Nil means 5xx except 501. A panic is always one, and goes on.
	Failed func(status int) bool

	// Refuse answers a request that was not admitted. err is the refusal of
	// the gate, or the cause of the end of a request that was canceled while
	// it waited. Nil answers RefuseStatus, with the header Retry-After in
	// whole seconds, rounded up, at least 1.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)

	// RefuseStatus is the status of that answer. For a rate, 429 says it
	// better. Zero means 503.
	RefuseStatus int
}

// Wrap returns a handler that asks the gate and then runs next.
func (m *Middleware) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var g breaker.Gate
		if m.Gate != nil {
			g = m.Gate(r)
		}
		if g == nil {
			next.ServeHTTP(w, r)
			return
		}
		ran := false
		err := breaker.Run(r.Context(), g, func(ctx context.Context) error {
			ran = true
			return m.run(ctx, next, w, r)
		})
		if !ran {
			m.refuse(w, r, err)
		}
	})
}

// run runs the handler and returns the error that its response stands for.
func (m *Middleware) run(ctx context.Context, next http.Handler, w http.ResponseWriter, r *http.Request) error {
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	rec := &recorder{ResponseWriter: w}
	next.ServeHTTP(rec.asCapableAs(w), r)
	bad := m.Failed
	if bad == nil {
		bad = failed
	}
	if status := rec.seen(); bad(status) {
		return &StatusError{Code: status, Delay: retryAfter(w.Header())}
	}
	return nil
}

func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if m.Refuse != nil {
		m.Refuse(w, r, err)
		return
	}
	seconds := int64(1)
	if rejected, ok := errors.AsType[*breaker.RejectedError](err); ok {
		d := rejected.RetryAfter()
		seconds = max(1, int64(d/time.Second))
		if d > time.Duration(seconds)*time.Second {
			seconds++
		}
	}
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	status := cmp.Or(m.RefuseStatus, http.StatusServiceUnavailable)
	http.Error(w, http.StatusText(status), status)
}

// recorder notes the status of a response. It stands between the handler and
// the server for every call, so it hides nothing that the server can do.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
}

// seen returns the status of a response that is complete.
func (r *recorder) seen() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// WriteHeader notes the first final status; those below 200 are on the way.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write writes the header 200 if there was none, as every server does.
func (r *recorder) Write(p []byte) (int, error) {
	r.status = r.seen()
	return r.ResponseWriter.Write(p)
}

// ReadFrom keeps the way open for sendfile. A source that gives nothing writes
// no header: the handler may still answer with an error.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, src)
	if n > 0 {
		r.status = r.seen()
	}
	return n, err
}

// FlushError is what [http.ResponseController] looks for first. A flush sends
// the header, also one that a writer further out does.
func (r *recorder) FlushError() error {
	err := http.NewResponseController(r.ResponseWriter).Flush()
	if !errors.Is(err, http.ErrNotSupported) {
		r.status = r.seen()
	}
	return err
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// flusher is for a recorder whose writer can flush.
type flusher struct{ r *recorder }

// Flush implements [http.Flusher].
func (f flusher) Flush() { _ = f.r.FlushError() }

// asCapableAs returns r with those methods that handlers look for by a type
// assertion, and only those that w has.
func (r *recorder) asCapableAs(w http.ResponseWriter) http.ResponseWriter {
	_, flushes := w.(http.Flusher)
	h, hijacks := w.(http.Hijacker)
	switch {
	case flushes && hijacks:
		return struct {
			*recorder
			flusher
			http.Hijacker
		}{r, flusher{r}, h}
	case flushes:
		return struct {
			*recorder
			flusher
		}{r, flusher{r}}
	case hijacks:
		return struct {
			*recorder
			http.Hijacker
		}{r, h}
	default:
		return r
	}
}
