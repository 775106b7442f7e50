package wire

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The headers in which the services speak beside HTTP's own.
const (
	HeaderTrace   = "X-Trace-Id"    // one id per request of a client, through all hops
	HeaderTimeout = "X-Timeout-Ms"  // remaining time; a duration, since clocks differ between hosts
	HeaderAttempt = "X-Attempt"     // the number of the try, from 1
	HeaderGaveUp  = "X-Gave-Up"     // on an answer: the callee that was given up; do not retry
	HeaderFault   = "X-Fault"       // on an answer: the fault rule that made it
	HeaderSecret  = "X-Shop-Secret" // the secret of this run, for control alone
	HeaderPoll    = "X-Poll"        // asks whether there is something, again and again: no work, and counted as none

	HeaderSagaCall = "X-Saga-Call" // the call of a saga that a request belongs to, in its text form
	HeaderUser     = "X-User-Id"   // who asks, by the gateway's word
	HeaderRole     = "X-Role"      // "customer" or "operator"; none is a service of the shop
)

// Problem is an error answer, application/problem+json of RFC 9457. As an error
// of a handler it becomes the answer; any other error becomes a 500.
type Problem struct {
	Type       string        `json:"type"` // relative reference, such as /problems/user-not-found
	Title      string        `json:"title"`
	Status     int           `json:"status"`
	Detail     string        `json:"detail,omitempty"`
	Fields     []string      `json:"fields,omitempty"` // members of the body that are to blame
	TraceID    string        `json:"traceId,omitempty"`
	RetryAfter time.Duration `json:"-"` // header Retry-After; zero is none
	GaveUp     string        `json:"-"` // header X-Gave-Up; empty is none
	Fault      string        `json:"-"` // header X-Fault; empty is none
}

// NewProblem returns a problem whose type is /problems/ and the given name.
func NewProblem(status int, name, detail string) *Problem {
	return &Problem{Type: "/problems/" + name, Title: http.StatusText(status), Status: status, Detail: detail}
}

func (p *Problem) Error() string {
	return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
}

// Unavailable is the answer of a service whose call to callee has failed for
// good with err: a 503 that says when to come back. It is never a 500, since the
// cause is known, and it carries X-Gave-Up, so that no outer layer repeats what
// this one has repeated already.
func Unavailable(callee string, err error) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, "unavailable", fmt.Sprintf("%s is not available, try again later", callee))
	// A second at least: the header knows whole seconds only, and "0" would be an
	// invitation to come back at once.
	p.RetryAfter, p.GaveUp = max(retryAfter(err), time.Second), callee
	return p
}

// Owns returns a 403 unless the one who asks may see what belongs to user. The
// gateway alone knows who asks, and services alone know what belongs to whom.
func Owns(r *http.Request, user int) error {
	if role := r.Header.Get(HeaderRole); role == "" || role == "operator" || r.Header.Get(HeaderUser) == strconv.Itoa(user) {
		return nil
	}
	return NewProblem(http.StatusForbidden, "forbidden", "this belongs to somebody else")
}

// SessionKey is the name of a session in L2, by which users tells the gateway that it
// has ended.
func SessionKey(sid string) string { return "session/" + sid }

// retryAfter asks err's tree when to come back, by behaviour rather than by
// type: a breaker's rejection, a given-up retry and an HTTP answer all tell.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return e.RetryAfter()
	}
	return 0
}

// WriteProblem answers with p.
func WriteProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	body := *p
	body.TraceID = cmp.Or(body.TraceID, TraceID(r.Context()))
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store") // a cached outage outlives the outage
	if p.RetryAfter > 0 {
		// Rounded up: who comes a moment early is refused once more.
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	setIf(h, HeaderGaveUp, p.GaveUp)
	setIf(h, HeaderFault, p.Fault)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails; nobody is left to tell
}

func setIf(h http.Header, key, value string) {
	if value != "" {
		h.Set(key, value)
	}
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	// Into memory first: an error in the middle of a stream would come after the 200.
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // as in WriteProblem
	return nil
}

// Handler adapts a function that returns an error. A *Problem is the answer;
// anything else is a bug of the service, told to the log and not to the client.
func Handler(fn func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := fn(w, r)
		if err == nil {
			return
		}
		if p, ok := errors.AsType[*Problem](err); ok {
			WriteProblem(w, r, p)
			return
		}
		if r.Context().Err() != nil { // the time is over, or the caller has left: nobody's bug
			p := NewProblem(http.StatusServiceUnavailable, "late", "this took longer than the caller's time")
			p.RetryAfter = time.Second
			WriteProblem(w, r, p)
			return
		}
		logger(r.Context()).ErrorContext(r.Context(), "unexpected error", "path", r.URL.Path, "err", err)
		WriteProblem(w, r, NewProblem(http.StatusInternalServerError, "bug", "unexpected error"))
	})
}

// describeMisses lets mux answer what it has a route for, and puts problem
// details in place of its plain text for an unknown path or method.
func describeMisses(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		miss, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		verdict := missWriter{header: http.Header{}}
		miss.ServeHTTP(&verdict, r)
		p := NewProblem(verdict.status, "not-found", "no such path")
		if allow := verdict.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			p = NewProblem(verdict.status, "method", "allowed: "+allow)
		}
		WriteProblem(w, r, p)
	})
}

// missWriter takes what ServeMux has to say about a request without a route.
type missWriter struct {
	header http.Header
	status int
}

func (w *missWriter) Header() http.Header         { return w.header }
func (w *missWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *missWriter) WriteHeader(status int)      { w.status = status }
